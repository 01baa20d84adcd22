//! The ids of the runs that this host makes: one sequence for everyone who makes runs, because two of them with the same
//! host number would give ids twice.
//!
//! Does not know what the runs are. Ids rise; they are unique as long as the host's number is its own.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use trellis_model::{RunId, ids::RunIdSequence};

use crate::{clock::Clock, lease::Lease};

/// Hands out ids; cheap to clone, all clones share one sequence. Held for a moment only, never across an await.
#[derive(Clone)]
pub struct RunIds(Arc<Inner>);

struct Inner {
    lease: Arc<Lease>,
    clock: Clock,
    sequence: Mutex<Numbered>,
}

/// A sequence and the host number that it was made for.
struct Numbered {
    number: u8,
    ids: RunIdSequence,
}

impl Numbered {
    fn of(number: u8) -> Self {
        Self { number, ids: RunIdSequence::new(number) }
    }
}

impl RunIds {
    pub fn new(lease: Arc<Lease>, clock: Clock) -> Self {
        let sequence = Mutex::new(Numbered::of(lease.identity().number));
        Self(Arc::new(Inner { lease, clock, sequence }))
    }

    /// The next `count` ids, rising. The host's number can change: after a lost lease it has a new one.
    pub fn take(&self, count: usize) -> Vec<RunId> {
        let number = self.0.lease.identity().number;
        let now_ms = self.0.clock.now_ms();
        let mut sequence = self.0.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        if sequence.number != number {
            *sequence = Numbered::of(number);
        }
        (0..count).map(|_| sequence.ids.next(now_ms)).collect()
    }
}

impl fmt::Debug for RunIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunIds").finish_non_exhaustive()
    }
}
