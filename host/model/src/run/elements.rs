//! Nodes that are mapped over an array: one call for each element, several at a time, and the results put together again.
//!
//! ```text
//!   array ──► elements ──call──► each settles by itself: succeeded, to be called again, or failed
//!                                     │
//!              all succeeded ─────────┤──► the node: on every port an array, in the order of the elements
//!              one failed for good ───┘──► the node: failed; no further element is begun
//! ```
//!
//! An element is what a node is otherwise: it has attempts of its own, and what has succeeded is never called again. An
//! element that leaves a port empty adds nothing to the port's array, so that a filter filters; no port of the node itself
//! stays empty, and an empty array is mapped to empty arrays.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::value::RawValue;

use super::{
    Inputs, LogLine, NodeResult, NodeState, Outputs, Progress, Reason, ReasonKind,
    progress::{room_beside, skipped},
};
use crate::{
    manifest::Target,
    plan::{PlannedEach, PlannedNode},
    run_limits::RunLimits,
};

/// What the logs of all elements of one node may come to, in bytes; those of later elements are not kept. 1 MiB: four of the
/// longest logs of a call.
pub const ELEMENT_LOGS_BYTES_MAX: u64 = 1024 * 1024;

/// The place of one call in a run: a node of the plan, or one element of a node with `each`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// Index of the node in the plan.
    pub node: usize,
    pub element: Option<u32>,
}

impl Step {
    /// A node as a whole.
    pub fn of(node: usize) -> Self {
        Self { node, element: None }
    }

    pub fn element(node: usize, element: u32) -> Self {
        Self { node, element: Some(element) }
    }
}

/// How many elements a node may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementLimits {
    pub elements_max: u32,
}

impl Default for ElementLimits {
    fn default() -> Self {
        Self::from(RunLimits::default())
    }
}

impl From<RunLimits> for ElementLimits {
    fn from(limits: RunLimits) -> Self {
        Self { elements_max: limits.elements }
    }
}

/// The arrays of nodes that are being mapped, by the node's index.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrays {
    taken_apart: HashMap<usize, Arc<[Box<RawValue>]>>,
    /// Their lengths; those of arrays that a roll-back has taken back as well, for calls that end later.
    totals: HashMap<usize, u32>,
}

impl Arrays {
    /// After a roll-back: the arrays are those of the commit point.
    pub(super) fn with_totals_of(mut self, former: Self) -> Self {
        self.totals = former.totals;
        self
    }
}

impl NodeResult {
    /// What one element has come to, if it was called.
    pub(super) fn element_result(&self, element: u32) -> Option<&Self> {
        let place = self.elements.binary_search_by_key(&Some(element), |result| result.element).ok()?;
        Some(&self.elements[place])
    }

    fn set_element(&mut self, result: Self) {
        match self.elements.binary_search_by_key(&result.element, |result| result.element) {
            Ok(place) => self.elements[place] = result,
            Err(place) => self.elements.insert(place, result),
        }
    }

    /// Failed, for now or for good.
    pub(super) fn is_unsuccessful(&self) -> bool {
        matches!(self.state, NodeState::Pending | NodeState::Failed)
    }

    /// See [`Progress::hasten`].
    pub(super) fn hasten(&mut self, targets: &[Target], now_ms: i64) {
        let Some(wait) = self.waiting.as_mut().filter(|wait| wait.is_overtaken(targets)) else { return };
        wait.until_ms = wait.until_ms.min(now_ms);
        self.due_at_ms = self.due_at_ms.map(|due_ms| due_ms.min(now_ms));
    }

    /// How many bytes the outputs of all elements come to.
    pub fn elements_output_bytes(&self) -> u64 {
        self.elements.iter().flat_map(|element| element.outputs.values()).map(|json| json.get().len() as u64).sum()
    }

    /// How many elements have succeeded.
    pub fn elements_done(&self) -> usize {
        self.elements.iter().filter(|element| element.state == NodeState::Succeeded).count()
    }

    /// Brings up to date what the node says of its elements.
    fn sum_up(&mut self) {
        self.attempts = self.elements.iter().fold(0, |sum, element| sum.saturating_add(element.attempts));
        self.metering =
            self.elements.iter().fold(super::Metering::default(), |sum, element| sum.with(&element.metering));
    }
}

impl Progress {
    /// Like [`Progress::ready`], for the elements of one node.
    #[expect(clippy::too_many_arguments, reason = "the parameters of `ready`, and what it found of the node")]
    pub(super) fn ready_elements(
        &mut self,
        index: usize,
        node: &PlannedNode,
        each: &PlannedEach,
        event: &RawValue,
        now_ms: i64,
        limits: ElementLimits,
        busy: &HashSet<Step>,
        ready: &mut Vec<(Step, Inputs)>,
    ) {
        let called = busy.iter().filter(|step| step.node == index).count();
        let room = (each.concurrency as usize).saturating_sub(called);
        if room == 0 {
            return;
        }
        let room = room.min(room_beside(busy, ready));
        let inputs = match self.inputs(node, event, Some(&each.input)) {
            Ok(inputs) => inputs,
            Err(missing) => return self.results[index] = Some(skipped(node, missing).at(now_ms)),
        };
        let array = match self.array(index, node, each, event, limits) {
            Ok(array) => array,
            Err(unfit) => return self.results[index] = Some(unfit.at(now_ms)),
        };
        if !self.is_due(index, node, now_ms) {
            return;
        }
        if array.is_empty() {
            let mut empty = shell(node, 0);
            complete(&mut empty, each);
            return self.results[index] = Some(empty.at(now_ms));
        }
        // One that waits for another attempt keeps its place: with one place, elements are called strictly one by one.
        let is_free = |element: &u32| !busy.contains(&Step::element(index, *element));
        let waiting: Vec<u32> = self.waiting_elements(index).filter(is_free).collect();
        let room_for_new = room.saturating_sub(waiting.len());
        let due = self.due_elements(index, array.len(), now_ms).into_iter().filter(is_free);
        let (again, new): (Vec<u32>, Vec<u32>) = due.partition(|element| waiting.contains(element));
        for element in again.into_iter().take(room).chain(new.into_iter().take(room_for_new)) {
            let mut inputs = inputs.clone();
            inputs.push((each.input.clone(), array[element as usize].get().to_owned()));
            ready.push((Step::element(index, element), inputs));
        }
    }

    /// How many elements a node has, once they are known.
    pub fn elements_total(&self, node: usize) -> Option<u32> {
        self.arrays.totals.get(&node).copied()
    }

    /// The elements that were called and are to be called again.
    fn waiting_elements(&self, index: usize) -> impl Iterator<Item = u32> {
        let begun = self.results[index].as_ref().map(|shell| shell.elements.as_slice()).unwrap_or_default();
        begun.iter().filter(|result| result.state == NodeState::Pending).filter_map(|result| result.element)
    }

    /// The elements that were not called yet, or whose time to be called again has come.
    fn due_elements(&self, index: usize, total: usize, now_ms: i64) -> Vec<u32> {
        let begun = self.results[index].as_ref().map(|shell| shell.elements.as_slice()).unwrap_or_default();
        let mut begun = begun.iter().peekable();
        let is_due = |element: &u32| match begun.next_if(|result| result.element == Some(*element)) {
            Some(result) => {
                result.state == NodeState::Pending && result.due_at_ms.is_none_or(|due_ms| due_ms <= now_ms)
            }
            None => true,
        };
        (0..u32::try_from(total).unwrap_or(u32::MAX)).filter(is_due).collect()
    }

    /// The array of a node, or what the node has come to without one.
    fn array(
        &mut self,
        index: usize,
        node: &PlannedNode,
        each: &PlannedEach,
        event: &RawValue,
        limits: ElementLimits,
    ) -> Result<Arc<[Box<RawValue>]>, Box<NodeResult>> {
        if let Some(array) = self.arrays.taken_apart.get(&index) {
            return Ok(Arc::clone(array));
        }
        let input = node.inputs.iter().find(|input| input.port == each.input).expect("checked when it was planned");
        let json = self.value(&input.origin, event).ok_or_else(|| Box::new(skipped(node, input)))?;
        let array: Vec<Box<RawValue>> = serde_json::from_str(&json).map_err(|_| {
            let found = kind_of(&json);
            unfit(node, format!("`each` takes input `{}` apart: expected an array, found {found}", each.input))
        })?;
        let most = each.elements_max.map_or(limits.elements_max, |own| own.min(limits.elements_max));
        if array.len() > most as usize {
            let length = array.len();
            let fix = "split it before, or emit its elements to another grid";
            return Err(unfit(
                node,
                format!("input `{}` has {length} elements, and no more than {most} are called; {fix}", each.input),
            ));
        }
        let array: Arc<[Box<RawValue>]> = array.into();
        self.forget_other_array(index, array.len());
        self.arrays.totals.insert(index, u32::try_from(array.len()).unwrap_or(u32::MAX));
        self.arrays.taken_apart.insert(index, Arc::clone(&array));
        Ok(array)
    }

    /// Results of elements of an array with another length say nothing of this one: of a replay, say, whose nodes before it
    /// were called again.
    fn forget_other_array(&mut self, index: usize, length: usize) {
        if let Some(result) = &self.results[index]
            && result.elements_total.is_some_and(|total| total as usize != length)
        {
            self.results[index] = None;
        }
    }

    pub(super) fn set_element(&mut self, node: &PlannedNode, index: usize, mut result: NodeResult) {
        // Only what was called of an array has a result.
        let (Some(each), Some(&total)) = (&node.each, self.arrays.totals.get(&index)) else { return };
        if result.element.is_none_or(|element| element >= total) {
            // A roll-back has taken its array back, and the one that was made anew is shorter.
            return;
        }
        let shell = self.results[index].get_or_insert_with(|| shell(node, total));
        // The node may have waited for its delay as a whole before.
        shell.elements_total = Some(total);
        shell.due_at_ms = None;
        shell.at_ms = result.at_ms.max(shell.at_ms);
        leave_out_log(&mut result, shell.metering.log_bytes);
        let failure = (result.state == NodeState::Failed).then(|| (result.element, result.reason.clone()));
        shell.set_element(result);
        shell.sum_up();
        if let Some((element, Some(reason))) = failure
            && shell.state != NodeState::Failed
        {
            shell.state = NodeState::Failed;
            let message = format!("element {}: {}", element.unwrap_or_default(), reason.message);
            shell.reason = Some(Reason { message, ..reason });
        }
        if shell.elements_done() == total as usize {
            complete(shell, each);
        }
    }

    /// Of elements that were rolled back: those that had failed, for now or for good.
    pub(super) fn keep_failed_elements(&mut self, index: usize, total: u32, former: NodeResult) {
        let (state, reason) = (former.state, former.reason.clone());
        let plain = NodeResult { elements_total: Some(total), ..NodeResult::new(&former.node, NodeState::Pending) };
        let failed: Vec<NodeResult> = former.elements.into_iter().filter(NodeResult::is_unsuccessful).collect();
        if failed.is_empty() && state != NodeState::Failed {
            return;
        }
        let shell = self.results[index].get_or_insert(plain);
        failed.into_iter().for_each(|element| shell.set_element(element));
        shell.sum_up();
        if state == NodeState::Failed {
            (shell.state, shell.reason) = (state, reason);
        }
    }
}

/// A node none of whose elements was called yet.
fn shell(node: &PlannedNode, total: u32) -> NodeResult {
    NodeResult { elements_total: Some(total), ..NodeResult::new(&node.name, NodeState::Pending) }
}

/// Every element has succeeded: puts their outputs together, and keeps them there alone.
fn complete(shell: &mut NodeResult, each: &PlannedEach) {
    let array = |port: &String| {
        let values: Vec<&str> =
            shell.elements.iter().filter_map(|element| Some(element.outputs.get(port)?.get())).collect();
        let json = format!("[{}]", values.join(","));
        (port.clone(), RawValue::from_string(json).expect("values between commas are an array"))
    };
    shell.outputs = each.outputs.iter().map(array).collect();
    shell.elements.iter_mut().for_each(|element| element.outputs = Outputs::new());
    shell.state = NodeState::Succeeded;
}

fn unfit(node: &PlannedNode, message: String) -> Box<NodeResult> {
    let reason = Reason { kind: ReasonKind::InvalidInput, message };
    Box::new(NodeResult { reason: Some(reason), ..NodeResult::new(&node.name, NodeState::Failed) })
}

/// What a person would call a JSON text that is no array.
fn kind_of(json: &str) -> &'static str {
    match json.trim_start().bytes().next() {
        Some(b'{') => "an object",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Leaves out the log of an element when those before it came to so many bytes that it has no room any more.
fn leave_out_log(result: &mut NodeResult, bytes_before: u64) {
    if result.log.is_empty() || bytes_before.saturating_add(result.metering.log_bytes) <= ELEMENT_LOGS_BYTES_MAX {
        return;
    }
    result.log = vec![LogLine {
        at_ms: 0,
        level: "warn".into(),
        context: "trellis".to_owned(),
        message: format!(
            "{} bytes were logged and not kept: the elements before have filled the log",
            result.metering.log_bytes
        ),
    }];
}

#[cfg(test)]
mod tests;
