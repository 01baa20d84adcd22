//! One rate limit's memory: a log of times, or the level of a bucket.
//!
//! The window is a sliding log, kept in grains so that it stays small: a grain counts as sent at its last time, so that it
//! errs towards waiting, by at most one grain. The bucket is the Generic Cell Rate Algorithm (virtual scheduling, ITU-T
//! I.371), which is a leaky bucket in one number.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::RateLimit;

/// Grains in a window.
const GRAINS: i64 = 64;
const MICROSECONDS: i64 = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Meter {
    /// Oldest first.
    Window(VecDeque<Grain>),
    /// When the bucket will be empty, in Unix microseconds.
    Bucket(i64),
}

/// Requests close together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grain {
    first_ms: i64,
    last_ms: i64,
    count: u32,
}

impl Default for Meter {
    /// Nothing was recorded: as good for a bucket as for a window.
    fn default() -> Self {
        Self::Window(VecDeque::new())
    }
}

impl Meter {
    /// The first time from `at_ms` on at which one more keeps to the limit.
    pub fn earliest(&self, rate: RateLimit, at_ms: i64) -> i64 {
        match (self, rate) {
            (Self::Window(grains), RateLimit::Window { max, period_ms }) => {
                let last_ms = grains.back().map_or(at_ms, |grain| grain.last_ms.max(at_ms));
                let mut count = 0_u32;
                // The newest `max` must not all lie within one period before it.
                let full = grains.iter().rev().find(|grain| {
                    count = count.saturating_add(grain.count);
                    count >= max
                });
                full.map_or(last_ms, |grain| last_ms.max(grain.last_ms + period_ms))
            }
            (Self::Bucket(empty_us), RateLimit::Bucket { size, interval_us }) => {
                let room_us = empty_us - i64::from(size.saturating_sub(1)).saturating_mul(interval_us);
                at_ms.max(room_us.saturating_add(MICROSECONDS - 1).div_euclid(MICROSECONDS))
            }
            (Self::Window(grains), _) if grains.is_empty() => at_ms,
            // The limit was of another kind until now: what it left is taken for a full burst.
            (_, rate) => self.latest_ms().map_or(at_ms, |latest| at_ms.max(latest + rate.recovery_ms())),
        }
    }

    /// Records one more at `at_ms`, which [`Meter::earliest`] has allowed.
    pub fn record(&mut self, rate: RateLimit, at_ms: i64) {
        match (&mut *self, rate) {
            (Self::Window(grains), RateLimit::Window { period_ms, .. }) => {
                while grains.front().is_some_and(|grain| grain.last_ms + period_ms <= at_ms) {
                    grains.pop_front();
                }
                match grains.back_mut() {
                    Some(grain) if at_ms - grain.first_ms < (period_ms / GRAINS).max(1) => {
                        grain.last_ms = grain.last_ms.max(at_ms);
                        grain.count = grain.count.saturating_add(1);
                    }
                    _ => grains.push_back(Grain { first_ms: at_ms, last_ms: at_ms, count: 1 }),
                }
            }
            (Self::Bucket(empty_us), RateLimit::Bucket { interval_us, .. }) => {
                *empty_us = (*empty_us).max(at_ms * MICROSECONDS).saturating_add(interval_us);
            }
            (_, RateLimit::Window { .. }) => {
                *self = Self::Window(VecDeque::from([Grain { first_ms: at_ms, last_ms: at_ms, count: 1 }]));
            }
            (_, RateLimit::Bucket { interval_us, .. }) => {
                *self = Self::Bucket((at_ms * MICROSECONDS).saturating_add(interval_us));
            }
        }
    }

    /// Records as much as the limit allows at once.
    pub fn fill(&mut self, rate: RateLimit, at_ms: i64) {
        *self = match rate {
            RateLimit::Window { max, .. } => {
                Self::Window(VecDeque::from([Grain { first_ms: at_ms, last_ms: at_ms, count: max }]))
            }
            RateLimit::Bucket { size, interval_us } => {
                Self::Bucket((at_ms * MICROSECONDS).saturating_add(i64::from(size).saturating_mul(interval_us)))
            }
        };
    }

    /// Moves everything by so many milliseconds, back for negative ones.
    pub fn shift(&mut self, by_ms: i64) {
        match self {
            Self::Window(grains) => {
                for grain in grains {
                    grain.first_ms += by_ms;
                    grain.last_ms += by_ms;
                }
            }
            Self::Bucket(empty_us) => *empty_us += by_ms * MICROSECONDS,
        }
    }

    fn latest_ms(&self) -> Option<i64> {
        match self {
            Self::Window(grains) => grains.back().map(|grain| grain.last_ms),
            Self::Bucket(empty_us) => Some(empty_us / MICROSECONDS),
        }
    }
}
