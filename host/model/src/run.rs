//! How a run lives: its states, what its nodes have come to, and which nodes can be run next.

mod elements;
mod identity;
mod progress;
mod recorded;
mod target_wait;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::{
    elements::{ELEMENT_LOGS_BYTES_MAX, ElementLimits, Step},
    identity::{call_attributes, event_attributes, idempotency_key},
    progress::{CALLS_AT_ONCE_MAX, Inputs, Progress},
    recorded::{RecordedCall, RecordedRun, Uncalled},
    target_wait::TargetWait,
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
    /// How many of these because compiling the plugin took more than it may.
    #[serde(default, skip_serializing_if = "is_none_at_all")]
    pub uncompiled: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    #[serde(default, skip_serializing_if = "Metering::is_nothing")]
    pub metering: Metering,
    /// When the node came to this, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<i64>,
    /// Of one element of a node with `each`: its place in the array, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u32>,
    /// Of a node with `each`: how many elements its array has. Its attempts and its metering are those of all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements_total: Option<u32>,
    /// Of a node with `each`: what those of its elements have come to that were called so far, in the order of the array.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elements: Vec<NodeResult>,
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
            uncompiled: 0,
            log: Vec::new(),
            metering: Metering::default(),
            at_ms: None,
            element: None,
            elements_total: None,
            elements: Vec::new(),
        }
    }

    /// It came to this then, in Unix milliseconds.
    #[must_use]
    pub fn at(self, at_ms: i64) -> Self {
        Self { at_ms: Some(at_ms), ..self }
    }

    /// The reason in one line, with the node that it is about.
    pub fn error(&self) -> Option<String> {
        self.reason.as_ref().map(|reason| match self.element {
            Some(element) => format!("node `{}`, element {element}: {}", self.node, reason.message),
            None => format!("node `{}`: {}", self.node, reason.message),
        })
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
    /// Waiting for a free instance and for turns to compute, in microseconds.
    pub queued_us: u64,
    /// From call to answer without waits for turns, in microseconds.
    pub wall_us: u64,
    /// On a CPU, in microseconds.
    pub cpu_us: u64,
    /// The most linear memory at one time, in bytes.
    pub memory_bytes_max: u64,
    /// Outgoing HTTP requests.
    pub requests: u32,
    pub request_bytes: u64,
    /// Decoded, or as they came over the wire if that is more.
    pub response_bytes: u64,
    /// Waiting within the call until a target had room, in microseconds, over all requests.
    pub target_wait_us: u64,
    pub storage_operations: u32,
    pub record_operations: u32,
    /// Events emitted to grids of the project.
    pub events_emitted: u32,
    /// Logged and printed, what was thrown away included.
    pub log_bytes: u64,
}

impl Metering {
    /// Of a node that was never called.
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What two calls have used together: the sum, and of memory the more.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            queued_us: self.queued_us.saturating_add(other.queued_us),
            wall_us: self.wall_us.saturating_add(other.wall_us),
            cpu_us: self.cpu_us.saturating_add(other.cpu_us),
            memory_bytes_max: self.memory_bytes_max.max(other.memory_bytes_max),
            requests: self.requests.saturating_add(other.requests),
            request_bytes: self.request_bytes.saturating_add(other.request_bytes),
            response_bytes: self.response_bytes.saturating_add(other.response_bytes),
            target_wait_us: self.target_wait_us.saturating_add(other.target_wait_us),
            storage_operations: self.storage_operations.saturating_add(other.storage_operations),
            record_operations: self.record_operations.saturating_add(other.record_operations),
            events_emitted: self.events_emitted.saturating_add(other.events_emitted),
            log_bytes: self.log_bytes.saturating_add(other.log_bytes),
        }
    }
}
