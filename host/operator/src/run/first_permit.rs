//! Runs in flight that have not taken their first permit yet: as many of the permits that are left are spoken for.
//!
//! The scheduler counts a run when it is fetched; the run itself says when it has taken a permit, or ends without. Permits
//! that were taken are the limiter's part.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use dashmap::DashMap;
use trellis_model::Queue;

/// Of every queue that has any.
#[derive(Debug, Default)]
pub struct FirstPermits {
    expected: DashMap<Queue, u32>,
}

/// The first permit of one run. Dropped, it is expected no more.
#[derive(Debug)]
pub struct FirstPermit {
    permits: Arc<FirstPermits>,
    queue: Queue,
    is_expected: AtomicBool,
}

impl FirstPermits {
    /// So many runs of the queue were fetched. Each of them is to become a `FirstPermit`.
    pub fn expect(&self, queue: Queue, runs: u32) {
        if runs > 0 {
            *self.expected.entry(queue).or_default() += runs;
        }
    }

    /// How many runs of the queue are about to take a permit.
    pub fn expected(&self, queue: Queue) -> u32 {
        self.expected.get(&queue).map_or(0, |expected| *expected)
    }

    fn settle(&self, queue: Queue) {
        self.expected.remove_if_mut(&queue, |_, expected| {
            *expected = expected.saturating_sub(1);
            *expected == 0
        });
    }
}

impl FirstPermit {
    /// Of a run that was counted.
    pub fn of(permits: &Arc<FirstPermits>, queue: Queue) -> Self {
        Self { permits: Arc::clone(permits), queue, is_expected: AtomicBool::new(true) }
    }

    /// The run has taken a permit; told for every one of them, and the first counts.
    pub fn taken(&self) {
        // No swap where there is nothing to change: all calls of a run share this.
        if self.is_expected.load(Ordering::Relaxed) && self.is_expected.swap(false, Ordering::AcqRel) {
            self.permits.settle(self.queue);
        }
    }
}

impl Drop for FirstPermit {
    fn drop(&mut self) {
        self.taken();
    }
}

#[cfg(test)]
mod tests {
    use trellis_model::AccountId;

    use super::*;

    #[test]
    fn a_run_speaks_for_one_permit_until_it_has_taken_one_or_ended() {
        let (permits, queue) = (Arc::new(FirstPermits::default()), Queue::home(AccountId(1)));
        permits.expect(queue, 2);
        let (one, other) = (FirstPermit::of(&permits, queue), FirstPermit::of(&permits, queue));
        one.taken();
        one.taken();
        assert_eq!(permits.expected(queue), 1);
        drop(one);
        assert_eq!(permits.expected(queue), 1, "it has taken one before");
        drop(other);
        assert_eq!(permits.expected(queue), 0);
        assert!(permits.expected.is_empty(), "a queue without runs takes no memory");
    }
}
