//! The outbox part of a commit: what nodes have emitted becomes jobs, in the transaction that completes them.
//!
//! Comes behind the storage part, which knows by then whose effects go through and whose were written before.

use sqlx::PgConnection;

use super::{CommitOutcome, RunCommit};
use crate::{
    Result,
    jobs::{NewJob, insert_jobs},
};

/// Inserts the jobs of every commit that goes through now. One that was written before has its jobs already.
pub(super) async fn insert(
    connection: &mut PgConnection,
    commits: &[RunCommit],
    outcomes: &[CommitOutcome],
) -> Result<()> {
    let passed = commits.iter().zip(outcomes).filter(|(_, outcome)| **outcome == CommitOutcome::Committed);
    let jobs: Vec<NewJob> = passed.flat_map(|(commit, _)| commit.effects.events.iter().cloned()).collect();
    if jobs.is_empty() { Ok(()) } else { insert_jobs(connection, &jobs).await }
}
