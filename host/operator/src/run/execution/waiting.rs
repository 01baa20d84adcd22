//! A node whose call was broken off because a target has no room: what is noted of it, and when it is called again.

use trellis_engine::TargetFull;
use trellis_model::run::{LogLine, Metering, NodeResult, NodeState, Reason, ReasonKind, TargetWait};

use super::NodeCall;

/// The node's result, which keeps its place in the line and counts no attempt.
pub(super) fn result(call: &NodeCall, full: TargetFull, log: Vec<LogLine>, metering: Metering) -> NodeResult {
    let TargetFull { target, host, until_ms, .. } = full;
    let message = match jiff::Timestamp::from_millisecond(until_ms) {
        Ok(until) => format!("waiting for target `{target}` until {until:.3}"),
        Err(_) => format!("waiting for target `{target}`"),
    };
    NodeResult {
        // This call does not count.
        attempts: call.attempt - 1,
        due_at_ms: Some(until_ms),
        reason: Some(Reason { kind: ReasonKind::Waiting, message }),
        waiting: Some(TargetWait { target, host, until_ms }),
        log,
        metering,
        ..NodeResult::new(&call.planned().name, NodeState::Pending)
    }
}
