//! How a run lives: its states, what its nodes have come to, and which nodes can be run next.

mod recorded;
mod target_wait;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::{
    recorded::{RecordedCall, RecordedRun, Uncalled},
    target_wait::TargetWait,
};
use crate::{
    manifest::Target,
    plan::{GridPlan, PlannedInput, PlannedNode, PlannedOrigin},
};

/// Where a run stands.
///
/// ```text
///   accept ──► queued ──fetch──► running ──finish──► succeeded
///                ▲                 │ │
///                │ promote         │ └──bury──────► dead (kept whole)
///                └── waiting ◄─retry
///                    or snooze
///
///   queued, running or waiting ──cancel──► cancelled
///   succeeded, dead or cancelled ──replay──► another run, queued
/// ```
///
/// A host that is lost puts its running runs back to queued, with one more lost host on their account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    Queued,
    Running,
    Waiting,
    Succeeded,
    Dead,
    /// Ended because somebody asked for it. What its nodes had committed by then stays.
    Cancelled,
}

impl RunState {
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Waiting, Self::Succeeded, Self::Dead, Self::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a run in this state is over.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

/// How many hosts may be lost while they run a run, before it is taken for the culprit and buried.
///
/// ```text
///   a host is lost ──► every run it was running counts one
///        │ at LOST_HOSTS_SUSPECT
///        ▼
///     SUSPECT ──one at a time on a host──► ends, and is cleared
///        ▲               │
///        └── host lost ──┘  it counts one; other suspects of that host do not
///        │ at LOST_HOSTS_MAX
///        ▼
///      buried
/// ```
pub const LOST_HOSTS_MAX: i16 = 5;

/// From so many lost hosts on a run is a suspect: no other suspect runs beside it on its host, so that the one that kills hosts
/// is found before its neighbours are buried with it.
pub const LOST_HOSTS_SUSPECT: i16 = 2;

/// What a trigger produced, as it is stored with the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// `trigger`, `traceparent`, and the request headers that were let through.
    pub attributes: Vec<(String, String)>,
    /// Any JSON value, kept as text.
    pub data: Box<RawValue>,
}

/// Output port → JSON text.
pub type Outputs = BTreeMap<String, Box<RawValue>>;

/// What one node has come to; the entry of a run's history.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeResult {
    pub node: String,
    pub state: NodeState,
    /// Calls that were made, the last one included.
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub outputs: Outputs,
    /// Of a pending node: it is not called before this, in Unix milliseconds of the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<i64>,
    /// The last failure, or why the node was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For which target's room the node waits, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<TargetWait>,
    /// Calls in a row that the host could not make, for want of something that is its own; none of them is an attempt.
    #[serde(default, skip_serializing_if = "is_none_at_all")]
    pub held_up: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    #[serde(default)]
    pub metering: Metering,
}

fn is_none_at_all(count: &u32) -> bool {
    *count == 0
}

impl NodeResult {
    /// Of a node that was never called.
    pub fn new(node: &str, state: NodeState) -> Self {
        Self {
            node: node.to_owned(),
            state,
            attempts: 0,
            outputs: Outputs::new(),
            due_at_ms: None,
            reason: None,
            waiting: None,
            held_up: 0,
            log: Vec::new(),
            metering: Metering::default(),
        }
    }

    /// The reason in one line, with the node that it is about.
    pub fn error(&self) -> Option<String> {
        self.reason.as_ref().map(|reason| format!("node `{}`: {}", self.node, reason.message))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Waits for its time: for its delay, or called without success so far and to be called again.
    Pending,
    Succeeded,
    Skipped,
    Failed,
}

/// Why a node failed or was skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// One of the fixed words of [`ReasonKind`].
    pub kind: ReasonKind,
    pub message: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The words are those of JSON, so that there is one list of them.
        let kind = serde_json::to_value(self.kind).map_err(|_| fmt::Error)?;
        write!(f, "{}: {}", kind.as_str().unwrap_or_default(), self.message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReasonKind {
    InvalidInput,
    InvalidConfig,
    Retryable,
    Permanent,
    /// The guest trapped.
    Trap,
    /// The call took longer than its wall-clock limit.
    Timeout,
    /// Another limit of the call was used up.
    Limit,
    /// A storage read was stale when the node's outside effect had to be committed.
    Conflict,
    /// The host failed, not the guest: a plugin could not be loaded, say.
    Host,
    /// Too many hosts were lost while they ran this run.
    LostHost,
    /// The input had no value.
    NoInput,
    /// A target takes no more requests for now: the node is called again, and no attempt was counted.
    Waiting,
}

impl ReasonKind {
    /// Whether another attempt may end differently.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Retryable | Self::Trap | Self::Timeout | Self::Limit | Self::Conflict | Self::Host)
    }
}

/// One line that a guest logged or printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Milliseconds since the call began.
    pub at_ms: u64,
    /// `trace`, `debug`, `info`, `warn`, `error` or `critical`.
    pub level: Cow<'static, str>,
    /// What the guest gave as context; `stdout` or `stderr` for its standard streams.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
    pub message: String,
}

/// What the last call of a node used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Metering {
    /// Waiting for a free instance, in microseconds.
    pub queued_us: u64,
    /// From call to answer, in microseconds.
    pub wall_us: u64,
    /// On a CPU, in microseconds.
    pub cpu_us: u64,
    /// The most linear memory at one time, in bytes.
    pub memory_bytes_max: u64,
    /// Outgoing HTTP requests.
    pub requests: u32,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Waiting within the call until a target had room, in microseconds, over all requests.
    pub target_wait_us: u64,
    pub storage_operations: u32,
    /// Events emitted to grids of the project.
    pub events_emitted: u32,
    /// Logged and printed, what was thrown away included.
    pub log_bytes: u64,
}

/// What the nodes of one run have come to so far, in the order of the plan. Absent: not called yet.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    results: Vec<Option<NodeResult>>,
}

/// The inputs of one call: port and JSON text.
pub type Inputs = Vec<(String, String)>;

impl Progress {
    pub fn new(plan: &GridPlan) -> Self {
        Self { results: vec![None; plan.nodes.len()] }
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

    pub fn result(&self, node: usize) -> Option<&NodeResult> {
        self.results[node].as_ref()
    }

    /// How many calls of a node have failed so far.
    pub fn attempts(&self, node: usize) -> u32 {
        self.result(node).map_or(0, |result| result.attempts)
    }

    pub fn set(&mut self, node: usize, result: NodeResult) {
        self.results[node] = Some(result);
    }

    /// Whether no node was called between the two, whichever of them is the earlier one. Nodes that are skipped follow from
    /// the others.
    pub fn is_like(&self, other: &Self) -> bool {
        let told = |result: &Option<NodeResult>| {
            let result = result.as_ref().filter(|result| result.state != NodeState::Skipped)?;
            Some((result.state, result.attempts, result.due_at_ms, result.waiting.clone()))
        };
        self.results.iter().map(told).eq(other.results.iter().map(told))
    }

    /// The nodes that have failed so far, for now or for good.
    pub fn unsuccessful(&self) -> Vec<(usize, NodeResult)> {
        let failed = |result: &NodeResult| matches!(result.state, NodeState::Pending | NodeState::Failed);
        let results = self.results.iter().enumerate();
        results.filter_map(|(node, result)| Some((node, result.clone().filter(failed)?))).collect()
    }

    fn is_settled(&self, node: usize) -> bool {
        self.result(node).is_some_and(|result| result.state != NodeState::Pending)
    }

    /// Marks every node that can never get a required input as skipped, sets the time of those that have a delay, and returns
    /// the nodes that can be called at `now_ms` with their inputs. `is_busy` says which nodes are being called already.
    pub fn ready(
        &mut self,
        plan: &GridPlan,
        event: &RawValue,
        now_ms: i64,
        is_busy: impl Fn(usize) -> bool,
    ) -> Vec<(usize, Inputs)> {
        let mut ready = Vec::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            if self.is_settled(index) || is_busy(index) || !self.upstream_is_settled(node) {
                continue;
            }
            match self.inputs(node, event) {
                Ok(inputs) if self.is_due(index, node, now_ms) => ready.push((index, inputs)),
                Ok(_) => {}
                Err(missing) => self.set(index, skipped(node, missing)),
            }
        }
        ready
    }

    /// Whether the time of a node with all its inputs has come. The delay of a node begins here.
    fn is_due(&mut self, index: usize, node: &PlannedNode, now_ms: i64) -> bool {
        match self.result(index) {
            Some(pending) => pending.due_at_ms.is_none_or(|due| due <= now_ms),
            None if node.delay_ms == 0 => true,
            None => {
                let due = now_ms.saturating_add_unsigned(node.delay_ms);
                self.set(index, NodeResult { due_at_ms: Some(due), ..NodeResult::new(&node.name, NodeState::Pending) });
                false
            }
        }
    }

    /// Lets nodes go now that wait for a target which takes requests faster by now than when they were told their times. The
    /// target says whether there is room for them; they are before all who come new.
    pub fn hasten(&mut self, targets: &[Target], now_ms: i64) {
        for result in self.results.iter_mut().flatten() {
            let Some(wait) = result.waiting.as_mut().filter(|wait| wait.is_overtaken(targets)) else { continue };
            wait.until_ms = wait.until_ms.min(now_ms);
            result.due_at_ms = result.due_at_ms.map(|due_ms| due_ms.min(now_ms));
        }
    }

    /// The pending node whose time comes first after `now_ms`. Those whose time had come by then wait for something else.
    pub fn next_due(&self, now_ms: i64) -> Option<(i64, &NodeResult)> {
        let pending = self.results().filter(|result| result.state == NodeState::Pending);
        let due = pending.filter_map(|result| Some((result.due_at_ms?, result)));
        due.filter(|(due, _)| *due > now_ms).min_by_key(|(due, _)| *due)
    }

    fn upstream_is_settled(&self, node: &PlannedNode) -> bool {
        node.inputs.iter().all(|input| match input.origin {
            PlannedOrigin::Port { node, .. } => self.is_settled(node),
            PlannedOrigin::Event { .. } | PlannedOrigin::Literal(_) => true,
        })
    }

    /// The inputs of a node, or the first required one that has no value.
    fn inputs<'p>(&self, node: &'p PlannedNode, event: &RawValue) -> Result<Inputs, &'p PlannedInput> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            match self.value(&input.origin, event) {
                Some(value) => inputs.push((input.port.clone(), value)),
                None if input.required => return Err(input),
                None => {}
            }
        }
        Ok(inputs)
    }

    fn value(&self, origin: &PlannedOrigin, event: &RawValue) -> Option<String> {
        match origin {
            PlannedOrigin::Literal(json) => Some(json.to_string()),
            PlannedOrigin::Event { pointer } => at_pointer(event, pointer),
            PlannedOrigin::Port { node, port, pointer } => {
                let result = self.result(*node)?;
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

fn skipped(node: &PlannedNode, missing: &PlannedInput) -> NodeResult {
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{PluginId, description::Description, manifest::Manifest, plan};

    const NOW: i64 = 1_000_000;

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
        saved.set(0, succeeded("start", &[("out", r#"{"n":1}"#)]));
        let mut now = saved.clone();
        // Looking for what is ready notes what is skipped.
        let event = raw(r#"{"order":{"n":1}}"#);
        assert!(!now.ready(&plan, &event, NOW, |_| false).is_empty());
        assert!(now.is_like(&saved) && saved.is_like(&now));
        let failed = NodeResult { attempts: 1, due_at_ms: Some(NOW), ..NodeResult::new("left", NodeState::Pending) };
        now.set(1, failed.clone());
        assert!(!now.is_like(&saved), "a node has failed for now");
        saved = now.clone();
        now.set(1, NodeResult { due_at_ms: Some(NOW + 1), ..failed });
        assert!(!now.is_like(&saved), "it is called at another time");
    }

    #[test]
    fn nodes_become_ready_with_their_inputs_and_empty_ports_skip_what_needs_them() {
        let plan = diamond();
        let index = |name: &str| plan.nodes.iter().position(|node| node.name == name).expect("a node of the grid");
        let event = raw(r#"{"order":{"n":1}}"#);
        let mut progress = Progress::new(&plan);
        let ready = progress.ready(&plan, &event, NOW, |_| false);
        assert_eq!(ready, [(index("start"), vec![("in".to_owned(), r#"{"n":1}"#.to_owned())])]);

        progress.set(index("start"), succeeded("start", &[("out", r#"{"n":7}"#)]));
        let ready = progress.ready(&plan, &event, NOW, |_| false);
        assert_eq!(ready, [(index("left"), vec![("in".to_owned(), "7".to_owned())])]);
        for skipped in ["right", "after"] {
            assert_eq!(progress.result(index(skipped)).expect("settled").state, NodeState::Skipped, "{skipped}");
        }

        progress.set(index("left"), succeeded("left", &[("out", "true")]));
        let ready = progress.ready(&plan, &event, NOW, |_| false);
        assert_eq!(ready, [(index("join"), vec![("in".to_owned(), "true".to_owned())])]);
        progress.set(index("join"), succeeded("join", &[]));
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
        let ready = progress.ready(&plan, &event, NOW, |_| false);
        assert_eq!(ready.len(), 1, "only `right` is left to call: {ready:?}");
        assert_eq!(plan.nodes[ready[0].0].name, "right");
    }

    #[test]
    fn a_delay_begins_when_the_inputs_are_there_and_survives_a_checkpoint() {
        let mut plan = diamond();
        let left = plan.nodes.iter().position(|node| node.name == "left").expect("a node of the grid");
        plan.nodes[left].delay_ms = 5_000;
        let event = raw(r#"{"order":1}"#);
        let mut progress = Progress::new(&plan);
        progress.ready(&plan, &event, NOW, |_| false);
        assert!(progress.next_due(NOW).is_none(), "its input is not there yet");
        progress.set(0, succeeded("start", &[("out", r#"{"n":7}"#)]));
        assert!(progress.ready(&plan, &event, NOW, |_| false).is_empty());
        assert_eq!(
            progress.next_due(NOW).map(|(due, result)| (due, result.node.as_str())),
            Some((NOW + 5_000, "left"))
        );

        let stored = serde_json::to_vec(&progress.results().collect::<Vec<_>>()).expect("serializes");
        let mut progress = Progress::resume(&plan, serde_json::from_slice(&stored).expect("reads back"));
        assert!(progress.ready(&plan, &event, NOW + 4_999, |_| false).is_empty());
        assert!(!progress.is_complete());
        let ready = progress.ready(&plan, &event, NOW + 5_000, |_| false);
        assert_eq!(ready, [(left, vec![("in".to_owned(), "7".to_owned())])]);
    }

    #[test]
    fn a_grid_fed_by_an_event_without_the_value_is_skipped_as_a_whole() {
        let plan = diamond();
        let mut progress = Progress::new(&plan);
        assert!(progress.ready(&plan, &raw("{}"), NOW, |_| false).is_empty());
        assert!(progress.is_complete());
        let reason = progress.results().next().and_then(|result| result.reason.clone()).expect("a reason");
        assert!(reason.message.contains("event#/order"), "{reason:?}");
    }
}
