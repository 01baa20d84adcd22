//! This host's share of the shards: takes what it lacks, gives up what it has too many of, and lets go of what it only
//! believes to hold.
//!
//! Everything that it knows is what the last renewal found. When the lease is renewed is not its part.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::mpsc;
use trellis_model::{Shard, ids::SHARD_COUNT};
use trellis_store::{Database, StoreError, fail_point, hosts::Renewal, shards::Holding};

use super::{Lease, ShardChange};
use crate::{cancellations::Cancellations, canceller::bar_requested};

pub(super) struct Balancer {
    database: Database,
    lease: Arc<Lease>,
    changes: mpsc::Sender<ShardChange>,
    cancellations: Arc<Cancellations>,
    /// Shards that the scheduler was asked to release and still drains.
    releasing: Vec<Shard>,
}

impl Balancer {
    pub fn new(
        database: Database,
        lease: Arc<Lease>,
        changes: mpsc::Sender<ShardChange>,
        cancellations: Arc<Cancellations>,
    ) -> Self {
        Self { database, lease, changes, cancellations, releasing: Vec::new() }
    }

    /// Looks at this host's share, unless the host is stopping.
    pub async fn balance(&mut self, renewal: &Renewal) {
        if self.lease.is_leaving() {
            return;
        }
        if let Err(error) = self.let_go_and_share(renewal).await {
            tracing::warn!(%error, "shards were not balanced; trying again with the next renewal");
        }
    }

    /// The lease was lost, and with it every shard.
    pub async fn forget_all(&mut self) {
        tracing::warn!("this host was silent for longer than its lease; its shards went to others");
        self.lease.set_start_until(None);
        self.lease.with_holdings(HashMap::clear);
        self.lease.with_giving_up(HashSet::clear);
        self.releasing.clear();
        // The scheduler ends only with the host.
        let _ = self.changes.send(ShardChange::Lost).await;
    }

    async fn let_go_and_share(&mut self, renewal: &Renewal) -> Result<(), StoreError> {
        self.let_go(&renewal.void_holdings).await?;
        self.share(renewal).await
    }

    /// Forgets holdings that the database knows nothing of, as a statement leaves them behind that took shards after its
    /// sender had given it up. The shards are taken anew, like any other. What is in flight there has not lost its host: that
    /// is why its claims are given up first.
    async fn let_go(&mut self, void: &[Holding]) -> Result<(), StoreError> {
        fail_point!("let-go-off", Ok(()));
        // What was given back since the renewal looked is gone already.
        let void: Vec<Holding> =
            void.iter().copied().filter(|one| self.lease.epoch(one.shard) == Some(one.epoch)).collect();
        if void.is_empty() {
            return Ok(());
        }
        let shards: Vec<Shard> = void.iter().map(|holding| holding.shard).collect();
        tracing::warn!(?shards, "the database has these shards as held by another, or under another epoch");
        self.database.release_claims(&void).await?;
        self.lease.drop_holdings(&shards);
        let _ = self.changes.send(ShardChange::Gone(shards)).await;
        Ok(())
    }

    /// Takes free shards up to this host's even share, or gives up what it has beyond it.
    async fn share(&mut self, renewal: &Renewal) -> Result<(), StoreError> {
        let mut free_shards = renewal.free_shards;
        if renewal.next_expiry.is_some_and(|expiry| expiry.is_zero()) {
            free_shards += i64::try_from(self.database.reap_expired_hosts().await?).unwrap_or(0);
        }
        let held: Vec<Shard> = self.lease.holdings().iter().map(|holding| holding.shard).collect();
        // Shards that the database gives to this host, but whose answer was lost, are to be had as well.
        let unknown = (renewal.own_shards - i64::try_from(held.len()).unwrap_or(0)).max(0);
        free_shards += unknown;
        self.releasing.retain(|shard| held.contains(shard));
        let fair = i64::from(SHARD_COUNT).div_euclid(renewal.live_hosts)
            + i64::from(i64::from(SHARD_COUNT) % renewal.live_hosts != 0);
        let keeping = i64::try_from(held.len() - self.releasing.len()).unwrap_or(i64::MAX);
        if keeping < fair && free_shards > 0 {
            return self.take(&held, fair - keeping).await;
        }
        if unknown > 0 {
            self.database.release_unknown_shards(self.lease.identity().host, &held).await?;
        }
        if keeping > fair {
            self.release(&held, usize::try_from(keeping - fair).unwrap_or(0)).await;
        }
        Ok(())
    }

    async fn take(&mut self, held: &[Shard], count: i64) -> Result<(), StoreError> {
        let holdings = self.database.take_shards(self.lease.identity().host, held, count).await?;
        if holdings.is_empty() {
            return Ok(());
        }
        // If this fails, the shards are taken anew with the next renewal: the database has them as this host's, the lease not.
        self.database.settle_claims(&holdings).await?;
        bar_requested(&self.database, &self.cancellations, &holdings).await?;
        tracing::info!(shards = holdings.len(), "took shards");
        self.lease.with_holdings(|held| held.extend(holdings.iter().map(|one| (one.shard, one.epoch))));
        self.cancellations.want_look();
        let _ = self.changes.send(ShardChange::Taken(holdings)).await;
        Ok(())
    }

    async fn release(&mut self, held: &[Shard], count: usize) {
        let surplus: Vec<Shard> =
            held.iter().copied().filter(|shard| !self.releasing.contains(shard)).take(count).collect();
        tracing::info!(shards = surplus.len(), "giving shards to other hosts");
        self.releasing.extend(&surplus);
        self.lease.with_giving_up(|giving_up| giving_up.extend(&surplus));
        let _ = self.changes.send(ShardChange::Release(surplus)).await;
    }
}
