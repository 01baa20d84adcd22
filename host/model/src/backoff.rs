//! When a failed node may be tried again: exponential backoff with full-range jitter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A node's retry policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// How often the node is called at most, the first call included; 1 means no retry.
    pub attempts_max: u32,
    /// Wait before the second attempt, in milliseconds.
    pub first_ms: u64,
    /// Each further wait is this many times the one before; at least 1.
    pub factor: f64,
    /// No wait is longer, in milliseconds.
    pub longest_ms: u64,
}

impl Default for RetryPolicy {
    /// 5 attempts after 1 s, 2 s, 4 s, 8 s: rides out a restart of the service at the other end.
    fn default() -> Self {
        Self { attempts_max: 5, first_ms: 1_000, factor: 2.0, longest_ms: 600_000 }
    }
}

impl RetryPolicy {
    pub const ATTEMPTS_MAX: u32 = 100;
    /// A week: longer waits are a schedule, not a retry.
    pub const WAIT_MAX_MS: u64 = 7 * 86_400_000;

    /// The wait after `attempts` failed calls, or none when they are used up. `jitter` in 0..1 takes off up to a half,
    /// so that runs that failed together do not come back together. `asked` is what the transformer asked for: a lower bound.
    pub fn wait_after(&self, attempts: u32, jitter: f64, asked: Option<Duration>) -> Option<Duration> {
        if attempts >= self.attempts_max {
            return None;
        }
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = (self.first_ms as f64 * self.factor.powi(exponent)).min(self.longest_ms as f64);
        let jittered = Duration::from_millis((full * (1.0 - jitter.clamp(0.0, 1.0) / 2.0)) as u64);
        let longest = Duration::from_millis(Self::WAIT_MAX_MS);
        Some(jittered.max(asked.unwrap_or_default()).min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_end_with_the_attempts() {
        let policy = RetryPolicy { attempts_max: 5, first_ms: 1_000, factor: 3.0, longest_ms: 5_000 };
        let waits: Vec<_> =
            (1..=5).map(|attempts| policy.wait_after(attempts, 0.0, None).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(1_000), Some(3_000), Some(5_000), Some(5_000), None]);
    }

    #[test]
    fn jitter_takes_off_at_most_a_half_and_never_undercuts_what_was_asked() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait_after(1, 1.0, None), Some(Duration::from_millis(500)));
        assert_eq!(policy.wait_after(1, 1.0, Some(Duration::from_secs(9))), Some(Duration::from_secs(9)));
    }

    #[test]
    fn huge_attempts_and_factors_do_not_overflow() {
        let policy = RetryPolicy { attempts_max: u32::MAX, first_ms: u64::MAX, factor: 1e300, longest_ms: 600_000 };
        assert_eq!(policy.wait_after(u32::MAX - 1, 0.0, None), Some(Duration::from_secs(600)));
    }
}
