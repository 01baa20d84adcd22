//! What the nodes of a run that is over were called with: reckoned anew from its event and what its nodes came to, because
//! inputs are kept nowhere.
//!
//! Does not know what is done with a call: a fixture keeps it, a shadow run makes it once more.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::{Event, Inputs, NodeResult, NodeState, Progress, Reason, Step};
use crate::{
    fixture::Outcome,
    plan::{GridPlan, PlannedEach, PlannedNode, PlannedOrigin},
    results::OMITTED_KEY,
};

/// A run that is over, as history keeps it.
#[derive(Clone, Debug)]
pub struct RecordedRun {
    pub event: Event,
    pub results: Vec<NodeResult>,
}

/// One call of a node, or of one of its elements, as it can be made once more.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// In the plan that was asked about.
    pub step: Step,
    /// The attempt that the outcome is of.
    pub attempt: u32,
    pub inputs: Inputs,
    pub outcome: Outcome,
}

/// A node of which there is no call to make once more, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncalled {
    pub node: String,
    pub reason: String,
}

impl RecordedRun {
    /// The calls of this run by a plan, in its order: its own plan, or another one whose nodes are looked for by their names
    /// and whose inputs are taken from what the nodes of this run came to. And what there is no call for: nodes that were
    /// not called, that are in one of the two alone, or whose input is not kept. Nodes with whose inputs all of them would come
    /// to more than `bytes_max` are left out too: what one event holds is an input of many, or of a thousand elements.
    pub fn calls(&self, plan: &GridPlan, bytes_max: usize) -> (Vec<RecordedCall>, Vec<Uncalled>) {
        let progress = Progress::resume(plan, self.results.clone());
        let (mut calls, mut uncalled) = (Vec::new(), Vec::new());
        let mut room = Room { most: bytes_max, left: bytes_max };
        for (index, node) in plan.nodes.iter().enumerate() {
            match self.calls_of(plan, &progress, index, &mut room) {
                Ok(own) => calls.extend(own),
                Err(reason) => uncalled.push(Uncalled { node: node.name.clone(), reason }),
            }
        }
        let is_gone = |result: &&NodeResult| plan.nodes.iter().all(|node| node.name != result.node);
        uncalled.extend(self.results.iter().filter(is_gone).map(|result| Uncalled {
            node: result.node.clone(),
            reason: "the revision that is tried has no such node".to_owned(),
        }));
        (calls, uncalled)
    }

    fn calls_of(
        &self,
        plan: &GridPlan,
        progress: &Progress,
        index: usize,
        room: &mut Room,
    ) -> Result<Vec<RecordedCall>, String> {
        let node = &plan.nodes[index];
        let result = progress.result(Step::of(index)).ok_or("the run did not call it")?;
        check_kept(plan, progress, node)?;
        match (&node.each, result.elements_total) {
            (Some(each), Some(total)) => self.element_calls(progress, node, each, (index, total as usize), room),
            (None, None) => {
                let outcome = outcome(result)?;
                let inputs = self.inputs(progress, node, None)?;
                room.take(bytes_of(&inputs))?;
                Ok(vec![RecordedCall { step: Step::of(index), attempt: result.attempts, inputs, outcome }])
            }
            (Some(_), None) => outcome(result).and(Err("it is mapped over an array now, and was not then".to_owned())),
            (None, Some(_)) => Err("it was mapped over an array then, and is not now".to_owned()),
        }
    }

    fn inputs(&self, progress: &Progress, node: &PlannedNode, without: Option<&str>) -> Result<Inputs, String> {
        let missing = |port: &str| format!("its input `{port}` has no value in the recorded run");
        progress.inputs(node, &self.event.data, without).map_err(|input| missing(&input.port))
    }

    /// The calls of the elements of a node with `each`, as far as each was called.
    fn element_calls(
        &self,
        progress: &Progress,
        node: &PlannedNode,
        each: &PlannedEach,
        (index, total): (usize, usize),
        room: &mut Room,
    ) -> Result<Vec<RecordedCall>, String> {
        let origin = node.inputs.iter().find(|input| input.port == each.input).map(|input| &input.origin);
        let array = origin.and_then(|origin| progress.value(origin, &self.event.data));
        let array: Option<Vec<Box<RawValue>>> = array.and_then(|json| serde_json::from_str(&json).ok());
        let array = array.filter(|array| array.len() == total);
        let array = array.ok_or_else(|| format!("its input `{}` is not the array that was mapped", each.input))?;
        let result = progress.result(Step::of(index)).ok_or("the run did not call it")?;
        let mut outcomes = element_outcomes(result, total)?;
        let common = self.inputs(progress, node, Some(&each.input))?;
        let of_elements: usize = array.iter().map(|value| value.get().len()).sum();
        room.take(of_elements.saturating_add(bytes_of(&common).saturating_mul(total)))?;
        let mut calls = Vec::new();
        for (element, value) in (0..).zip(&array) {
            let step = Step::element(index, element);
            let Some((outcome, attempt)) = outcomes.remove(&element) else { continue };
            let mut inputs = common.clone();
            inputs.push((each.input.clone(), value.get().to_owned()));
            calls.push(RecordedCall { step, attempt, inputs, outcome });
        }
        Ok(calls)
    }
}

/// Bytes that there may be of inputs.
struct Room {
    most: usize,
    left: usize,
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let too_much = || format!("with it the inputs of all calls would have more than {} bytes", self.most);
        self.left = self.left.checked_sub(bytes).ok_or_else(too_much)?;
        Ok(())
    }
}

fn bytes_of(inputs: &Inputs) -> usize {
    inputs.iter().map(|(_, json)| json.len()).sum()
}

/// What each element came to, with its attempts. Of a node that has succeeded only the arrays of all elements together are
/// kept: an array as long as the one that was mapped has a value of each, an empty one of none.
///
/// # Errors
/// Some elements left a port empty and others did not: which, is not known any more.
fn element_outcomes(result: &NodeResult, total: usize) -> Result<BTreeMap<u32, (Outcome, u32)>, String> {
    let attempts = |element: u32| result.element_result(element).map_or(1, |own| own.attempts);
    if result.state != NodeState::Succeeded {
        let ended = result.elements.iter().filter_map(|own| Some((own.element?, (outcome(own).ok()?, own.attempts))));
        return Ok(ended.collect());
    }
    let Outcome::Emitted(ports) = outcome(result)? else { return Ok(BTreeMap::new()) };
    let mut emitted: Vec<BTreeMap<String, Value>> = vec![BTreeMap::new(); total];
    for (port, array) in ports {
        match array {
            Value::Array(values) if values.is_empty() => {}
            Value::Array(values) if values.len() == total => {
                for (own, value) in emitted.iter_mut().zip(values) {
                    own.insert(port.clone(), value);
                }
            }
            _ => return Err(format!("some of its elements left the port `{port}` empty, and which is not kept")),
        }
    }
    Ok((0..).zip(emitted).map(|(element, ports)| (element, (Outcome::Emitted(ports), attempts(element)))).collect())
}

/// What the last call of a node came to.
///
/// # Errors
/// There was none, or it is not known any more.
fn outcome(result: &NodeResult) -> Result<Outcome, String> {
    match (result.state, &result.reason) {
        (NodeState::Succeeded, _) => {
            if let Some((port, _)) = result.outputs.iter().find(|(_, json)| is_omitted(json)) {
                return Err(format!("its output `{port}` was too large to be kept in history"));
            }
            let ports = result.outputs.iter().map(|(port, json)| Ok((port.clone(), serde_json::from_str(json.get())?)));
            let ports: Result<BTreeMap<String, Value>, serde_json::Error> = ports.collect();
            ports.map(Outcome::Emitted).map_err(|error| format!("its outputs are not readable: {error}"))
        }
        (NodeState::Failed, Some(reason)) => Ok(Outcome::Failed(reason.clone())),
        (NodeState::Failed, None) => Err("why it failed is not known".to_owned()),
        (NodeState::Skipped, reason) => Err(format!("it was skipped{}", explained(reason.as_ref()))),
        (NodeState::Pending, reason) => Err(format!("it did not come to its end{}", explained(reason.as_ref()))),
    }
}

fn explained(reason: Option<&Reason>) -> String {
    reason.map(|reason| format!(": {}", reason.message)).unwrap_or_default()
}

/// Whether all that the node's inputs are taken from is there as it was.
fn check_kept(plan: &GridPlan, progress: &Progress, node: &PlannedNode) -> Result<(), String> {
    for input in &node.inputs {
        let PlannedOrigin::Port { node: from, port, .. } = &input.origin else { continue };
        let output = progress.result(Step::of(*from)).and_then(|result| result.outputs.get(port));
        if output.is_some_and(|json| is_omitted(json)) {
            let from = &plan.nodes[*from].name;
            return Err(format!("its input `{}` was too large to be kept in history: `{from}.{port}`", input.port));
        }
    }
    Ok(())
}

/// Whether history has a marker in place of an output.
fn is_omitted(json: &RawValue) -> bool {
    // Markers are short: a large output is not read for this.
    json.get().len() <= OMITTED_KEY.len() + 32
        && serde_json::from_str::<BTreeMap<String, u64>>(json.get())
            .is_ok_and(|object| object.len() == 1 && object.contains_key(OMITTED_KEY))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        PluginId,
        description::Description,
        manifest::Manifest,
        plan,
        run::{Outputs, ReasonKind},
    };

    fn plan(nodes: &str) -> GridPlan {
        let description = r#"{"inputs":{"in":{},"extra":{"required":false}},"outputs":{"out":{},"rare":{}}}"#;
        let plugin = plan::ResolvedPlugin {
            id: PluginId(1),
            description: Arc::new(Description::parse(description).expect("valid")),
        };
        let text = format!("[project]\nname = \"p\"\n[plugins]\np = \"p@1\"\n[grids.g.nodes]\n{nodes}");
        let manifest = Manifest::from_toml(&text).expect("valid");
        let plugins = BTreeMap::from([("p".to_owned(), plugin)]);
        plan::plan_grids(&manifest, &plugins).expect("plans").remove("g").expect("grid g")
    }

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).expect("valid JSON")
    }

    fn succeeded(node: &str, out: &str) -> NodeResult {
        let outputs = [("out".to_owned(), raw(out))].into();
        NodeResult { attempts: 1, outputs, ..NodeResult::new(node, NodeState::Succeeded) }
    }

    fn failed(node: &str) -> NodeResult {
        let reason = Reason { kind: ReasonKind::Permanent, message: "no".to_owned() };
        NodeResult { attempts: 3, reason: Some(reason), ..NodeResult::new(node, NodeState::Failed) }
    }

    fn run(results: Vec<NodeResult>) -> RecordedRun {
        RecordedRun { event: Event { attributes: Vec::new(), data: raw(r#"{"order":{"n":1}}"#) }, results }
    }

    const CHAIN: &str = "a = { plugin = \"p\", inputs = { in = \"event#/order\" } }\n\
                         b = { plugin = \"p\", inputs = { in = \"a.out#/n\", extra = { literal = [1] } } }\n\
                         c = { plugin = \"p\", inputs = { in = \"a.rare\" } }\n";

    #[test]
    fn inputs_are_those_that_the_nodes_were_called_with() {
        let recorded = run(vec![succeeded("a", r#"{"n":7}"#), failed("b"), NodeResult::new("c", NodeState::Skipped)]);
        let plan = plan(CHAIN);
        let (calls, uncalled) = recorded.calls(&plan, usize::MAX);
        let seen: Vec<_> =
            calls.iter().map(|call| (plan.nodes[call.step.node].name.as_str(), call.attempt, &call.inputs)).collect();
        let inputs = |pairs: &[(&str, &str)]| -> Inputs {
            pairs.iter().map(|(port, json)| ((*port).to_owned(), (*json).to_owned())).collect()
        };
        assert_eq!(
            seen,
            [("a", 1, &inputs(&[("in", r#"{"n":1}"#)])), ("b", 3, &inputs(&[("extra", "[1]"), ("in", "7")]))]
        );
        assert!(matches!(&calls[1].outcome, Outcome::Failed(reason) if reason.message == "no"));
        assert_eq!((uncalled.len(), uncalled[0].node.as_str()), (1, "c"));
        assert!(uncalled[0].reason.contains("skipped"), "{uncalled:?}");
    }

    #[test]
    fn another_plan_takes_its_inputs_from_what_the_nodes_came_to() {
        let other = plan(&CHAIN.replace("a.out#/n", "a.out").replace("c =", "d ="));
        let recorded = run(vec![succeeded("a", r#"{"n":7}"#), succeeded("b", "1"), succeeded("c", "2")]);
        let (calls, uncalled) = recorded.calls(&other, usize::MAX);
        let b = calls.iter().find(|call| other.nodes[call.step.node].name == "b").expect("b is in both");
        assert!(b.inputs.contains(&("in".to_owned(), r#"{"n":7}"#.to_owned())), "{:?}", b.inputs);
        let reasons: Vec<_> = uncalled.iter().map(|one| (one.node.as_str(), one.reason.as_str())).collect();
        assert_eq!(reasons, [("d", "the run did not call it"), ("c", "the revision that is tried has no such node")]);
    }

    /// A node over the event's `list`, of two elements.
    fn mapped(out: &str, rare: &str) -> (GridPlan, NodeResult) {
        let plan = plan(
            "a = { plugin = \"p\", each = { input = \"in\" }, inputs = { in = \"event#/list\", extra = { literal = 1 } } }",
        );
        let outputs = [("out".to_owned(), raw(out)), ("rare".to_owned(), raw(rare))].into();
        let result =
            NodeResult { attempts: 2, outputs, elements_total: Some(2), ..NodeResult::new("a", NodeState::Succeeded) };
        (plan, result)
    }

    fn listed(results: Vec<NodeResult>) -> RecordedRun {
        RecordedRun { event: Event { attributes: Vec::new(), data: raw(r#"{"list":[7,8]}"#) }, results }
    }

    #[test]
    fn a_node_that_was_mapped_is_called_by_its_elements() {
        let (plan, result) = mapped("[70,80]", "[]");
        let (calls, uncalled) = listed(vec![result]).calls(&plan, usize::MAX);
        assert!(uncalled.is_empty(), "{uncalled:?}");
        let second = &calls[1];
        assert_eq!((calls.len(), second.step, second.attempt), (2, Step::element(0, 1), 1));
        assert!(second.inputs.contains(&("in".to_owned(), "8".to_owned())), "{:?}", second.inputs);
        assert!(second.inputs.contains(&("extra".to_owned(), "1".to_owned())), "{:?}", second.inputs);
        assert_eq!(second.outcome, Outcome::Emitted(BTreeMap::from([("out".to_owned(), Value::from(80))])));
    }

    #[test]
    fn inputs_that_are_too_much_together_are_not_made() {
        let (plan, result) = mapped("[70,80]", "[]");
        // Each element has its own byte, and the literal.
        let (calls, uncalled) = listed(vec![result.clone()]).calls(&plan, 4);
        assert_eq!((calls.len(), uncalled.len()), (2, 0), "{uncalled:?}");
        let (calls, uncalled) = listed(vec![result]).calls(&plan, 3);
        assert!(calls.is_empty() && uncalled[0].reason.contains("more than 3 bytes"), "{uncalled:?}");
        let both = run(vec![succeeded("a", r#"{"n":7}"#), succeeded("b", "1")]);
        let chain = self::plan(CHAIN);
        let (calls, uncalled) = both.calls(&chain, 10);
        assert_eq!((calls.len(), uncalled[0].node.as_str()), (1, "b"), "{uncalled:?}");
    }

    #[test]
    fn a_mapped_node_of_which_it_is_not_known_what_each_element_emitted_is_left_out() {
        let (own, result) = mapped("[70]", "[]");
        let (calls, uncalled) = listed(vec![result.clone()]).calls(&own, usize::MAX);
        assert!(calls.is_empty() && uncalled[0].reason.contains("left the port `out` empty"), "{uncalled:?}");
        let unmapped = plan("a = { plugin = \"p\", inputs = { in = \"event#/list\" } }");
        let (calls, uncalled) = listed(vec![result]).calls(&unmapped, usize::MAX);
        assert!(calls.is_empty() && uncalled[0].reason.contains("is not now"), "{uncalled:?}");
        let other = NodeResult { elements_total: Some(3), ..mapped("[1,2,3]", "[]").1 };
        let (calls, uncalled) = listed(vec![other]).calls(&own, usize::MAX);
        assert!(calls.is_empty() && uncalled[0].reason.contains("not the array"), "{uncalled:?}");
    }

    #[test]
    fn elements_of_a_node_that_failed_have_outcomes_of_their_own() {
        let (plan, result) = mapped("[]", "[]");
        let element = |result: NodeResult, element| NodeResult { element: Some(element), ..result };
        let elements = vec![element(failed("a"), 1)];
        let result = NodeResult { state: NodeState::Failed, outputs: Outputs::new(), elements, ..result };
        let (calls, _) = listed(vec![result]).calls(&plan, usize::MAX);
        assert_eq!((calls.len(), calls[0].step, calls[0].attempt), (1, Step::element(0, 1), 3));
        assert!(matches!(calls[0].outcome, Outcome::Failed(_)));
    }

    #[test]
    fn what_history_has_left_out_is_told_and_not_taken_for_a_value() {
        let marker = format!("{{\"{OMITTED_KEY}\":70000}}");
        let (calls, uncalled) = run(vec![succeeded("a", &marker), succeeded("b", "1")]).calls(&plan(CHAIN), usize::MAX);
        assert!(calls.is_empty(), "{calls:?}");
        assert!(uncalled[0].reason.contains("output `out` was too large"), "{uncalled:?}");
        assert!(uncalled[1].reason.contains("input `in` was too large to be kept in history: `a.out`"), "{uncalled:?}");
        let alike = succeeded("a", &format!("{{\"{OMITTED_KEY}\":\"many\"}}"));
        assert_eq!(run(vec![alike]).calls(&plan(CHAIN), usize::MAX).0.len(), 1, "a value that only looks like one");
    }
}
