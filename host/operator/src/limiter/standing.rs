//! Where an account stands with its limits, as the HTTP edge tells it.

use std::time::Duration;

use trellis_model::window::{AccountLimits, Rule, Window};

/// An account's limits, and what of them is used up.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Of the whole account.
    pub limits: AccountLimits,
    /// Until a permit is there; zero while permits are left.
    pub wait: Duration,
    /// Burst and long window. None: other hosts count, and have told no more than until when the account is throttled.
    pub windows: Option<(WindowStanding, WindowStanding)>,
}

/// What is used up of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowStanding {
    /// Taken in this window, and what was carried over into it.
    pub used: u32,
    /// Permits left.
    pub left: u32,
    /// Until there is one; zero while some are left.
    pub wait: Duration,
    /// Until the window turns.
    pub turns_in: Duration,
}

impl WindowStanding {
    pub(super) fn of(window: Window, rule: Rule, now_ms: i64) -> Self {
        Self {
            used: window.turned(rule.limit, now_ms).used,
            left: window.permits(rule, now_ms),
            wait: window.wait(rule, now_ms),
            turns_in: window.turns_in(rule.limit, now_ms),
        }
    }

    /// Of two parts of an account together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            used: self.used.saturating_add(other.used),
            left: self.left.saturating_add(other.left),
            wait: self.wait.min(other.wait),
            turns_in: self.turns_in.max(other.turns_in),
        }
    }
}
