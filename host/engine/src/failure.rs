//! Why a call failed, in words that its author can act on.
//!
//! Says whether another attempt makes sense at all; when and how often is the operator's affair.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Poll, ready},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use trellis_model::{
    call_limits::CallLimits,
    run::{Reason, ReasonKind},
};
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use crate::{
    bindings::trellis::plugin::events,
    budget::CpuBudget,
    capabilities::log::clean,
    guest_state::GuestState,
    memory::Refused,
    redaction::Redactor,
    sandbox::{WASM_STACK_BYTES, host_call_bytes},
};

/// Longest message of a failure, in bytes: more than a person reads, less than would swell the history.
const MESSAGE_BYTES_MAX: usize = 4_096;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    /// What went wrong, and where it helps, how to mend it.
    pub message: String,
    /// The guest asked to be called again no sooner than this, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The guest does not accept its inputs.
    InvalidInput,
    /// The guest does not accept its config.
    InvalidConfig,
    /// The guest gave up, or broke its own description.
    Permanent,
    /// The guest asks for another attempt.
    Retryable,
    /// The guest crashed.
    Trapped,
    /// The guest took longer than its limit, waiting included.
    TimedOut,
    /// The guest used up its CPU, memory, stack or output limit.
    LimitExceeded,
    /// The host could not run the guest.
    Unavailable,
}

impl From<&Failure> for Reason {
    /// As it is kept in the history of a run.
    fn from(failure: &Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::InvalidInput => ReasonKind::InvalidInput,
            FailureKind::InvalidConfig => ReasonKind::InvalidConfig,
            FailureKind::Permanent => ReasonKind::Permanent,
            FailureKind::Retryable => ReasonKind::Retryable,
            FailureKind::Trapped => ReasonKind::Trap,
            FailureKind::TimedOut => ReasonKind::Timeout,
            FailureKind::LimitExceeded => ReasonKind::Limit,
            FailureKind::Unavailable => ReasonKind::Host,
        };
        // Postgres text holds no NUL.
        Self { kind, message: failure.message.replace('\0', "\u{fffd}") }
    }
}

impl FailureKind {
    /// Whether another attempt may end differently.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::InvalidInput | Self::InvalidConfig | Self::Permanent => false,
            Self::Retryable | Self::Trapped | Self::TimedOut | Self::LimitExceeded | Self::Unavailable => true,
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), after_ms: None }
    }

    /// What a guest returned instead of emissions, without secrets.
    pub(crate) fn returned(failure: events::Failure, redactor: &Redactor) -> Self {
        let (kind, message, after_ms) = match failure {
            events::Failure::InvalidInput(message) => (FailureKind::InvalidInput, message, None),
            events::Failure::InvalidConfig(message) => (FailureKind::InvalidConfig, message, None),
            events::Failure::Retryable(retry) => (FailureKind::Retryable, retry.message, retry.after_ms),
            events::Failure::Permanent(message) => (FailureKind::Permanent, message, None),
        };
        Self { kind, message: told(&message, redactor), after_ms }
    }
}

/// How a call ended before its guest returned.
pub(crate) enum Stop {
    WallLimit,
    Error(wasmtime::Error),
}

/// Puts into words how a call was stopped, without secrets.
pub(crate) fn explain(stop: &Stop, state: &GuestState, limits: &CallLimits, redactor: &Redactor) -> Failure {
    let error = match stop {
        Stop::WallLimit => {
            let message = format!("took longer than its limit of {} ms", limits.wall_ms);
            return Failure::new(FailureKind::TimedOut, message);
        }
        Stop::Error(error) => error,
    };
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        let message = format!("used up its CPU budget of {} ms", limits.cpu_ms);
        return Failure::new(FailureKind::LimitExceeded, message);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Failure::new(FailureKind::Unavailable, format!("no room for another guest: {error:#}"));
    }
    let (kind, reason) = reason(error, limits);
    let mut message = match state.memory.refused() {
        Some(refused) => format!("{}; then {reason}", refusal(refused, limits)),
        None => reason,
    };
    let stderr = state.capabilities.log.stderr_tail();
    if !stderr.is_empty() {
        message.push_str("; stderr: ");
        message.push_str(&stderr);
    }
    let kind = match state.memory.refused() {
        Some(Refused::Memory | Refused::Table) => FailureKind::LimitExceeded,
        Some(Refused::HostMemory) => FailureKind::Unavailable,
        None => kind,
    };
    Failure::new(kind, told(&message, redactor))
}

fn reason(error: &wasmtime::Error, limits: &CallLimits) -> (FailureKind, String) {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return (FailureKind::Trapped, format!("exited with status {} instead of returning", exit.0));
    }
    if passed_too_much(error) {
        let message = format!("passed more than {} to the host at once", bytes(host_call_bytes(limits) as u64));
        return (FailureKind::LimitExceeded, message);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => {
            let message = format!("used up its stack of {}", bytes(WASM_STACK_BYTES as u64));
            (FailureKind::LimitExceeded, message)
        }
        // The stack of a guest lies in its memory, and ends where that does.
        Some(Trap::MemoryOutOfBounds) => {
            let message = "trapped: out of bounds memory access (a pointer gone wrong, or recursion without end)";
            (FailureKind::Trapped, message.to_owned())
        }
        Some(trap) => {
            let text = trap.to_string();
            (FailureKind::Trapped, format!("trapped: {}", text.strip_prefix("wasm trap: ").unwrap_or(&text)))
        }
        None => (FailureKind::Trapped, format!("trapped: {error:#}")),
    }
}

/// wasmtime keeps the type of this error to itself; a test holds that its text still says so.
fn passed_too_much(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

fn refusal(refused: Refused, limits: &CallLimits) -> String {
    match refused {
        Refused::Memory => format!("asked for more memory than its limit of {}", bytes(limits.memory_bytes)),
        Refused::HostMemory => "asked for memory when all memory of the host for guests was in use".to_owned(),
        Refused::Table => format!("asked for more than {} table elements", limits.table_elements),
    }
}

/// A number of bytes, in MiB or KiB where it is a whole number of them.
pub(crate) fn bytes(number: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    match number {
        0 => "0 bytes".to_owned(),
        _ if number.is_multiple_of(MIB) => format!("{} MiB", number / MIB),
        _ if number.is_multiple_of(KIB) => format!("{} KiB", number / KIB),
        _ => format!("{number} bytes"),
    }
}

/// A message as it is kept: without secrets and control characters, and not too long. In this order, for a secret that was
/// cut or changed before would not be known any more. No more than can be kept is looked through.
fn told(message: &str, redactor: &Redactor) -> String {
    let seen = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX.saturating_add(redactor.longest()))];
    let mut kept = clean(&redactor.part(seen, 0, MESSAGE_BYTES_MAX.min(seen.len())));
    if message.len() > MESSAGE_BYTES_MAX || kept.len() > MESSAGE_BYTES_MAX {
        kept.truncate(kept.floor_char_boundary(MESSAGE_BYTES_MAX));
        kept.push('…');
    }
    kept
}

/// Runs `work` against the wall limit and the CPU budget of its call. Waiting for a turn to compute is the host's doing and
/// no time of the call: however many others compute, none is ended for want of turns.
///
/// # Errors
/// How it was stopped. The store must be dropped then.
pub(crate) async fn bounded<T>(
    work: impl Future<Output = wasmtime::Result<T>>,
    cpu: &CpuBudget,
    limits: &CallLimits,
) -> Result<T, Stop> {
    let work = pin!(work);
    let mut work = cpu.count(work);
    let ends_at = Instant::now() + Duration::from_millis(limits.wall_ms);
    let mut end = pin!(sleep_until(ends_at));
    poll_fn(|context| {
        if let Poll::Ready(result) = Pin::new(&mut work).poll(context) {
            return Poll::Ready(result.map_err(Stop::Error));
        }
        if cpu.is_waiting_for_turn() {
            // Woken when it has one; until then its time stands still.
            return Poll::Pending;
        }
        let ends_at = ends_at + cpu.waited_for_turns();
        if end.deadline() != ends_at {
            end.as_mut().reset(ends_at);
        }
        ready!(end.as_mut().poll(context));
        Poll::Ready(Err(Stop::WallLimit))
    })
    .await
}

#[cfg(test)]
mod tests {
    use trellis_model::AccountId;

    use super::*;
    use crate::{redaction::tests::redactor, turns::Turns};

    #[test]
    fn numbers_of_bytes_are_readable() {
        assert_eq!(bytes(64 * 1024 * 1024), "64 MiB");
        assert_eq!(bytes(512 * 1024), "512 KiB");
        assert_eq!(bytes(1_000), "1000 bytes");
        assert_eq!(bytes(0), "0 bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_is_no_time_of_the_call_and_waiting_for_anything_else_is() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let limits = CallLimits { wall_ms: 1_000, ..CallLimits::default() };
        let turns = Turns::new(1);
        let cpu = CpuBudget::new(second, turns.clone(), AccountId(1));
        let computing = async {
            tokio::time::sleep(second / 2).await;
            cpu.tick();
            cpu.take_turn().await;
            tokio::time::sleep(second / 4).await;
            Ok(())
        };
        let held = turns.take(AccountId(2)).await;
        let held_for_a_minute = async {
            tokio::time::sleep(minute).await;
            drop(held);
        };
        let (ended, ()) = tokio::join!(bounded(computing, &cpu, &limits), held_for_a_minute);
        assert!(ended.is_ok(), "it took less than its second, and waited for a minute");
        assert!(cpu.waited_for_turns() >= minute - second, "{:?}", cpu.waited_for_turns());

        let cpu = CpuBudget::new(second, turns, AccountId(1));
        let idle = async {
            cpu.tick();
            cpu.take_turn().await;
            tokio::time::sleep(minute).await;
            Ok(())
        };
        assert!(matches!(bounded(idle, &cpu, &limits).await, Err(Stop::WallLimit)));
    }

    #[test]
    fn a_long_message_of_a_guest_is_cut_at_a_character() {
        let failure = Failure::returned(events::Failure::Permanent("ü".repeat(10_000)), &Redactor::default());
        assert!(failure.message.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(failure.message.ends_with("ü…"));
    }

    #[test]
    fn a_secret_at_the_end_of_a_long_message_is_not_cut_into_view() {
        let redactor = redactor(&["s3cret\ttext"]);
        for before in MESSAGE_BYTES_MAX - 15..=MESSAGE_BYTES_MAX {
            let message = format!("{}s3cret\ttext behind", "x".repeat(before));
            let failure = Failure::returned(events::Failure::Permanent(message), &redactor);
            assert!(!failure.message.contains("x3") && !failure.message.contains("xs"), "{before}: {failure}");
        }
    }

    #[test]
    fn a_secret_with_a_control_character_is_still_known() {
        let failure =
            Failure::returned(events::Failure::Permanent("a s3cret\rtext".to_owned()), &redactor(&["s3cret\rtext"]));
        assert_eq!(failure.message, "a [redacted]");
    }
}
