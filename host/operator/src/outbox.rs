//! Emitted events on their way into the queue: numbered before their commit is sent, made known when it is written.
//!
//! Does not insert them: the commit does, together with everything else that the emitting node has come to.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use trellis_model::{AccountId, RunId, Shard};
use trellis_store::{commit::RunCommit, notices::Notice};

use crate::{committer::CommitEnd, lease::Lease, run_ids::RunIds, scheduler::Wakeups};

/// What the committer needs to know of emitted events.
pub struct Outbox {
    ids: RunIds,
    lease: Arc<Lease>,
    wakeups: Wakeups,
}

impl Outbox {
    pub fn new(ids: RunIds, lease: Arc<Lease>, wakeups: Wakeups) -> Self {
        Self { ids, lease, wakeups }
    }

    /// Gives every event of these commits the id of its run. A commit that is sent again keeps its numbers.
    pub fn number(&self, commits: &mut [RunCommit]) {
        let count = commits.iter().map(|commit| commit.effects.events.len()).sum();
        if count == 0 {
            return;
        }
        let events = commits.iter_mut().flat_map(|commit| &mut commit.effects.events);
        for (event, run) in events.zip(self.ids.take(count)) {
            event.run = run;
        }
    }

    /// Tells who owns the accounts that there is work.
    pub async fn wake(&self, commits: &[RunCommit], ends: &[CommitEnd]) {
        let mut own: HashMap<AccountId, RunId> = HashMap::new();
        let mut others: BTreeSet<Shard> = BTreeSet::new();
        for (commit, end) in commits.iter().zip(ends) {
            // They rise.
            let Some(first) = commit.effects.events.first().filter(|_| *end == CommitEnd::Committed) else { continue };
            if self.lease.holds(Shard::of(commit.account)) {
                let earliest = own.entry(commit.account).or_insert(first.run);
                *earliest = first.run.min(*earliest);
            } else {
                others.insert(Shard::of(commit.account));
            }
        }
        self.wakeups.jobs(own).await;
        self.wakeups.notice(others.into_iter().map(Notice::Jobs));
    }
}
