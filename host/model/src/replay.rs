//! Replaying a run that is over: what the new run is told of the old one, and which of its nodes it need not call again.
//!
//! ```text
//!   from start:   event ──► every node is called
//!   from failed:  event ──► nodes that succeeded keep their outputs ──► the others are called
//! ```
//!
//! Knows nothing of where runs are kept.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    RunId,
    plan::{GridPlan, PlannedOrigin},
    run::{Event, NodeResult, NodeState},
};

/// The attribute of an event that names the run whose replay this is.
pub const REPLAY_OF: &str = "replay-of";

/// Where a replay begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayFrom {
    /// With the event alone: every node is called.
    Start,
    /// Where the run came to its end: what succeeded is not called again.
    #[default]
    Failed,
}

/// Which revision a replay runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayRevision {
    /// The run's own.
    Same,
    /// What the project runs now: it may have been mended since.
    #[default]
    Current,
}

/// The event of a replay: the old one, and whose it was.
pub fn replayed_event(mut event: Event, of: RunId) -> Event {
    event.attributes.retain(|(name, _)| name != REPLAY_OF);
    event.attributes.push((REPLAY_OF.to_owned(), of.to_string()));
    event
}

/// Whether this is the event of a replay, which may have begun with results of the old run.
pub fn is_replay(event: &Event) -> bool {
    event.attributes.iter().any(|(name, _)| name == REPLAY_OF)
}

/// Which results of a run that is over a replay keeps: those of nodes that succeeded, by the name of the node. A node that
/// has changed since (another plugin, config or inputs) is kept all the same: what it did to the outside world is not done
/// twice, and who wants it done again replays from the start.
///
/// Not kept are nodes that `plan` does not know, and those of which it needs a port that they never had: `before`, the plan
/// of the old run, took nothing from that port, and nothing was emitted to it. They are called.
pub fn kept_results(results: Vec<NodeResult>, plan: &GridPlan, before: Option<&GridPlan>) -> Vec<NodeResult> {
    let has_ports = |result: &NodeResult| {
        ports_taken(plan, &result.node).all(|port| {
            result.outputs.contains_key(port)
                || before.is_some_and(|before| ports_taken(before, &result.node).any(|taken| taken == port))
        })
    };
    let is_kept = |result: &NodeResult| {
        result.state == NodeState::Succeeded
            && plan.nodes.iter().any(|node| node.name == result.node)
            && has_ports(result)
    };
    let kept: HashSet<String> = results.iter().filter(|one| is_kept(one)).map(|one| one.node.clone()).collect();
    let is_same_array = |node: &str| {
        let array = array_from(plan, node);
        array.is_some_and(|(from, origin)| {
            from.is_none_or(|from| kept.contains(from))
                && before.is_none_or(|before| array_from(before, node) == Some((from, origin)))
        })
    };
    let of_result = |result: NodeResult| match is_kept(&result) {
        true => Some(result),
        false => begun(result, is_kept, is_same_array),
    };
    results.into_iter().filter_map(of_result).collect()
}

/// What is kept of a node with `each` that has not come to its end: the elements that succeeded. Nothing of one that has,
/// because what its elements emitted is in its own outputs alone; and nothing where the array comes from elsewhere, or from
/// a node that is called again. Should it have another length all the same, the run forgets them.
fn begun(
    result: NodeResult,
    is_kept: impl Fn(&NodeResult) -> bool,
    is_same_array: impl Fn(&str) -> bool,
) -> Option<NodeResult> {
    if result.state == NodeState::Succeeded || !is_same_array(&result.node) {
        return None;
    }
    let elements: Vec<NodeResult> = result.elements.into_iter().filter(is_kept).collect();
    let elements_total = result.elements_total.filter(|_| !elements.is_empty())?;
    let attempts = elements.iter().map(|element| element.attempts).sum();
    let shell = NodeResult::new(&result.node, NodeState::Pending);
    Some(NodeResult { attempts, elements_total: Some(elements_total), elements, ..shell })
}

/// Where the array of a node with `each` comes from: of which node, if it is one's, and what it is there.
fn array_from<'p>(plan: &'p GridPlan, name: &str) -> Option<(Option<&'p str>, String)> {
    let node = plan.nodes.iter().find(|node| node.name == name)?;
    let each = node.each.as_ref()?;
    let input = node.inputs.iter().find(|input| input.port == each.input)?;
    Some(match &input.origin {
        PlannedOrigin::Event { pointer } => (None, format!("event#{pointer}")),
        PlannedOrigin::Literal(json) => (None, json.to_string()),
        PlannedOrigin::Port { node, port, pointer } => {
            (Some(plan.nodes[*node].name.as_str()), format!("{port}#{pointer}"))
        }
    })
}

/// The ports of a node that others take their inputs from.
fn ports_taken<'p>(plan: &'p GridPlan, name: &'p str) -> impl Iterator<Item = &'p str> {
    let inputs = plan.nodes.iter().flat_map(|node| &node.inputs);
    inputs.filter_map(move |input| match &input.origin {
        PlannedOrigin::Port { node, port, .. } if plan.nodes[*node].name == name => Some(port.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::{PluginId, description::Description, manifest::Manifest, plan};

    /// A grid whose nodes are written as in a manifest.
    fn grid(nodes: &str) -> GridPlan {
        let description = r#"{"inputs":{"in":{}},"outputs":{"out":{},"rare":{}}}"#;
        let plugin = plan::ResolvedPlugin {
            id: PluginId(1),
            description: Arc::new(Description::parse(description).expect("valid")),
        };
        let manifest = format!("[project]\nname = \"p\"\n[plugins]\np = \"p@1\"\n[grids.g.nodes]\n{nodes}");
        let manifest = Manifest::from_toml(&manifest).expect("valid");
        let plugins = BTreeMap::from([("p".to_owned(), plugin)]);
        plan::plan_grids(&manifest, &plugins).expect("plans").remove("g").expect("grid g")
    }

    fn succeeded(node: &str, ports: &[&str]) -> NodeResult {
        let json = serde_json::value::RawValue::from_string("1".to_owned()).expect("JSON");
        let outputs = ports.iter().map(|port| ((*port).to_owned(), json.clone())).collect();
        NodeResult { attempts: 1, outputs, ..NodeResult::new(node, NodeState::Succeeded) }
    }

    fn names(results: &[NodeResult]) -> Vec<&str> {
        results.iter().map(|result| result.node.as_str()).collect()
    }

    const CHAIN: &str = "a = { plugin = \"p\", inputs = { in = \"event\" } }\n\
                         b = { plugin = \"p\", inputs = { in = \"a.out\" } }\n\
                         c = { plugin = \"p\", inputs = { in = \"b.rare\" } }\n";

    #[test]
    fn what_succeeded_is_kept_and_the_rest_is_called() {
        let plan = grid(CHAIN);
        let results = vec![
            succeeded("a", &["out"]),
            NodeResult { attempts: 3, ..NodeResult::new("b", NodeState::Failed) },
            NodeResult::new("c", NodeState::Skipped),
        ];
        assert_eq!(names(&kept_results(results, &plan, Some(&plan))), ["a"]);
    }

    #[test]
    fn elements_that_succeeded_are_not_called_again() {
        let element =
            |element, state| NodeResult { element: Some(element), attempts: 1, ..NodeResult::new("a", state) };
        let elements = vec![element(0, NodeState::Succeeded), element(1, NodeState::Failed)];
        let failed = NodeResult { elements_total: Some(3), elements, ..NodeResult::new("a", NodeState::Failed) };
        let mapped = grid(&CHAIN.replace("\"event\" }", "\"event\" }, each = true"));
        let kept = kept_results(vec![failed.clone()], &mapped, Some(&mapped));
        assert_eq!((kept[0].state, kept[0].elements_total, kept[0].elements.len()), (NodeState::Pending, Some(3), 1));
        assert_eq!(kept[0].elements[0].element, Some(0));
        assert!(kept_results(vec![failed.clone()], &grid(CHAIN), None).is_empty(), "the node is no longer mapped");
        let elsewhere = grid(&CHAIN.replace("\"event\" }", "\"event#/others\" }, each = true"));
        assert!(kept_results(vec![failed], &elsewhere, Some(&mapped)).is_empty(), "it is another array");
    }

    /// A list, a node over it, and one behind that.
    const MAPPED: &str = "a = { plugin = \"p\", inputs = { in = \"event\" } }\n\
                          b = { plugin = \"p\", inputs = { in = \"a.out\" }, each = true }\n\
                          c = { plugin = \"p\", inputs = { in = \"b.out\" } }\n";

    /// `b` with two elements, which have emitted to these ports.
    fn mapped(state: NodeState, ports: &[&str]) -> NodeResult {
        let element = |number| NodeResult { element: Some(number), ..succeeded("b", ports) };
        let elements = vec![element(0), element(1)];
        NodeResult { elements_total: Some(3), elements, ..NodeResult::new("b", state) }
    }

    #[test]
    fn a_mapped_node_that_lacks_a_port_now_needed_is_called_again_with_all_its_elements() {
        let (before, now) = (grid(MAPPED), grid(&MAPPED.replace("b.out", "b.rare")));
        // What its elements have emitted is in its own outputs alone.
        let whole = NodeResult { outputs: succeeded("b", &["out"]).outputs, ..mapped(NodeState::Succeeded, &[]) };
        let results = vec![succeeded("a", &["out"]), whole];
        assert_eq!(names(&kept_results(results.clone(), &before, Some(&before))), ["a", "b"]);
        assert_eq!(names(&kept_results(results, &now, Some(&before))), ["a"]);
        let begun = vec![succeeded("a", &["out"]), mapped(NodeState::Failed, &["out"])];
        assert_eq!(names(&kept_results(begun.clone(), &before, Some(&before))), ["a", "b"]);
        assert_eq!(names(&kept_results(begun, &now, Some(&before))), ["a"]);
    }

    #[test]
    fn elements_of_an_array_that_is_made_anew_are_called_again() {
        let (before, now) = (grid(MAPPED), grid(&MAPPED.replace("a.out", "a.rare")));
        let begun = vec![succeeded("a", &["out"]), mapped(NodeState::Failed, &["out"])];
        assert!(kept_results(begun.clone(), &now, Some(&before)).is_empty(), "`a` is called for another port");
        assert!(kept_results(begun[1..].to_vec(), &before, None).is_empty(), "`a` had not succeeded");
    }

    #[test]
    fn a_port_that_stayed_empty_is_no_reason_to_call_a_node_again() {
        let plan = grid(CHAIN);
        let results = vec![succeeded("a", &["out"]), succeeded("b", &["out"])];
        assert_eq!(names(&kept_results(results, &plan, Some(&plan))), ["a", "b"]);
    }

    #[test]
    fn a_node_that_is_gone_is_dropped_and_one_that_lacks_a_port_now_needed_is_called_again() {
        let (before, now) = (grid(CHAIN), grid(&CHAIN.replace("b.rare", "a.rare").replace("b =", "other =")));
        let results = vec![succeeded("a", &["out"]), succeeded("b", &["rare"])];
        assert!(kept_results(results.clone(), &now, Some(&before)).is_empty());
        assert!(kept_results(results, &now, None).is_empty(), "nothing is known of what the ports meant");
        let results = vec![succeeded("a", &["out", "rare"])];
        assert_eq!(names(&kept_results(results, &now, None)), ["a"], "all that is needed is there");
    }

    #[test]
    fn the_replay_of_a_replay_names_the_run_it_was_made_of() {
        let data = serde_json::value::RawValue::from_string("1".to_owned()).expect("JSON");
        let event = Event { attributes: vec![("trigger".to_owned(), "api".to_owned())], data };
        let event = replayed_event(replayed_event(event, RunId(1)), RunId(2));
        let expected = [("trigger", "api".to_owned()), (REPLAY_OF, RunId(2).to_string())];
        assert_eq!(event.attributes, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
