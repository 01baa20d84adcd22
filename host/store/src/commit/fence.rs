//! The fence: a commit passes only while the host's row exists and the shard is still its own.
//!
//! Locking the row holds off whoever would delete it, and so take its shards, until this transaction has ended. A lease
//! that has run out but was not taken away is still this host's: it may be renewed, and nobody else has begun its work.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{CommitOutcome, RunCommit};
use crate::{Result, fail_point, shards::Holding};

/// One outcome per commit: `Fenced` for those that may not write, `Committed` (so far) for the others.
pub(super) async fn check(
    connection: &mut PgConnection,
    host: Uuid,
    commits: &[RunCommit],
) -> Result<Vec<CommitOutcome>> {
    fail_point!("fence-off", Ok(vec![CommitOutcome::Committed; commits.len()]));
    let holdings: HashSet<Holding> = commits.iter().map(|commit| commit.holding).collect();
    let (shards, epochs): (Vec<i16>, Vec<i64>) =
        holdings.iter().map(|holding| (holding.shard.0, holding.epoch)).unzip();
    let valid: Vec<i16> = sqlx::query_scalar(
        "select shard.shard from host, shard join unnest($2::smallint[], $3::bigint[]) as mine (shard, epoch)
             on shard.shard = mine.shard and shard.epoch = mine.epoch
         where host.id = $1 and shard.owner = host.id
         for key share of host",
    )
    .bind(host)
    .bind(shards)
    .bind(epochs)
    .fetch_all(connection)
    .await?;
    let valid: HashSet<i16> = valid.into_iter().collect();
    let outcome = |commit: &RunCommit| {
        if valid.contains(&commit.holding.shard.0) { CommitOutcome::Committed } else { CommitOutcome::Fenced }
    };
    Ok(commits.iter().map(outcome).collect())
}
