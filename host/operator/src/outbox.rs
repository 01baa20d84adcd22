//! Emitted events on their way into the queue: numbered before their commit is sent, made known when it is written.
//!
//! Does not insert them: the commit does, together with everything else that the emitting node has come to.

use std::sync::Arc;

use trellis_store::commit::RunCommit;

use crate::{committer::CommitEnd, lease::Lease, run_ids::RunIds, scheduler::Wakeups, spreads::Spreads};

/// What the committer needs to know of emitted events.
pub struct Outbox {
    pub ids: RunIds,
    pub lease: Arc<Lease>,
    pub spreads: Arc<Spreads>,
    pub wakeups: Wakeups,
}

impl Outbox {
    /// Gives every event of these commits the id of its run, and with it its shard. A commit that is sent again keeps them.
    pub fn number(&self, commits: &mut [RunCommit]) {
        let count = commits.iter().map(|commit| commit.effects.events.len()).sum();
        if count == 0 {
            return;
        }
        let jobs = commits.iter_mut().flat_map(|commit| &mut commit.effects.events);
        for (job, run) in jobs.zip(self.ids.take(count)) {
            self.spreads.number(job, run);
        }
    }

    /// Tells who owns the queues that there is work.
    pub async fn wake(&self, commits: &[RunCommit], ends: &[CommitEnd]) {
        let committed = commits.iter().zip(ends).filter(|(_, end)| **end == CommitEnd::Committed);
        self.wakeups.committed(&self.lease, committed.flat_map(|(commit, _)| &commit.effects.events)).await;
    }
}
