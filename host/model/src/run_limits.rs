//! What one run may hold back in a host's memory. Each limit has a name, a unit, a default and a reason.
//!
//! Says when it is too much. What is done about it (the run is checkpointed, which writes what it holds) is the operator's.

const MIB: u64 = 1024 * 1024;

/// Effects of finished nodes that wait for the run's next commit: a run that holds more is committed at once; so it holds
/// this much, and what one more call may add. And what the elements of one node with `each` may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// Keys read and keys written, together. 10,000: one commit checks and writes them in well under a second.
    pub pending_keys: u32,
    /// Written values and emitted events, with the keys, in bytes. 16 MiB: half of what one flush to the database takes.
    pub pending_bytes: u64,
    /// Emitted events. 1,000: as many jobs as one statement inserts in some milliseconds.
    pub pending_events: u32,
    /// Elements of one node with `each`. 1,000: as many instances as a page of any API gives cause for, and results that a
    /// person can still look through.
    pub elements: u32,
    /// Outputs of all elements of one node with `each`, in bytes. 4 MiB: what history keeps of a run.
    pub elements_output_bytes: u64,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            pending_keys: 10_000,
            pending_bytes: 16 * MIB,
            pending_events: 1_000,
            elements: 1_000,
            elements_output_bytes: 4 * MIB,
        }
    }
}

/// What a run holds back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingSize {
    pub keys: usize,
    pub bytes: usize,
    pub events: usize,
}

impl RunLimits {
    /// Whether a run holds so much that it must be committed before it goes on.
    pub fn is_reached(&self, pending: PendingSize) -> bool {
        pending.keys as u64 >= u64::from(self.pending_keys)
            || pending.bytes as u64 >= self.pending_bytes
            || (pending.events > 0 && pending.events as u64 >= u64::from(self.pending_events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_counts_by_itself() {
        let limits = RunLimits { pending_keys: 10, pending_bytes: 100, pending_events: 3, ..RunLimits::default() };
        let size = |keys, bytes, events| PendingSize { keys, bytes, events };
        assert!(!limits.is_reached(size(9, 99, 2)));
        for reached in [size(10, 0, 0), size(0, 100, 0), size(0, 0, 3)] {
            assert!(limits.is_reached(reached), "{reached:?}");
        }
    }
}
