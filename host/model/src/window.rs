//! The limiter's arithmetic: fixed time windows that carry an overshoot into the next one.
//!
//! Pure values; who holds them, and who may write them, is the operator's limiter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// At most `max` in every `period_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowLimit {
    /// Module instantiations per window; at least 1.
    pub max: u32,
    /// Length of a window in milliseconds; at least 1.
    pub period_ms: i64,
}

impl WindowLimit {
    pub const MINUTE_MS: i64 = 60_000;
    pub const DAY_MS: i64 = 86_400_000;

    pub fn per_minute(max: u32) -> Self {
        Self { max, period_ms: Self::MINUTE_MS }
    }

    pub fn per_day(max: u32) -> Self {
        Self { max, period_ms: Self::DAY_MS }
    }
}

/// An account's limits: a short window against bursts and a long one against steady overuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountLimits {
    pub burst: WindowLimit,
    pub long: WindowLimit,
    /// Check and take in one step, so that no window ever admits more than its maximum. Costs a round trip to the
    /// limiter's manager for every permit.
    #[serde(default)]
    pub exact: bool,
    /// How much of a busy host the account gets, against accounts with other weights; 1 to [`AccountLimits::WEIGHT_MAX`].
    #[serde(default = "AccountLimits::weight_default")]
    pub weight: u32,
    /// Modules of the account that are instantiated at once; none: as many as the host has room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u32>,
}

impl AccountLimits {
    pub const WEIGHT_MAX: u32 = 100;

    fn weight_default() -> u32 {
        1
    }
}

impl Default for AccountLimits {
    /// 6,000 a minute and 1,000,000 a day: enough for a busy project, small enough that one account cannot fill a host.
    fn default() -> Self {
        Self {
            burst: WindowLimit::per_minute(6_000),
            long: WindowLimit::per_day(1_000_000),
            exact: false,
            weight: 1,
            running_max: None,
        }
    }
}

/// One window: when it began and how much was taken in it.
///
/// ```text
///   used < max ──take──► used + n ──(used ≥ max)──► full until the window turns
///        ▲                                              │
///        └── turn: used − max × elapsed windows, not below 0 ◄┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Unix milliseconds; 0 while nothing was ever taken.
    pub start_ms: i64,
    pub used: u32,
}

impl Window {
    /// The window as it stands at `now_ms`: turned as often as whole periods have passed. What was taken beyond the
    /// maximum (checks read while writes were under way) is carried over, so that the long-run rate holds.
    ///
    /// A clock that goes back leaves the window as it is, unless it went back by more than a period: then the window
    /// begins anew at `now_ms` with its count kept, so that an account is never shut out for longer than it earned.
    #[must_use]
    pub fn turned(self, limit: WindowLimit, now_ms: i64) -> Self {
        if self.start_ms == 0 || self.start_ms.saturating_sub(now_ms) > limit.period_ms {
            return Self { start_ms: now_ms, used: self.used };
        }
        let elapsed = (now_ms - self.start_ms).max(0) / limit.period_ms;
        if elapsed == 0 {
            return self;
        }
        let drained = i64::from(limit.max).saturating_mul(elapsed);
        let carried = (i64::from(self.used) - drained).max(0);
        Self {
            start_ms: self.start_ms + elapsed * limit.period_ms,
            used: u32::try_from(carried).expect("a carry-over is at most the former u32 count"),
        }
    }

    /// How many may still be taken at `now_ms`.
    pub fn permits(self, limit: WindowLimit, now_ms: i64) -> u32 {
        limit.max.saturating_sub(self.turned(limit, now_ms).used)
    }

    /// How long until at least one may be taken; zero when one may be taken now.
    pub fn wait(self, limit: WindowLimit, now_ms: i64) -> Duration {
        let window = self.turned(limit, now_ms);
        if window.used < limit.max {
            return Duration::ZERO;
        }
        // Every turn drains `max`; after this many turns the carry-over is below it.
        let turns = i64::from(window.used / limit.max);
        let ready_at_ms = window.start_ms.saturating_add(turns.saturating_mul(limit.period_ms));
        Duration::from_millis(ready_at_ms.saturating_sub(now_ms).max(1).cast_unsigned())
    }

    /// The window with `count` more taken at `now_ms`.
    #[must_use]
    pub fn with_taken(self, limit: WindowLimit, count: u32, now_ms: i64) -> Self {
        let window = self.turned(limit, now_ms);
        Self { used: window.used.saturating_add(count), ..window }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: WindowLimit = WindowLimit { max: 10, period_ms: 1_000 };

    #[test]
    fn a_full_window_waits_until_it_turns() {
        let window = Window::default().with_taken(LIMIT, 10, 5_000);
        assert_eq!(window.permits(LIMIT, 5_400), 0);
        assert_eq!(window.wait(LIMIT, 5_400), Duration::from_millis(600));
        assert_eq!(window.permits(LIMIT, 6_000), 10);
    }

    #[test]
    fn overshoot_is_carried_into_the_windows_to_come() {
        let window = Window::default().with_taken(LIMIT, 25, 5_000);
        assert_eq!(window.wait(LIMIT, 5_000), Duration::from_secs(2));
        assert_eq!(window.permits(LIMIT, 6_000), 0);
        assert_eq!(window.permits(LIMIT, 7_000), 5);
        assert_eq!(window.permits(LIMIT, 8_000), 10);
    }

    #[test]
    fn a_clock_set_far_back_does_not_shut_an_account_out() {
        let window = Window::default().with_taken(LIMIT, 10, 1_000_000);
        assert_eq!(window.wait(LIMIT, 5_000), Duration::from_secs(1));
    }

    proptest! {
        /// Over any span: admitted ≤ max × windows touched + one overshoot.
        #[test]
        fn the_long_run_rate_holds(steps in prop::collection::vec((0_i64..700, 1_u32..8), 1..400)) {
            let (mut now, mut window, mut admitted, mut overshoot_max) = (10_000, Window::default(), 0_u64, 0_u64);
            for (pause, batch) in steps {
                now += pause;
                // A batch read the table before its writes landed: admitted whole while one permit was left.
                if window.wait(LIMIT, now).is_zero() {
                    window = window.with_taken(LIMIT, batch, now);
                    admitted += u64::from(batch);
                    overshoot_max = overshoot_max.max(u64::from(batch));
                }
            }
            let windows = ((now - 10_000) / LIMIT.period_ms + 1).cast_unsigned();
            prop_assert!(admitted <= windows * u64::from(LIMIT.max) + overshoot_max);
        }

        #[test]
        fn waiting_as_long_as_told_is_enough(used in 0_u32..200, at in 0_i64..5_000) {
            let window = Window { start_ms: 1_000_000, used };
            let now = 1_000_000 + at;
            let later = now + i64::try_from(window.wait(LIMIT, now).as_millis()).expect("short");
            prop_assert!(window.permits(LIMIT, later) > 0);
        }
    }
}
