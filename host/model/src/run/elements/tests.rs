//! Arrays followed through a node with `each`: from their elements to the arrays that come out.

use std::collections::BTreeMap;

use super::*;
use crate::{
    PluginId,
    description::Description,
    manifest::Manifest,
    plan::{self, GridPlan},
    run::{CALLS_AT_ONCE_MAX, Metering},
};

const NOW: i64 = 1_000_000;
const LIST: &str = r#"{"list":[10,{"n":20},"thirty"],"rate":2}"#;

/// A node `map` over the event's `list`, and a node behind it.
fn grid(each: &str) -> GridPlan {
    let description = r#"{"inputs":{"in":{},"rate":{"required":false}},"outputs":{"out":{},"rare":{}}}"#;
    let plugin = plan::ResolvedPlugin {
        id: PluginId(1),
        description: Arc::new(Description::parse(description).expect("valid")),
    };
    let text = format!(
        "[project]\nname = \"p\"\n[plugins]\np = \"p@1\"\n[grids.g.nodes]\n\
         map = {{ plugin = \"p\", inputs = {{ in = \"event#/list\", rate = \"event#/rate\" }}, {each} }}\n\
         next = {{ plugin = \"p\", inputs = {{ in = \"map.rare\" }} }}"
    );
    let manifest = Manifest::from_toml(&text).expect("valid");
    let plugins = BTreeMap::from([("p".to_owned(), plugin)]);
    plan::plan_grids(&manifest, &plugins).expect("plans").remove("g").expect("grid g")
}

fn raw(json: &str) -> Box<RawValue> {
    serde_json::from_str(json).expect("valid JSON")
}

/// A run that has just begun, and what is being called.
struct Scene {
    plan: GridPlan,
    event: Box<RawValue>,
    progress: Progress,
    busy: HashSet<Step>,
}

impl Scene {
    fn new(each: &str, event: &str) -> Self {
        let plan = grid(each);
        Self { progress: Progress::new(&plan), plan, event: raw(event), busy: HashSet::new() }
    }

    /// Begins what can be begun; each with the value on the port `in`.
    fn begin(&mut self, now_ms: i64) -> Vec<(Step, String)> {
        let ready = self.progress.ready(&self.plan, &self.event, now_ms, ElementLimits::default(), &self.busy);
        self.busy.extend(ready.iter().map(|(step, _)| *step));
        let value = |inputs: &Inputs| inputs.iter().find(|(port, _)| port == "in").expect("an input").1.clone();
        ready.iter().map(|(step, inputs)| (*step, value(inputs))).collect()
    }

    fn end(&mut self, element: u32, result: NodeResult) {
        let step = Step::element(0, element);
        assert!(self.busy.remove(&step), "{step:?} was not called");
        self.progress.set(&self.plan, step, NodeResult { element: Some(element), ..result });
    }

    fn succeed(&mut self, element: u32, outputs: &[(&str, &str)]) {
        let outputs = outputs.iter().map(|(port, json)| ((*port).to_owned(), raw(json))).collect();
        self.end(element, NodeResult { attempts: 1, outputs, ..NodeResult::new("map", NodeState::Succeeded) });
    }

    fn map(&self) -> &NodeResult {
        self.progress.result(Step::of(0)).expect("it was begun")
    }

    /// What a checkpoint keeps, read again.
    fn resumed(&self) -> Progress {
        let stored = serde_json::to_vec(&self.progress.results().collect::<Vec<_>>()).expect("serializes");
        Progress::resume(&self.plan, serde_json::from_slice(&stored).expect("reads back"))
    }
}

const EACH: &str = "each = { input = \"in\", concurrency = 2 }";

fn failed(state: NodeState, attempts: u32) -> NodeResult {
    let reason = Reason { kind: ReasonKind::Retryable, message: "no luck".to_owned() };
    let due_at_ms = (state == NodeState::Pending).then_some(NOW + 100);
    NodeResult { attempts, reason: Some(reason), due_at_ms, ..NodeResult::new("map", state) }
}

#[test]
fn elements_are_called_a_few_at_a_time_and_come_out_in_their_order() {
    let mut scene = Scene::new(EACH, LIST);
    let begun = scene.begin(NOW);
    assert_eq!(begun, [(Step::element(0, 0), "10".to_owned()), (Step::element(0, 1), "{\"n\":20}".to_owned())]);
    assert!(scene.begin(NOW).is_empty(), "two at a time");
    scene.succeed(1, &[("out", "2")]);
    assert_eq!(scene.begin(NOW), [(Step::element(0, 2), "\"thirty\"".to_owned())]);
    scene.succeed(2, &[("out", "3"), ("rare", "true")]);
    assert_eq!(scene.map().state, NodeState::Pending);
    scene.succeed(0, &[("out", "1")]);
    let map = scene.map();
    assert_eq!((map.state, map.attempts, map.elements_total), (NodeState::Succeeded, 3, Some(3)));
    assert_eq!(map.outputs["out"].get(), "[1,2,3]");
    assert_eq!(map.outputs["rare"].get(), "[true]", "an element that leaves a port empty adds nothing to it");
    assert!(map.elements.iter().all(|element| element.outputs.is_empty()), "outputs are kept once");
    assert_eq!(scene.begin(NOW), [(Step::of(1), "[true]".to_owned())]);
}

#[test]
fn the_other_inputs_are_the_same_for_all_elements() {
    let mut scene = Scene::new(EACH, LIST);
    let ready = scene.progress.ready(&scene.plan, &scene.event, NOW, ElementLimits::default(), &HashSet::new());
    assert!(ready.iter().all(|(_, inputs)| inputs.contains(&("rate".to_owned(), "2".to_owned()))), "{ready:?}");
    let mut scene = Scene::new(EACH, r#"{"list":[1]}"#);
    let ready = scene.progress.ready(&scene.plan, &scene.event, NOW, ElementLimits::default(), &HashSet::new());
    assert_eq!(ready[0].1, [("in".to_owned(), "1".to_owned())], "an optional input may stay empty");
}

#[test]
fn an_empty_array_is_mapped_to_empty_arrays_and_nothing_is_called() {
    let mut scene = Scene::new(EACH, r#"{"list":[]}"#);
    assert_eq!(scene.begin(NOW), [(Step::of(1), "[]".to_owned())], "no port stays empty");
    assert_eq!((scene.map().state, scene.map().attempts), (NodeState::Succeeded, 0));
    assert_eq!(scene.map().outputs["out"].get(), "[]");
}

#[test]
fn what_is_no_array_or_too_long_fails_and_what_is_missing_skips() {
    let cases = [
        (EACH, r#"{"list":{"a":1}}"#, "expected an array, found an object"),
        (EACH, r#"{"list":"x"}"#, "expected an array, found a string"),
        (EACH, r#"{"list":null}"#, "expected an array, found null"),
        ("each = { input = \"in\", elements_max = 2 }", LIST, "has 3 elements, and no more than 2 are called"),
    ];
    for (each, event, expected) in cases {
        let mut scene = Scene::new(each, event);
        assert!(scene.begin(NOW).is_empty());
        let reason = scene.map().reason.as_ref().expect("a reason");
        assert_eq!((scene.map().state, reason.kind), (NodeState::Failed, ReasonKind::InvalidInput));
        assert!(reason.message.contains(expected), "{}", reason.message);
    }
    let mut scene = Scene::new(EACH, "{}");
    assert!(scene.begin(NOW).is_empty());
    assert_eq!(scene.map().state, NodeState::Skipped);
    assert!(scene.progress.is_complete());
}

#[test]
fn the_hosts_limit_of_elements_cannot_be_raised() {
    let mut scene = Scene::new("each = { input = \"in\", elements_max = 9 }", LIST);
    let limits = ElementLimits { elements_max: 2 };
    assert!(scene.progress.ready(&scene.plan, &scene.event, NOW, limits, &HashSet::new()).is_empty());
    assert_eq!(scene.map().state, NodeState::Failed);
}

#[test]
fn an_element_is_called_again_by_itself_when_its_time_has_come() {
    let mut scene = Scene::new(EACH, LIST);
    scene.begin(NOW);
    scene.end(0, failed(NodeState::Pending, 1));
    scene.succeed(1, &[("out", "2")]);
    let begun: Vec<Step> = scene.begin(NOW).into_iter().map(|(step, _)| step).collect();
    assert_eq!(begun, [Step::element(0, 2)]);
    scene.succeed(2, &[("out", "3")]);
    assert!(scene.begin(NOW + 99).is_empty());
    let (due, pending) = scene.progress.next_due(NOW).expect("an element waits");
    assert_eq!((due, pending.error().as_deref()), (NOW + 100, Some("node `map`, element 0: no luck")));
    assert_eq!(scene.begin(NOW + 100), [(Step::element(0, 0), "10".to_owned())]);
    assert_eq!(scene.progress.attempts(Step::element(0, 0)), 1);
}

#[test]
fn an_element_that_fails_for_good_fails_its_node_and_no_other_is_begun() {
    let mut scene = Scene::new(EACH, LIST);
    scene.begin(NOW);
    scene.end(1, failed(NodeState::Failed, 3));
    assert!(scene.begin(NOW).is_empty());
    let failed = scene.progress.failed().expect("the node has failed");
    assert_eq!(failed.error().as_deref(), Some("node `map`: element 1: no luck"));
    // The one that was under way is noted all the same: a replay need not call it again.
    scene.succeed(0, &[("out", "1")]);
    assert_eq!((scene.map().state, scene.map().elements_done()), (NodeState::Failed, 1));
}

#[test]
fn a_checkpoint_in_the_middle_is_taken_up_where_it_was_left() {
    let mut scene = Scene::new(EACH, LIST);
    scene.begin(NOW);
    scene.succeed(1, &[("out", "2")]);
    scene.end(0, failed(NodeState::Pending, 1));
    scene.progress = scene.resumed();
    assert_eq!(scene.begin(NOW), [(Step::element(0, 2), "\"thirty\"".to_owned())]);
    scene.succeed(2, &[("out", "3")]);
    scene.begin(NOW + 100);
    scene.succeed(0, &[("out", "1")]);
    assert_eq!(scene.map().outputs["out"].get(), "[1,2,3]");
}

#[test]
fn results_of_an_array_of_another_length_are_forgotten() {
    let mut scene = Scene::new(EACH, LIST);
    scene.begin(NOW);
    scene.succeed(0, &[("out", "1")]);
    let progress = scene.resumed();
    let mut other = Scene { progress, ..Scene::new(EACH, r#"{"list":[1,2]}"#) };
    let begun: Vec<Step> = other.begin(NOW).into_iter().map(|(step, _)| step).collect();
    assert_eq!(begun, [Step::element(0, 0), Step::element(0, 1)]);
}

#[test]
fn a_roll_back_takes_back_what_succeeded_and_counts_what_failed() {
    let mut scene = Scene::new("each = { input = \"in\", concurrency = 3 }", LIST);
    let begun = scene.progress.clone();
    scene.begin(NOW);
    scene.succeed(0, &[("out", "1")]);
    let saved = scene.progress.clone();
    scene.succeed(1, &[("out", "2")]);
    scene.end(2, failed(NodeState::Pending, 1));
    let mut rolled = scene.progress.clone();
    rolled.roll_back_to(&saved);
    let attempts: Vec<u32> = (0..3).map(|element| rolled.attempts(Step::element(0, element))).collect();
    assert_eq!(attempts, [1, 0, 1]);
    rolled = scene.progress.clone();
    rolled.roll_back_to(&begun);
    let attempts: Vec<u32> = (0..3).map(|element| rolled.attempts(Step::element(0, element))).collect();
    assert_eq!(attempts, [0, 0, 1], "the first was not committed either");
    assert!(!rolled.is_like(&begun), "a failed attempt is to be noted");
    // A call that was under way ends after that: what it was called with never happened, and it has failed.
    let late = NodeResult { element: Some(1), ..failed(NodeState::Pending, 1) };
    let mut unbegun = begun.clone();
    unbegun.roll_back_to(&Progress::new(&scene.plan));
    assert_eq!(unbegun.attempts(Step::element(0, 1)), 0);
    let mut late_one = scene.progress.clone();
    late_one.roll_back_to(&Progress::new(&scene.plan));
    late_one.set(&scene.plan, Step::element(0, 1), late);
    let map = late_one.result(Step::of(0)).expect("noted");
    assert_eq!((map.state, map.elements_total, map.attempts), (NodeState::Pending, Some(3), 2));
    scene.busy.clear();
    scene.progress = rolled;
    let begun: Vec<Step> = scene.begin(NOW).into_iter().map(|(step, _)| step).collect();
    assert_eq!(begun, [Step::element(0, 0), Step::element(0, 1)]);
}

#[test]
fn a_delay_is_waited_for_once_before_the_first_element() {
    let mut scene = Scene::new("delay = \"5s\", each = { input = \"in\" }", LIST);
    assert!(scene.begin(NOW).is_empty());
    assert_eq!(scene.progress.next_due(NOW).map(|(due, _)| due), Some(NOW + 5_000));
    assert_eq!(scene.begin(NOW + 5_000).len(), 3);
    scene.succeed(0, &[]);
    assert!(scene.progress.next_due(NOW).is_none(), "the delay is over");
}

#[test]
fn what_elements_use_adds_up_and_their_logs_are_bounded() {
    let mut scene = Scene::new("each = { input = \"in\", concurrency = 3 }", LIST);
    scene.begin(NOW);
    let half = ELEMENT_LOGS_BYTES_MAX / 2;
    let line = LogLine { at_ms: 1, level: "info".into(), context: String::new(), message: "kept".to_owned() };
    for element in 0..3 {
        let metering = Metering { log_bytes: half, memory_bytes_max: 7, requests: 1, ..Metering::default() };
        let log = vec![line.clone()];
        scene.end(element, NodeResult { attempts: 1, log, metering, ..NodeResult::new("map", NodeState::Succeeded) });
    }
    let map = scene.map();
    assert_eq!((map.metering.requests, map.metering.memory_bytes_max), (3, 7));
    let logs: Vec<&str> = map.elements.iter().map(|element| element.log[0].message.as_str()).collect();
    assert_eq!(logs[..2], ["kept", "kept"]);
    assert!(logs[2].contains("were logged and not kept"), "{}", logs[2]);
}

#[test]
fn no_more_calls_of_a_run_are_made_at_once_than_it_may_and_the_rest_comes_after_them() {
    const NODES: usize = 5;
    let description = r#"{"inputs":{"in":{},"rate":{"required":false}},"outputs":{"out":{}}}"#;
    let plugin = plan::ResolvedPlugin {
        id: PluginId(1),
        description: Arc::new(Description::parse(description).expect("valid")),
    };
    let node = |number: usize| {
        let each = "each = { input = \"in\", concurrency = 40 }";
        format!("n{number} = {{ plugin = \"p\", inputs = {{ in = \"event#/list\", rate = \"event\" }}, {each} }}\n")
    };
    let nodes: String = (0..NODES).map(node).collect();
    let late = "late = { plugin = \"p\", inputs = { in = \"event\" }, delay = \"1s\" }";
    let text = format!("[project]\nname = \"p\"\n[plugins]\np = \"p@1\"\n[grids.g.nodes]\n{nodes}{late}");
    let manifest = Manifest::from_toml(&text).expect("valid");
    let plugins = BTreeMap::from([("p".to_owned(), plugin)]);
    let plan = plan::plan_grids(&manifest, &plugins).expect("plans").remove("g").expect("grid g");
    let list: Vec<u32> = (0..40).collect();
    let event = raw(&format!(r#"{{"list":{}}}"#, serde_json::to_string(&list).expect("numbers")));
    let mut scene = Scene { progress: Progress::new(&plan), plan, event, busy: HashSet::new() };

    let mut called = 0;
    while called < NODES * list.len() {
        let begun = scene.begin(NOW);
        assert!(!begun.is_empty() && scene.busy.len() <= CALLS_AT_ONCE_MAX, "{} at once", scene.busy.len());
        assert_eq!(scene.progress.next_due(NOW).map(|(due, _)| due), Some(NOW + 1_000), "its delay began at once");
        for step in std::mem::take(&mut scene.busy) {
            let name = &scene.plan.nodes[step.node].name;
            let outputs = [("out".to_owned(), raw("1"))].into();
            let result = NodeResult { element: step.element, outputs, ..NodeResult::new(name, NodeState::Succeeded) };
            scene.progress.set(&scene.plan, step, result);
            called += 1;
        }
    }
    assert_eq!(scene.begin(NOW + 1_000).len(), 1);
}

#[test]
fn an_element_behind_the_end_of_an_array_that_was_made_anew_holds_no_place() {
    let mut scene = Scene::new("each = { input = \"in\", concurrency = 1 }", r#"{"list":[1,2]}"#);
    assert_eq!(scene.begin(NOW).len(), 1);
    let late = NodeResult { element: Some(2), due_at_ms: Some(NOW), ..NodeResult::new("map", NodeState::Pending) };
    scene.progress.set(&scene.plan, Step::element(0, 2), late);
    scene.succeed(0, &[("out", "1")]);
    assert_eq!(scene.begin(NOW), [(Step::element(0, 1), "2".to_owned())]);
}
