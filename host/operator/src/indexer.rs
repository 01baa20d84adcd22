//! The indexer: builds the indexes of managed data that deployments have declared, and clears away those that they have
//! dropped, batch by batch.
//!
//! A host begins at once with what is deployed through it. What another has left undone is found by the host that owns
//! shard 0, which looks from time to time. Two at once do no harm. Does not know what an index finds.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trellis_model::Shard;
use trellis_store::{Database, StoreError};

use crate::lease::Lease;

/// The owner of this shard looks for what was left undone.
const LEADING_SHARD: Shard = Shard(0);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Between two batches: writers of the same project come first.
const BATCH_PAUSE: Duration = Duration::from_millis(5);

pub struct Indexer {
    database: Database,
    lease: Arc<Lease>,
    deployed: Arc<Notify>,
}

impl Indexer {
    /// `deployed` is notified when a project was deployed through this host.
    pub fn new(database: Database, lease: Arc<Lease>, deployed: Arc<Notify>) -> Self {
        Self { database, lease, deployed }
    }

    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep_built() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep_built(&self) {
        loop {
            let is_told = tokio::time::timeout(LOOK_INTERVAL, self.deployed.notified()).await.is_ok();
            let leads = self.lease.may_start() && self.lease.holds(LEADING_SHARD);
            if !is_told && !leads {
                continue;
            }
            if let Err(error) = self.build_all().await {
                tracing::warn!(%error, "not all indexes were built; the next look goes on");
            }
        }
    }

    /// One batch of each index in turn, so that a large one does not hold up the others, until nothing is left.
    async fn build_all(&self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            match self.database.unfinished_index(after).await? {
                Some(index) => {
                    self.database.work_at_index(index).await?;
                    after = index.id;
                    tokio::time::sleep(BATCH_PAUSE).await;
                }
                None if after == 0 => return Ok(()),
                None => after = 0,
            }
        }
    }
}
