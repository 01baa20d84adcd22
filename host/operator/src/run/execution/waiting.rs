//! A node whose call was broken off because a target has no room: what is noted of it, and when it is called again.

use std::time::Duration;

use trellis_engine::TargetFull;
use trellis_model::run::{LogLine, Metering, NodeResult, NodeState, Outputs, Reason, ReasonKind, TargetWait};

use super::{NodeCall, Suspension};

/// The node's result, which keeps its place in the line and counts no attempt, and why the run waits.
pub(super) fn result(
    call: &NodeCall,
    full: TargetFull,
    log: Vec<LogLine>,
    metering: Metering,
    now_ms: i64,
) -> (NodeResult, Suspension) {
    let node = &call.planned().name;
    let TargetFull { target, host, until_ms, .. } = full;
    let message = match jiff::Timestamp::from_millisecond(until_ms) {
        Ok(until) => format!("waiting for target `{target}` until {until:.3}"),
        Err(_) => format!("waiting for target `{target}`"),
    };
    let error = format!("node `{node}`: {message}");
    let result = NodeResult {
        node: node.clone(),
        state: NodeState::Pending,
        // This call does not count.
        attempts: call.attempt - 1,
        outputs: Outputs::new(),
        reason: Some(Reason { kind: ReasonKind::Waiting, message }),
        waiting: Some(TargetWait { target, host, until_ms }),
        log,
        metering,
    };
    let after = Duration::from_millis((until_ms - now_ms).max(0).cast_unsigned());
    (result, Suspension::Retry { after, error })
}
