//! Shards that come and go: what was taken is worked on, what is to be given up is drained and given back at once.

use std::{collections::HashSet, time::Instant};

use trellis_model::Shard;
use trellis_store::{StoreError, fail_point, notices::Notice, shards::Holding};

use super::Scheduler;
use crate::lease::ShardChange;

impl Scheduler {
    pub(super) async fn change_shards(&mut self, change: ShardChange) {
        match change {
            ShardChange::Taken(taken) => {
                // What was known of these accounts while another host counted is out of date.
                let shards: HashSet<Shard> = taken.iter().map(|holding| holding.shard).collect();
                self.context.limiter.forget(|shard| shards.contains(&shard)).await;
                self.context.targets.take_over(&taken).await;
                self.releasing.retain(|shard| !shards.contains(shard));
                self.holdings.extend(taken.iter().map(|holding| (holding.shard, holding.epoch)));
                self.next_look = Instant::now();
                self.next_due = Some(Instant::now());
                if self.is_leaving {
                    // Taken in the moment that the stop began.
                    self.stop_fetching(shards);
                }
            }
            ShardChange::Release(shards) => self.stop_fetching(shards),
            ShardChange::Gone(shards) => self.forget_shards(&shards),
            ShardChange::Lost => {
                self.holdings.clear();
                self.queues.clear();
                self.releasing.clear();
                self.context.claims.clear();
                self.context.limiter.forget(|_| true).await;
                self.context.targets.forget(|_| true);
            }
        }
    }

    /// Nothing of these shards can be committed any more, and somebody else may work on them: what is in flight there ends
    /// for nothing.
    fn forget_shards(&mut self, shards: &[Shard]) {
        self.holdings.retain(|shard, _| !shards.contains(shard));
        self.releasing.retain(|shard| !shards.contains(shard));
        self.queues.forget_shards(|shard| shards.contains(&shard));
        self.context.claims.forget_shards(|shard| shards.contains(&shard));
        self.context.targets.forget(|shard| shards.contains(&shard));
    }

    /// The host is stopping: nothing is started any more, and every shard is given back as soon as it is drained.
    pub(super) fn leave(&mut self) {
        fail_point!("leave-off", ());
        self.is_leaving = true;
        self.stop_fetching(self.holdings.keys().copied().collect::<Vec<_>>());
    }

    fn stop_fetching(&mut self, shards: impl IntoIterator<Item = Shard>) {
        self.releasing.extend(shards);
        let releasing = &self.releasing;
        self.queues.stop_shards(|shard| releasing.contains(&shard));
    }

    /// Gives shards back that have nothing in flight any more, and tells the others that they are to be had.
    pub(super) async fn release_drained(&mut self) -> Result<(), StoreError> {
        let drained: Vec<Shard> =
            self.releasing.iter().copied().filter(|shard| !self.queues.has_in_flight(*shard)).collect();
        if drained.is_empty() {
            return Ok(());
        }
        self.context.limiter.hand_over(&drained).await?;
        let holdings: Vec<Holding> = self.holdings().into_iter().filter(|one| drained.contains(&one.shard)).collect();
        self.context.targets.hand_over(&holdings).await;
        self.context.database.release_shards(self.context.lease.identity().host, &holdings).await?;
        self.context.lease.drop_holdings(&drained);
        self.holdings.retain(|shard, _| !drained.contains(shard));
        self.releasing.retain(|shard| !drained.contains(shard));
        self.wakeups.notice([Notice::Balance]);
        Ok(())
    }
}
