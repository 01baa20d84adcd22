//! The housekeeper: makes the days of history ahead, drops those that nobody keeps any more, and deletes what has had its
//! time.
//!
//! Every host has one; the host that owns shard 0 does the work, so that it is done once. Two who do it for a moment, while
//! the shard changes hands, do no harm. It writes nothing that a run waits for: everything in it can fail, be stopped
//! anywhere, and is made up for by the next look. It never decides what is kept: that is the account's retention, heeded
//! by [`trellis_store`].

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, RunId, Shard};
use trellis_store::{Database, StoreError, expiry::CheckpointKey, run_days::Day};

use crate::lease::Lease;

/// Days that are made ahead: a week without a host that looks costs nothing.
const DAYS_AHEAD: i32 = 7;
/// The owner of this shard looks after the house.
const LEADING_SHARD: Shard = Shard(0);
/// Rows that one statement deletes at most: some milliseconds, and a lock on no more rows than that.
const BATCH_ROWS: i64 = 1_000;
/// Accounts that are looked up at a time.
const BATCH_ACCOUNTS: i64 = 100;
/// Between two batches: others come first.
const BATCH_PAUSE: Duration = Duration::from_millis(20);
/// Checkpoints are looked at so many pages at a time: all of them are those of runs that wait, and there may be millions.
const CHECKPOINT_PAGES_MAX: u32 = 100;
/// How often a day that cannot be detached at once is tried within one look.
const DETACH_ATTEMPTS_MAX: u32 = 5;
const DETACH_PAUSE: Duration = Duration::from_secs(1);
/// After the start: time to take shards.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// One look at most. The next one goes on where this one ended.
const LOOK_LONGEST: Duration = Duration::from_secs(3_600);

/// Makes the days of today and the week ahead, where they are missing. Called before a host accepts its first event.
pub async fn make_days(database: &Database) {
    match database.make_run_days(DAYS_AHEAD).await {
        Ok(0) => {}
        Ok(days) => tracing::debug!(days, "days of history were made"),
        // Runs of a day that is missing go to the default partition, and move when it is made.
        Err(error) => tracing::warn!(%error, "not all days of history were made ahead; trying again"),
    }
}

/// What is deleted row by row, without another question. Whatever else is to expire is added here.
#[derive(Clone, Copy)]
enum Expiring {
    DefaultRuns,
    Entries,
    EventKeys,
    Tokens,
}

impl Expiring {
    const ALL: [Self; 4] = [Self::DefaultRuns, Self::Entries, Self::EventKeys, Self::Tokens];

    fn name(self) -> &'static str {
        match self {
            Self::DefaultRuns => "runs of dropped days",
            Self::Entries => "expired entries",
            Self::EventKeys => "expired keys of events",
            Self::Tokens => "old tokens",
        }
    }

    /// Deletes at most `limit`; returns how many.
    async fn delete(self, database: &Database, limit: i64) -> Result<u64, StoreError> {
        match self {
            Self::DefaultRuns => database.prune_default_runs(limit).await,
            Self::Entries => database.delete_expired_entries(limit).await,
            Self::EventKeys => database.delete_expired_dedup(limit).await,
            Self::Tokens => database.delete_old_tokens(limit).await,
        }
    }
}

pub struct Housekeeper {
    database: Database,
    lease: Arc<Lease>,
    interval: Duration,
    /// How far checkpoints were looked at: what one look does not come to is the next one's.
    checkpoints_seen: CheckpointKey,
}

impl Housekeeper {
    /// `interval`: between two looks.
    pub fn new(database: Database, lease: Arc<Lease>, interval: Duration) -> Self {
        Self { database, lease, interval, checkpoints_seen: CheckpointKey::FIRST }
    }

    /// Looks after the house until `stop`, which is heeded at once, wherever it is.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.look_again_and_again() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn look_again_and_again(&mut self) {
        tokio::time::sleep(FIRST_LOOK.min(self.interval)).await;
        loop {
            let leads = self.lease.may_start() && self.lease.holds(LEADING_SHARD);
            if leads && tokio::time::timeout(LOOK_LONGEST, self.look()).await.is_err() {
                tracing::warn!("housekeeping took longer than it may; the next look goes on");
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// One look at everything. A part that fails does not keep the others from being done.
    async fn look(&mut self) {
        make_days(&self.database).await;
        note("old days", self.drop_old_days().await);
        note("runs", self.prune_runs().await);
        for expiring in Expiring::ALL {
            note(expiring.name(), self.delete_expired(expiring).await);
        }
        note("orphaned checkpoints", self.delete_orphaned_checkpoints().await);
    }

    /// Page by page, from where the last look ended; after the last page from the first one on, with the next look.
    async fn delete_orphaned_checkpoints(&mut self) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for _ in 0..CHECKPOINT_PAGES_MAX {
            let looked_at = self.database.delete_orphaned_checkpoints(self.checkpoints_seen, BATCH_ROWS).await?;
            deleted += looked_at.deleted;
            self.checkpoints_seen = looked_at.last.unwrap_or(CheckpointKey::FIRST);
            if looked_at.last.is_none() {
                break;
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
        Ok(deleted)
    }

    /// Batch by batch, until one is not full.
    async fn delete_expired(&self, expiring: Expiring) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let count = expiring.delete(&self.database, BATCH_ROWS).await?;
            deleted += count;
            if count < BATCH_ROWS.unsigned_abs() {
                return Ok(deleted);
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
    }

    async fn drop_old_days(&self) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for day in self.database.old_run_days().await? {
            let kept = self.drop_day(&day).await?;
            tracing::info!(%day, kept, "a day of history was dropped");
            dropped += 1;
            tokio::time::sleep(BATCH_PAUSE).await;
        }
        Ok(dropped)
    }

    /// Commits hold the lock that this needs for moments only; somebody who reads history for long holds it longer.
    async fn drop_day(&self, day: &Day) -> Result<i64, StoreError> {
        for _ in 1..DETACH_ATTEMPTS_MAX {
            match self.database.drop_run_day(day).await {
                Err(error) if error.is_unavailable() => tokio::time::sleep(DETACH_PAUSE).await,
                done => return done,
            }
        }
        self.database.drop_run_day(day).await
    }

    /// Runs of accounts that keep them for a shorter time than others do.
    async fn prune_runs(&self) -> Result<u64, StoreError> {
        let (mut deleted, mut last) = (0, AccountId(0));
        loop {
            let overdue = self.database.overdue_accounts(last, BATCH_ACCOUNTS).await?;
            let Some(newest) = overdue.last() else { return Ok(deleted) };
            last = newest.account;
            for account in overdue {
                let mut behind = RunId(0);
                while let Some(pruned) = self.database.prune_runs(account, behind, BATCH_ROWS).await? {
                    (deleted, behind) = (deleted + pruned.count, pruned.newest);
                    tokio::time::sleep(BATCH_PAUSE).await;
                }
            }
        }
    }
}

fn note(what: &str, done: Result<u64, StoreError>) {
    match done {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "{what} were deleted"),
        Err(error) => tracing::warn!(%error, "{what} were not all deleted; the next look goes on"),
    }
}
