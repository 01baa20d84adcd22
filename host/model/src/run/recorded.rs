//! What the nodes of a run that is over were called with: reckoned anew from its event and what its nodes came to, because
//! inputs are kept nowhere.
//!
//! Does not know what is done with a call: a fixture keeps it, a shadow run makes it once more.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::{Event, Inputs, NodeResult, NodeState, Progress, Reason};
use crate::{
    fixture::Outcome,
    plan::{GridPlan, PlannedNode, PlannedOrigin},
    results::OMITTED_KEY,
};

/// A run that is over, as history keeps it.
#[derive(Clone, Debug)]
pub struct RecordedRun {
    pub event: Event,
    pub results: Vec<NodeResult>,
}

/// One call of a node, as it can be made once more.
#[derive(Clone, Debug)]
pub struct RecordedCall {
    /// Index of the node in the plan that was asked about.
    pub node: usize,
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
    /// not called, that are in one of the two alone, or whose input is not kept.
    pub fn calls(&self, plan: &GridPlan) -> (Vec<RecordedCall>, Vec<Uncalled>) {
        let progress = Progress::resume(plan, self.results.clone());
        let (mut calls, mut uncalled) = (Vec::new(), Vec::new());
        for (index, node) in plan.nodes.iter().enumerate() {
            match self.call(plan, &progress, index) {
                Ok(call) => calls.push(call),
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

    fn call(&self, plan: &GridPlan, progress: &Progress, index: usize) -> Result<RecordedCall, String> {
        let node = &plan.nodes[index];
        let result = progress.result(index).ok_or("the run did not call it")?;
        let outcome = outcome(result)?;
        check_kept(plan, progress, node)?;
        let missing = |port: &str| format!("its input `{port}` has no value in the recorded run");
        let inputs = progress.inputs(node, &self.event.data).map_err(|input| missing(&input.port))?;
        Ok(RecordedCall { node: index, attempt: result.attempts, inputs, outcome })
    }
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
        let output = progress.result(*from).and_then(|result| result.outputs.get(port));
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
    use crate::{PluginId, description::Description, manifest::Manifest, plan, run::ReasonKind};

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
        let (calls, uncalled) = recorded.calls(&plan);
        let seen: Vec<_> =
            calls.iter().map(|call| (plan.nodes[call.node].name.as_str(), call.attempt, &call.inputs)).collect();
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
        let (calls, uncalled) = recorded.calls(&other);
        let b = calls.iter().find(|call| other.nodes[call.node].name == "b").expect("b is in both");
        assert!(b.inputs.contains(&("in".to_owned(), r#"{"n":7}"#.to_owned())), "{:?}", b.inputs);
        let reasons: Vec<_> = uncalled.iter().map(|one| (one.node.as_str(), one.reason.as_str())).collect();
        assert_eq!(reasons, [("d", "the run did not call it"), ("c", "the revision that is tried has no such node")]);
    }

    #[test]
    fn what_history_has_left_out_is_told_and_not_taken_for_a_value() {
        let marker = format!("{{\"{OMITTED_KEY}\":70000}}");
        let (calls, uncalled) = run(vec![succeeded("a", &marker), succeeded("b", "1")]).calls(&plan(CHAIN));
        assert!(calls.is_empty(), "{calls:?}");
        assert!(uncalled[0].reason.contains("output `out` was too large"), "{uncalled:?}");
        assert!(uncalled[1].reason.contains("input `in` was too large to be kept in history: `a.out`"), "{uncalled:?}");
        let alike = succeeded("a", &format!("{{\"{OMITTED_KEY}\":\"many\"}}"));
        assert_eq!(run(vec![alike]).calls(&plan(CHAIN)).0.len(), 1, "a value that only looks like one");
    }
}
