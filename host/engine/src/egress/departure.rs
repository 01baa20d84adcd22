//! Whether requests of a call may still leave it, and whether it can still be made again as if it had never been.
//!
//! ```text
//!            a request that counts leaves
//!   UNTOUCHED ──────────────────────────► TOUCHED     cannot be suspended any more
//!      │
//!      └── suspend ──► SUSPENDED                      nothing leaves any more
//! ```
//!
//! A request counts that changes something outside, or that took up a target's room: a call that was suspended behind one
//! would take up that room again, every time, and never come to its end.
//!
//! One atomic, so that of a request that leaves and a suspension that happen at the same time one comes first: a call that
//! is made again as if it had never been has really done nothing.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use tokio::sync::Notify;

use super::targets::TargetFull;

const UNTOUCHED: u8 = 0;
const TOUCHED: u8 = 1;
const SUSPENDED: u8 = 2;

#[derive(Debug, Default)]
pub(crate) struct Departure {
    state: AtomicU8,
    broken_off: Mutex<Option<BrokenOff>>,
    changed: Notify,
}

/// Why a call is over before its guest has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BrokenOff {
    /// To be made again as if it had never been.
    Suspended(TargetFull),
    /// It has changed something outside: that is a failure like any other.
    Stuck(TargetFull),
}

impl Departure {
    /// Whether a request may leave now.
    #[must_use]
    pub fn leave(&self, counts: bool) -> bool {
        if !counts {
            return self.state.load(SeqCst) != SUSPENDED;
        }
        self.state.compare_exchange(UNTOUCHED, TOUCHED, SeqCst, SeqCst) != Err(SUSPENDED)
    }

    pub fn is_touched(&self) -> bool {
        self.state.load(SeqCst) == TOUCHED
    }

    /// Ends the call as if it had never been made, unless something has left it.
    #[must_use]
    pub fn suspend(&self, full: TargetFull) -> bool {
        let is_suspended = self.state.compare_exchange(UNTOUCHED, SUSPENDED, SeqCst, SeqCst) != Err(TOUCHED);
        if is_suspended {
            self.break_off(BrokenOff::Suspended(full));
        }
        is_suspended
    }

    /// Ends a call that something has left.
    pub fn give_up(&self, full: TargetFull) {
        self.break_off(BrokenOff::Stuck(full));
    }

    fn break_off(&self, why: BrokenOff) {
        self.broken_off.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        // Remembered if nobody listens yet.
        self.changed.notify_one();
    }

    /// Resolves when the call is over. One task at a time may wait.
    pub async fn broken_off(&self) -> BrokenOff {
        loop {
            if let Some(why) = self.broken_off.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return why;
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn full() -> TargetFull {
        TargetFull { target: "shop".to_owned(), host: String::new(), wait: Duration::from_secs(9), until_ms: 9_000 }
    }

    #[tokio::test]
    async fn nothing_leaves_a_suspended_call() {
        let departure = Departure::default();
        assert!(departure.leave(false), "reading changes nothing");
        assert!(departure.suspend(full()));
        assert!(!departure.leave(false) && !departure.leave(true) && !departure.is_touched());
        assert!(departure.suspend(full()), "it is suspended already");
        assert_eq!(departure.broken_off().await, BrokenOff::Suspended(full()));
    }

    #[tokio::test]
    async fn a_call_that_something_has_left_is_not_suspended() {
        let departure = Departure::default();
        assert!(departure.leave(true) && departure.leave(true) && departure.is_touched());
        assert!(!departure.suspend(full()));
        assert!(departure.leave(true));
        departure.give_up(full());
        assert_eq!(departure.broken_off().await, BrokenOff::Stuck(full()));
    }

    #[test]
    fn of_leaving_and_suspending_at_once_one_comes_first() {
        for _ in 0..200 {
            let departure = Departure::default();
            let (left, suspended) = std::thread::scope(|scope| {
                let leaving = scope.spawn(|| departure.leave(true));
                let suspending = scope.spawn(|| departure.suspend(full()));
                (leaving.join().expect("no panic"), suspending.join().expect("no panic"))
            });
            assert!(left != suspended, "left: {left}, suspended: {suspended}");
        }
    }
}
