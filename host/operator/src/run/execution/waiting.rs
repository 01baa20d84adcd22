//! A node whose call came to nothing through no fault of its own, because a target has no room or its host was short of
//! something: what is noted of it, and when it is called again.

use trellis_engine::TargetFull;
use trellis_model::{
    backoff::RetryPolicy,
    manifest::Target,
    run::{LogLine, Metering, NodeResult, NodeState, Reason, ReasonKind, TargetWait},
};
use trellis_store::fail_point;

use super::NodeCall;

/// How a node is called again that its host cannot call: soon at first, as the cause may have been the moment's, and at last
/// every few minutes, so that many such runs cost next to nothing until somebody has mended the host.
const HELD_UP: RetryPolicy = RetryPolicy { attempts_max: u32::MAX, first_ms: 1_000, factor: 2.0, longest_ms: 300_000 };

/// So many times a plugin may take more than it may while it is compiled, before its run is a dead letter. Compilations are
/// tried by [`HELD_UP`]: that is a quarter of an hour, in which a machine that was busy would have had the time. Whoever has
/// raised the limits, or changed the plugin, replays the run.
const UNCOMPILED_MAX: u32 = 10;

/// How many times in a row a plugin could not be compiled, now that it could not once more.
///
/// # Errors
/// That is enough: what its run ends with.
pub(super) fn uncompiled(before: u32, message: &str) -> Result<u32, Reason> {
    let now = before.saturating_add(1);
    if now < UNCOMPILED_MAX {
        return Ok(now);
    }
    let message = format!(
        "the plugin was accepted once, and could not be compiled {now} times in a row: {message}; upload it anew, or raise `uploads.compile_…` on the hosts, and replay the run"
    );
    Err(Reason { kind: ReasonKind::Permanent, message })
}

/// How long a node waits that was held up so many times in a row before, in milliseconds. `jitter` in 0..1 keeps apart those
/// that were held up together.
pub(super) fn held_up_ms(before: u32, jitter: f64) -> i64 {
    fail_point!("held-up-briefly", 1);
    // There is always another attempt.
    let wait = HELD_UP.wait_after(before.saturating_add(1).min(u32::MAX - 1), jitter, None).unwrap_or_default();
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}

/// The node's result, which keeps its place in the line and counts no attempt.
pub(super) fn result(
    call: &NodeCall,
    full: TargetFull,
    targets: &[Target],
    log: Vec<LogLine>,
    metering: Metering,
) -> NodeResult {
    let TargetFull { target, host, until_ms, .. } = full;
    let message = match jiff::Timestamp::from_millisecond(until_ms) {
        Ok(until) => format!("{}{until:.3}", TargetWait::message_begin(&target)),
        Err(_) => format!("waiting for target `{target}`"),
    };
    let rate = targets.iter().find(|own| own.name == target).and_then(|target| target.limit.rate);
    NodeResult {
        // This call does not count.
        attempts: call.attempt - 1,
        due_at_ms: Some(until_ms),
        reason: Some(Reason { kind: ReasonKind::Waiting, message }),
        waiting: Some(TargetWait { target, host, until_ms, rate }),
        log,
        metering,
        ..call.result(NodeState::Pending)
    }
}

/// The result of a node that its host could not run, and that is called again: no attempt was counted.
pub(super) fn for_host(
    call: &NodeCall,
    message: &str,
    due_at_ms: i64,
    log: Vec<LogLine>,
    metering: Metering,
) -> NodeResult {
    let message = format!("the host could not run it, and no attempt was counted: {message}");
    NodeResult {
        attempts: call.attempt - 1,
        due_at_ms: Some(due_at_ms),
        reason: Some(Reason { kind: ReasonKind::Host, message }),
        // It goes on standing where it stood in a target's line.
        waiting: call.waiting.clone(),
        held_up: call.held_up.saturating_add(1),
        // Neither one more nor none: for want of something else it was not tried to compile it.
        uncompiled: call.uncompiled,
        log,
        metering,
        ..call.result(NodeState::Pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_its_host_cannot_call_waits_longer_each_time_and_never_for_good() {
        let waits: Vec<i64> = [0, 1, 2, 8, 9, u32::MAX].map(|before| held_up_ms(before, 0.0)).to_vec();
        assert_eq!(waits, [1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
        assert_eq!(held_up_ms(0, 1.0), 500);
    }

    #[test]
    fn a_plugin_that_can_never_be_compiled_is_tried_for_a_quarter_of_an_hour() {
        let tried = (0..).map_while(|before| uncompiled(before, "it took too long").ok());
        assert_eq!(tried.last(), Some(UNCOMPILED_MAX - 1));
        let last = uncompiled(UNCOMPILED_MAX - 1, "it took too long").expect_err("that is enough");
        assert!(last.kind == ReasonKind::Permanent && last.message.contains("10 times in a row: it took too long"));
        let waited_ms: i64 = (0..UNCOMPILED_MAX - 1).map(|before| held_up_ms(before, 0.0)).sum();
        assert!((5 * 60_000..20 * 60_000).contains(&waited_ms), "{waited_ms}");
    }
}
