//! Deletes what has expired: the keys of events whose retention is over. Done by the owner of shard 0 alone; that two hosts
//! do it for a moment does no harm.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use trellis_model::Shard;
use trellis_store::{Database, StoreError};

use crate::lease::Lease;

/// The shard whose owner does it.
const LEADING_SHARD: Shard = Shard(0);
/// Expired rows are in nobody's way: their keys are free all the same.
const INTERVAL: Duration = Duration::from_secs(60);
/// The first look comes soon: a host that is started anew and again must come to it, too.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Rows of one statement at most, so that no lock is held for long.
const BATCH_ROWS: i64 = 1_000;
/// Between two batches: others need the disk as well.
const BATCH_PAUSE: Duration = Duration::from_millis(50);

/// Runs until `stop`.
pub async fn run(database: Database, lease: Arc<Lease>, stop: CancellationToken) {
    let mut pause = FIRST_LOOK;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = INTERVAL;
        if !lease.holds(LEADING_SHARD) {
            continue;
        }
        if let Some(Err(error)) = stop.run_until_cancelled(delete_all(&database)).await {
            tracing::warn!(%error, "expired keys were not deleted; trying again");
        }
    }
}

async fn delete_all(database: &Database) -> Result<(), StoreError> {
    while database.delete_expired_dedup(BATCH_ROWS).await? >= BATCH_ROWS.unsigned_abs() {
        tokio::time::sleep(BATCH_PAUSE).await;
    }
    Ok(())
}
