//! Grids followed from their event to their end.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{PluginId, description::Description, manifest::Manifest, plan};

const NOW: i64 = 1_000_000;

fn look(progress: &mut Progress, plan: &GridPlan, event: &RawValue, now_ms: i64) -> Vec<(Step, Inputs)> {
    progress.ready(plan, event, now_ms, ElementLimits::default(), &HashSet::new())
}

fn diamond() -> GridPlan {
    let description = r#"{"inputs":{"in":{},"extra":{"required":false}},"outputs":{"out":{},"rare":{}}}"#;
    let plugin = plan::ResolvedPlugin {
        id: PluginId(1),
        description: Arc::new(Description::parse(description).expect("valid")),
    };
    let manifest = Manifest::from_toml(
        "[project]\nname = \"p\"\n[plugins]\np = \"p@1\"\n[grids.g.nodes]\n\
         start = { plugin = \"p\", inputs = { in = \"event#/order\" } }\n\
         left = { plugin = \"p\", inputs = { in = \"start.out#/n\" } }\n\
         right = { plugin = \"p\", inputs = { in = \"start.rare\" } }\n\
         after = { plugin = \"p\", inputs = { in = \"right.out\" } }\n\
         join = { plugin = \"p\", inputs = { in = \"left.out\", extra = \"right.out\" } }",
    )
    .expect("valid");
    let plugins = BTreeMap::from([("p".to_owned(), plugin)]);
    plan::plan_grids(&manifest, &plugins).expect("plans").remove("g").expect("grid g")
}

fn raw(json: &str) -> Box<RawValue> {
    serde_json::from_str(json).expect("valid JSON")
}

fn succeeded(node: &str, outputs: &[(&str, &str)]) -> NodeResult {
    let outputs = outputs.iter().map(|(port, json)| ((*port).to_owned(), raw(json))).collect();
    NodeResult { attempts: 1, outputs, ..NodeResult::new(node, NodeState::Succeeded) }
}

#[test]
fn a_progress_is_like_another_while_no_node_was_called_between_them() {
    let plan = diamond();
    let mut saved = Progress::new(&plan);
    saved.set(&plan, Step::of(0), succeeded("start", &[("out", r#"{"n":1}"#)]));
    let mut now = saved.clone();
    // Looking for what is ready notes what is skipped.
    let event = raw(r#"{"order":{"n":1}}"#);
    assert!(!look(&mut now, &plan, &event, NOW).is_empty());
    assert!(now.is_like(&saved) && saved.is_like(&now));
    let failed = NodeResult { attempts: 1, due_at_ms: Some(NOW), ..NodeResult::new("left", NodeState::Pending) };
    now.set(&plan, Step::of(1), failed.clone());
    assert!(!now.is_like(&saved), "a node has failed for now");
    saved = now.clone();
    now.set(&plan, Step::of(1), NodeResult { due_at_ms: Some(NOW + 1), ..failed });
    assert!(!now.is_like(&saved), "it is called at another time");
}

#[test]
fn nodes_become_ready_with_their_inputs_and_empty_ports_skip_what_needs_them() {
    let plan = diamond();
    let index = |name: &str| plan.nodes.iter().position(|node| node.name == name).expect("a node of the grid");
    let event = raw(r#"{"order":{"n":1}}"#);
    let mut progress = Progress::new(&plan);
    let ready = look(&mut progress, &plan, &event, NOW);
    assert_eq!(ready, [(Step::of(index("start")), vec![("in".to_owned(), r#"{"n":1}"#.to_owned())])]);

    progress.set(&plan, Step::of(index("start")), succeeded("start", &[("out", r#"{"n":7}"#)]));
    let ready = look(&mut progress, &plan, &event, NOW);
    assert_eq!(ready, [(Step::of(index("left")), vec![("in".to_owned(), "7".to_owned())])]);
    for skipped in ["right", "after"] {
        assert_eq!(progress.result(Step::of(index(skipped))).expect("settled").state, NodeState::Skipped, "{skipped}");
    }

    progress.set(&plan, Step::of(index("left")), succeeded("left", &[("out", "true")]));
    let ready = look(&mut progress, &plan, &event, NOW);
    assert_eq!(ready, [(Step::of(index("join")), vec![("in".to_owned(), "true".to_owned())])]);
    progress.set(&plan, Step::of(index("join")), succeeded("join", &[]));
    assert!(progress.is_complete() && progress.failed().is_none());
}

#[test]
fn a_checkpoint_is_taken_up_where_it_was_left() {
    let plan = diamond();
    let event = raw(r#"{"order":1}"#);
    let checkpoint =
        vec![succeeded("start", &[("out", r#"{"n":7}"#), ("rare", "2")]), succeeded("left", &[("out", "1")])];
    let stored = serde_json::to_vec(&checkpoint).expect("serializes");
    let mut progress = Progress::resume(&plan, serde_json::from_slice(&stored).expect("reads back"));
    let ready = look(&mut progress, &plan, &event, NOW);
    assert_eq!(ready.len(), 1, "only `right` is left to call: {ready:?}");
    assert_eq!(plan.nodes[ready[0].0.node].name, "right");
}

#[test]
fn a_delay_begins_when_the_inputs_are_there_and_survives_a_checkpoint() {
    let mut plan = diamond();
    let left = plan.nodes.iter().position(|node| node.name == "left").expect("a node of the grid");
    plan.nodes[left].delay_ms = 5_000;
    let event = raw(r#"{"order":1}"#);
    let mut progress = Progress::new(&plan);
    look(&mut progress, &plan, &event, NOW);
    assert!(progress.next_due(NOW).is_none(), "its input is not there yet");
    progress.set(&plan, Step::of(0), succeeded("start", &[("out", r#"{"n":7}"#)]));
    assert!(look(&mut progress, &plan, &event, NOW).is_empty());
    assert_eq!(progress.next_due(NOW).map(|(due, result)| (due, result.node.as_str())), Some((NOW + 5_000, "left")));

    let stored = serde_json::to_vec(&progress.results().collect::<Vec<_>>()).expect("serializes");
    let mut progress = Progress::resume(&plan, serde_json::from_slice(&stored).expect("reads back"));
    assert!(look(&mut progress, &plan, &event, NOW + 4_999).is_empty());
    assert!(!progress.is_complete());
    let ready = look(&mut progress, &plan, &event, NOW + 5_000);
    assert_eq!(ready, [(Step::of(left), vec![("in".to_owned(), "7".to_owned())])]);
}

#[test]
fn a_grid_fed_by_an_event_without_the_value_is_skipped_as_a_whole() {
    let plan = diamond();
    let mut progress = Progress::new(&plan);
    assert!(look(&mut progress, &plan, &raw("{}"), NOW).is_empty());
    assert!(progress.is_complete());
    let reason = progress.results().next().and_then(|result| result.reason.clone()).expect("a reason");
    assert!(reason.message.contains("event#/order"), "{reason:?}");
}
