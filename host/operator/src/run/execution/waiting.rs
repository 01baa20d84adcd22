//! A node whose call came to nothing through no fault of its own, because a target has no room or its host was short of
//! something: what is noted of it, and when it is called again.

use trellis_engine::{Failure, TargetFull};
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

/// The result of a node that its host could not run, and that is called again: no attempt was counted.
pub(super) fn for_host(
    call: &NodeCall,
    failure: &Failure,
    due_at_ms: i64,
    log: Vec<LogLine>,
    metering: Metering,
) -> NodeResult {
    let message = format!("the host was short of room, and no attempt was counted: {}", failure.message);
    NodeResult {
        attempts: call.attempt - 1,
        due_at_ms: Some(due_at_ms),
        reason: Some(Reason { kind: ReasonKind::Host, message }),
        log,
        metering,
        ..NodeResult::new(&call.planned().name, NodeState::Pending)
    }
}
