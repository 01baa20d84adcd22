//! What the nodes of one run have come to so far, and which of them can be called next.
//!
//! Nodes that are mapped over an array are [`super::elements`]' subject.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::{ElementLimits, NodeResult, NodeState, Reason, ReasonKind, Step, elements::Arrays};
use crate::{
    manifest::{EACH_CONCURRENCY_MAX, Target},
    plan::{GridPlan, PlannedInput, PlannedNode, PlannedOrigin},
};

/// Calls of one run that are made at the same time, at most: each has a copy of its inputs, also while it waits for its place.
/// As many as a node with `each` may have elements at once, so that one such node is held up by nothing but itself.
pub const CALLS_AT_ONCE_MAX: usize = EACH_CONCURRENCY_MAX as usize;

/// What the nodes of one run have come to so far, in the order of the plan. Absent: not called yet.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub(super) results: Vec<Option<NodeResult>>,
    /// The arrays of nodes with `each`, taken apart once.
    pub(super) arrays: Arrays,
}

/// The inputs of one call: port and JSON text.
pub type Inputs = Vec<(String, String)>;

impl Progress {
    pub fn new(plan: &GridPlan) -> Self {
        Self { results: vec![None; plan.nodes.len()], arrays: Arrays::default() }
    }

    /// Takes up a checkpoint: what its nodes had come to. Nodes that the plan does not know are dropped.
    pub fn resume(plan: &GridPlan, checkpoint: Vec<NodeResult>) -> Self {
        let mut progress = Self::new(plan);
        for result in checkpoint {
            if let Some(index) = plan.nodes.iter().position(|node| node.name == result.node) {
                progress.results[index] = Some(result);
            }
        }
        progress
    }

    /// What a call's place has come to so far.
    pub fn result(&self, step: Step) -> Option<&NodeResult> {
        let result = self.results[step.node].as_ref()?;
        match step.element {
            None => Some(result),
            Some(element) => result.element_result(element),
        }
    }

    /// How many calls of it have failed so far.
    pub fn attempts(&self, step: Step) -> u32 {
        self.result(step).map_or(0, |result| result.attempts)
    }

    /// Notes what a call has come to. With the last element of a node with `each`, the node itself has come to something.
    pub fn set(&mut self, plan: &GridPlan, step: Step, result: NodeResult) {
        match step.element {
            None => self.results[step.node] = Some(result),
            Some(_) => self.set_element(&plan.nodes[step.node], step.node, result),
        }
    }

    /// Whether no node was called between the two, whichever of them is the earlier one. Nodes that are skipped follow from
    /// the others.
    pub fn is_like(&self, other: &Self) -> bool {
        let own = |result: &NodeResult| (result.state, result.attempts, result.due_at_ms, result.waiting.clone());
        let told = |result: &Option<NodeResult>| {
            let result = result.as_ref().filter(|result| result.state != NodeState::Skipped)?;
            Some((own(result), result.elements.iter().map(own).collect::<Vec<_>>()))
        };
        self.results.iter().map(told).eq(other.results.iter().map(told))
    }

    /// Everything since `saved` never happened, but for failed calls: these are counted all the same.
    pub fn roll_back_to(&mut self, saved: &Self) {
        let Self { results, arrays } = std::mem::replace(self, saved.clone());
        self.arrays = std::mem::take(&mut self.arrays).with_totals_of(arrays);
        for (node, result) in results.into_iter().enumerate() {
            let Some(result) = result else { continue };
            match result.elements_total {
                Some(total) => self.keep_failed_elements(node, total, result),
                None if result.is_unsuccessful() => self.results[node] = Some(result),
                None => {}
            }
        }
    }

    fn is_settled(&self, node: usize) -> bool {
        self.results[node].as_ref().is_some_and(|result| result.state != NodeState::Pending)
    }

    /// Marks every node that can never get a required input as skipped, sets the time of those that have a delay, and returns
    /// the calls that can be made at `now_ms` with their inputs, beside those of `busy`, which are being made already. No more
    /// than [`CALLS_AT_ONCE_MAX`] of both: what else could be called is so when one of these has ended.
    pub fn ready(
        &mut self,
        plan: &GridPlan,
        event: &RawValue,
        now_ms: i64,
        limits: ElementLimits,
        busy: &HashSet<Step>,
    ) -> Vec<(Step, Inputs)> {
        let mut ready = Vec::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            if self.is_settled(index) || busy.contains(&Step::of(index)) || !self.upstream_is_settled(node) {
                continue;
            }
            let begins_delay = node.delay_ms > 0 && self.results[index].is_none();
            if room_beside(busy, &ready) == 0 && !begins_delay {
                continue;
            }
            if let Some(each) = &node.each {
                self.ready_elements(index, node, each, event, now_ms, limits, busy, &mut ready);
                continue;
            }
            match self.inputs(node, event, None) {
                Ok(inputs) if self.is_due(index, node, now_ms) => ready.push((Step::of(index), inputs)),
                Ok(_) => {}
                Err(missing) => self.results[index] = Some(skipped(node, missing).at(now_ms)),
            }
        }
        ready
    }

    /// Whether the time of a node with all its inputs has come. The delay of a node begins here.
    pub(super) fn is_due(&mut self, index: usize, node: &PlannedNode, now_ms: i64) -> bool {
        match &self.results[index] {
            Some(pending) => pending.due_at_ms.is_none_or(|due| due <= now_ms),
            None if node.delay_ms == 0 => true,
            None => {
                let due = now_ms.saturating_add_unsigned(node.delay_ms);
                let pending = NodeResult::new(&node.name, NodeState::Pending);
                self.results[index] = Some(NodeResult { due_at_ms: Some(due), ..pending }.at(now_ms));
                false
            }
        }
    }

    /// Lets nodes go now that wait for a target which takes requests faster by now than when they were told their times. The
    /// target says whether there is room for them; they are before all who come new.
    pub fn hasten(&mut self, targets: &[Target], now_ms: i64) {
        for result in self.results.iter_mut().flatten() {
            result.hasten(targets, now_ms);
            result.elements.iter_mut().for_each(|element| element.hasten(targets, now_ms));
        }
    }

    /// The pending node, or the element of one, whose time comes first after `now_ms`. Those whose time had come by then wait for something else.
    pub fn next_due(&self, now_ms: i64) -> Option<(i64, &NodeResult)> {
        let unfinished = self.results().filter(|result| result.state == NodeState::Pending);
        let steps = unfinished.flat_map(|result| std::iter::once(result).chain(&result.elements));
        let pending = steps.filter(|result| result.state == NodeState::Pending);
        let due = pending.filter_map(|result| Some((result.due_at_ms?, result)));
        due.filter(|(due, _)| *due > now_ms).min_by_key(|(due, _)| *due)
    }

    fn upstream_is_settled(&self, node: &PlannedNode) -> bool {
        node.inputs.iter().all(|input| match input.origin {
            PlannedOrigin::Port { node, .. } => self.is_settled(node),
            PlannedOrigin::Event { .. } | PlannedOrigin::Literal(_) => true,
        })
    }

    /// The inputs of a node but for the port `without`, or the first required one that has no value.
    pub(super) fn inputs<'p>(
        &self,
        node: &'p PlannedNode,
        event: &RawValue,
        without: Option<&str>,
    ) -> Result<Inputs, &'p PlannedInput> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in node.inputs.iter().filter(|input| without != Some(input.port.as_str())) {
            match self.value(&input.origin, event) {
                Some(value) => inputs.push((input.port.clone(), value)),
                None if input.required => return Err(input),
                None => {}
            }
        }
        Ok(inputs)
    }

    pub(super) fn value(&self, origin: &PlannedOrigin, event: &RawValue) -> Option<String> {
        match origin {
            PlannedOrigin::Literal(json) => Some(json.to_string()),
            PlannedOrigin::Event { pointer } => at_pointer(event, pointer),
            PlannedOrigin::Port { node, port, pointer } => {
                let result = self.results[*node].as_ref()?;
                at_pointer(result.outputs.get(port)?, pointer)
            }
        }
    }

    /// Whether nothing is left to call.
    pub fn is_complete(&self) -> bool {
        (0..self.results.len()).all(|node| self.is_settled(node))
    }

    /// The node whose failure ended the run, if one did.
    pub fn failed(&self) -> Option<&NodeResult> {
        self.results.iter().flatten().find(|result| result.state == NodeState::Failed)
    }

    /// Every result so far, in the order of the plan: a checkpoint, or the history of a finished run.
    pub fn results(&self) -> impl Iterator<Item = &NodeResult> {
        self.results.iter().flatten()
    }
}

/// How many more calls of a run can be made.
pub(super) fn room_beside(busy: &HashSet<Step>, ready: &[(Step, Inputs)]) -> usize {
    CALLS_AT_ONCE_MAX.saturating_sub(busy.len() + ready.len())
}

pub(super) fn skipped(node: &PlannedNode, missing: &PlannedInput) -> NodeResult {
    let message = match &missing.origin {
        PlannedOrigin::Event { pointer } => {
            format!("input `{}` has no value: nothing at `event#{pointer}`", missing.port)
        }
        PlannedOrigin::Port { port, .. } => {
            format!("input `{}` has no value: port `{port}` stayed empty", missing.port)
        }
        PlannedOrigin::Literal(_) => format!("input `{}` has no value", missing.port),
    };
    let reason = Some(Reason { kind: ReasonKind::NoInput, message });
    NodeResult { reason, ..NodeResult::new(&node.name, NodeState::Skipped) }
}

/// The JSON text at a JSON Pointer. The whole value is handed on as it is, unparsed.
fn at_pointer(value: &RawValue, pointer: &str) -> Option<String> {
    if pointer.is_empty() {
        return Some(value.get().to_owned());
    }
    let parsed: serde_json::Value = serde_json::from_str(value.get()).ok()?;
    parsed.pointer(pointer).map(ToString::to_string)
}

#[cfg(test)]
mod tests;
