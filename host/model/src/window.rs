//! The limiter's arithmetic: time windows that carry an overshoot into the next one, and how an account's limits are
//! shared out among its queues.
//!
//! Pure values; who holds them, and who may write them, is the operator's limiter.

mod change;

use std::time::Duration;

pub use change::LimitsChange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// At most `max` in every `period_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowLimit {
    /// Module instantiations per window; at least 1.
    #[schemars(range(min = 1, max = u32::MAX))]
    pub max: u32,
    /// Length of a window in milliseconds; at least 1.
    #[schemars(range(min = 1, max = WindowLimit::PERIOD_MS_MAX))]
    pub period_ms: i64,
}

impl WindowLimit {
    /// A year: a longer window would hardly ever turn.
    pub const PERIOD_MS_MAX: i64 = 366 * Self::DAY_MS;
    pub const MINUTE_MS: i64 = 60_000;
    pub const DAY_MS: i64 = 86_400_000;

    pub fn per_minute(max: u32) -> Self {
        Self { max, period_ms: Self::MINUTE_MS }
    }

    pub fn per_day(max: u32) -> Self {
        Self { max, period_ms: Self::DAY_MS }
    }

    /// What one of `parts` queues has of it. The parts' maxima add up to the whole. A maximum smaller than the number of
    /// parts cannot be divided so: each part then has 1 in a window that is longer by as much, so that every part runs
    /// and the long-run rates add up to the whole.
    fn part(self, parts: u8, part: u8) -> Self {
        let parts = u32::from(parts.max(1));
        if self.max >= parts {
            let has_one_more = u32::from(part) < self.max % parts;
            return Self { max: self.max / parts + u32::from(has_one_more), ..self };
        }
        let max = i64::from(self.max.max(1));
        let stretched = self.period_ms.saturating_mul(i64::from(parts)).saturating_add(max - 1) / max;
        Self { max: 1, period_ms: stretched }
    }
}

/// What is done against the double burst at the edge of two fixed windows: all of one at its end, all of the next at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Smoothing {
    /// Nothing: a span across an edge may hold up to twice the maximum.
    #[default]
    Fixed,
    /// The former window counts as far as it still lies within one period back, as if it had been used evenly: the
    /// sliding window counter, as described by Cloudflare in 2017 for their rate limiting.
    ///
    /// Its error: a span of the length *d* up to one period holds at most `max × (1 + d / period) + 1`, as with a bucket
    /// that fills steadily; so nearly nothing beyond `max` at once, and in the worst case (everything at the very end
    /// of a window, then a steady stream) nearly twice the maximum in one rolling period. No window admits more than `max`.
    Sliding,
}

/// An account's limits: a short window against bursts and a long one against steady overuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountLimits {
    pub burst: WindowLimit,
    pub long: WindowLimit,
    /// Check and take in one step, so that no window ever admits more than its maximum. Costs a round trip to the
    /// limiter's manager for every permit.
    #[serde(default)]
    pub exact: bool,
    /// Of both windows.
    #[serde(default)]
    pub smoothing: Smoothing,
    /// How much of a busy host the account gets, against accounts with other weights; 1 to [`AccountLimits::WEIGHT_MAX`].
    #[serde(default = "AccountLimits::weight_default")]
    #[schemars(range(min = 1, max = AccountLimits::WEIGHT_MAX))]
    pub weight: u32,
    /// Modules of the account that are instantiated at once; none: as many as the host has room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = u32::MAX))]
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
            smoothing: Smoothing::Fixed,
            weight: 1,
            running_max: None,
        }
    }
}

impl AccountLimits {
    /// The limits of one queue of an account that is spread over `parts` queues. The parts make up the whole, and none of
    /// them is without permits: a maximum smaller than the number of parts is divided in time. What one part leaves
    /// unused is not lent to another.
    #[must_use]
    pub fn divided(self, parts: u8, part: u8) -> Self {
        Self { burst: self.burst.part(parts, part), long: self.long.part(parts, part), ..self }
    }

    /// How the burst window is read.
    pub fn burst_rule(&self) -> Rule {
        Rule { limit: self.burst, smoothing: self.smoothing }
    }

    /// How the long window is read.
    pub fn long_rule(&self) -> Rule {
        Rule { limit: self.long, smoothing: self.smoothing }
    }
}

/// What an operator has set of an account's limits. What is absent is as the host has it for every account, now and when
/// the host's configuration changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<WindowLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long: Option<WindowLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<Smoothing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_max: Option<u32>,
}

impl OwnLimits {
    /// Whether the account has a window of its own.
    pub fn has_windows(&self) -> bool {
        self.burst.is_some() || self.long.is_some()
    }

    /// The account's limits on a host with these defaults. How windows are read belongs to them: windows of its own are
    /// not read as the host's.
    pub fn over(&self, defaults: AccountLimits) -> AccountLimits {
        let of_windows = if self.has_windows() {
            AccountLimits { exact: false, smoothing: Smoothing::default(), ..defaults }
        } else {
            defaults
        };
        AccountLimits {
            burst: self.burst.unwrap_or(defaults.burst),
            long: self.long.unwrap_or(defaults.long),
            exact: self.exact.unwrap_or(of_windows.exact),
            smoothing: self.smoothing.unwrap_or(of_windows.smoothing),
            weight: self.weight.unwrap_or(defaults.weight),
            running_max: self.running_max.or(defaults.running_max),
        }
    }
}

/// How a window is read: against which limit, and how smoothed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub limit: WindowLimit,
    pub smoothing: Smoothing,
}

/// One window: when it began and how much was taken in it.
///
/// ```text
///   used < max ──take──► used + n ──(used ≥ max)──► full until the window turns
///        ▲                                              │
///        └── turn: used − max × elapsed windows, not below 0 ◄┘
/// ```
///
/// With [`Smoothing::Sliding`] it is full as soon as `used` and the weighed rest of the former window reach the maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Unix milliseconds; 0 while nothing was ever taken.
    pub start_ms: i64,
    pub used: u32,
    /// What the window before this one admitted, without what was carried over from it.
    #[serde(default)]
    pub previous: u32,
}

impl Window {
    /// The window as it stands at `now_ms`: turned as often as whole periods have passed. What was taken beyond the
    /// maximum (checks read while writes were under way) is carried over, so that the long-run rate holds.
    ///
    /// A clock that goes back leaves the window as it is, unless it went back by more than a period: then the window
    /// begins anew at `now_ms` with its counts kept, so that an account is never shut out for longer than it earned.
    #[must_use]
    pub fn turned(self, limit: WindowLimit, now_ms: i64) -> Self {
        if self.start_ms == 0 || self.start_ms.saturating_sub(now_ms) > limit.period_ms {
            return Self { start_ms: now_ms, ..self };
        }
        let elapsed = (now_ms - self.start_ms).max(0) / limit.period_ms.max(1);
        if elapsed == 0 {
            return self;
        }
        let last = drained(self.used, limit.max, elapsed - 1);
        Self {
            start_ms: self.start_ms + elapsed * limit.period_ms,
            used: drained(last, limit.max, 1),
            previous: last.min(limit.max),
        }
    }

    /// How many may still be taken at `now_ms`.
    pub fn permits(self, rule: Rule, now_ms: i64) -> u32 {
        let window = self.turned(rule.limit, now_ms);
        rule.limit.max.saturating_sub(window.used).saturating_sub(window.weighed_previous(rule, now_ms))
    }

    /// How long until at least one may be taken; zero when one may be taken now.
    pub fn wait(self, rule: Rule, now_ms: i64) -> Duration {
        if self.permits(rule, now_ms) > 0 {
            return Duration::ZERO;
        }
        let ready_at_ms = self.turned(rule.limit, now_ms).ready_at_ms(rule);
        Duration::from_millis(ready_at_ms.saturating_sub(now_ms).max(1).cast_unsigned())
    }

    /// How long until the window turns.
    pub fn turns_in(self, limit: WindowLimit, now_ms: i64) -> Duration {
        let turn_ms = self.turned(limit, now_ms).start_ms.saturating_add(limit.period_ms);
        Duration::from_millis(turn_ms.saturating_sub(now_ms).max(0).cast_unsigned())
    }

    /// The window with `count` more taken at `now_ms`.
    #[must_use]
    pub fn with_taken(self, limit: WindowLimit, count: u32, now_ms: i64) -> Self {
        let window = self.turned(limit, now_ms);
        Self { used: window.used.saturating_add(count), ..window }
    }

    /// The window after its limit was changed: what was rightly taken under the former limit is no overshoot under a lower
    /// one, so it fills one window at most; a real overshoot stays.
    #[must_use]
    pub fn under(self, former: WindowLimit, limit: WindowLimit, now_ms: i64) -> Self {
        let window = self.turned(former, now_ms);
        let overshoot = window.used.saturating_sub(former.max);
        Self {
            used: window.used.min(former.max).min(limit.max).saturating_add(overshoot),
            previous: window.previous.min(limit.max),
            ..window
        }
    }

    /// What the former window counts in this one, rounded down: an account with a small maximum gets all of it.
    fn weighed_previous(self, rule: Rule, now_ms: i64) -> u32 {
        if rule.smoothing == Smoothing::Fixed {
            return 0;
        }
        let period = rule.limit.period_ms.max(1);
        let left = (self.start_ms.saturating_add(period) - now_ms).clamp(0, period);
        let weighed = i128::from(self.previous) * i128::from(left) / i128::from(period);
        u32::try_from(weighed).expect("a part of a u32 count")
    }

    /// When a full window has a permit again, if nothing more is taken: the first such millisecond.
    fn ready_at_ms(self, rule: Rule) -> i64 {
        let (max, period) = (rule.limit.max.max(1), rule.limit.period_ms);
        // Every turn drains `max`; after this many turns the carry-over is below it.
        let turns = self.used / max;
        let start_ms = self.start_ms.saturating_add(i64::from(turns).saturating_mul(period));
        let previous = if turns > 0 { max } else { self.previous };
        if rule.smoothing == Smoothing::Fixed || previous == 0 {
            return start_ms;
        }
        // The former window may count this much less than one more permit needs: previous × left / period < room.
        let room = i128::from(max - self.used % max);
        let left = (room * i128::from(period) - 1) / i128::from(previous);
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        start_ms.saturating_add(period.saturating_sub(left).max(0))
    }
}

/// A count after some turns.
fn drained(used: u32, max: u32, turns: i64) -> u32 {
    let drained = i64::from(max).saturating_mul(turns);
    u32::try_from((i64::from(used) - drained).max(0)).expect("at most the former u32 count")
}

#[cfg(test)]
mod tests;
