//! Target limits: how many requests each service takes that an account's projects speak to.
//!
//! ```text
//!   call ──► gate ──ask──► bucket (one per target and host) ──► Go: sent, its place free again when the answer was read
//!             │                                                └► Wait until t
//!             ├── t is soon: waits within the call
//!             └── else: TargetFull; the node is suspended until t, with a place in the line
//! ```
//!
//! The owner of an account's shard alone counts, so the limits are exact. Every few seconds the buckets are kept in the
//! database, and at a hand-over once more, for the next owner. After a hand-over it goes on where this one stopped. After a
//! crash nobody knows what was sent last: windows of up to a minute are then taken for used up, and longer ones go on with
//! what was kept, which is at most two seconds old. A bucket that was not in use for as long as it remembers anything
//! leaves memory and database.

mod bucket;
mod gate;
mod table;

use std::{sync::Arc, time::Duration};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use trellis_engine::TargetGate;
use trellis_model::{ProjectId, Queue, Shard, manifest::Target, run::TargetWait};
use trellis_store::{Database, StoreError, shards::Holding};

use self::{gate::NodeGate, table::Table};
use crate::{clock::Clock, lease::Lease};

/// After a crash at most this much is forgotten.
const KEEP_INTERVAL: Duration = Duration::from_secs(2);

/// Whose requests are counted.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub queue: Queue,
    pub project: ProjectId,
    /// Into how many parts the account's limits are divided among its queues: each holds to its part of every limit.
    pub parts: u32,
}

/// Handle to the targets of this host's accounts; cheap to clone.
#[derive(Clone, Debug)]
pub struct Targets {
    table: Arc<Table>,
    database: Database,
    lease: Arc<Lease>,
    clock: Clock,
}

impl Targets {
    pub fn new(database: Database, lease: Arc<Lease>, clock: Clock) -> Self {
        Self { table: Arc::default(), database, lease, clock }
    }

    /// The gate of one call; none if its project has no targets. `waiting`: the node's place in a line.
    pub fn gate(
        &self,
        caller: Caller,
        targets: Arc<[Target]>,
        waiting: Option<TargetWait>,
    ) -> Option<Arc<dyn TargetGate>> {
        if targets.is_empty() {
            return None;
        }
        Some(Arc::new(NodeGate::new(Arc::clone(&self.table), self.clock.clone(), caller, targets, waiting)))
    }

    /// Takes up what the former owners of newly taken shards have left. Called before anything of them is run.
    pub async fn take_over(&self, holdings: &[Holding]) {
        let shards: Vec<Shard> = holdings.iter().map(|holding| holding.shard).collect();
        self.table.remove(|shard| shards.contains(&shard));
        let now_ms = self.clock.now_ms();
        match self.database.target_states(&shards).await {
            Ok(states) => states.into_iter().for_each(|stored| {
                let state = if stored.is_final { stored.state } else { stored.state.in_doubt(now_ms) };
                self.table.insert(stored.key, state);
            }),
            Err(error) => {
                tracing::warn!(shards = shards.len(), %error, "what targets were sent is not known; short windows are taken for used up");
                self.table.doubt(&shards, now_ms);
            }
        }
    }

    /// Leaves shards that have nothing in flight to their next owner.
    pub async fn hand_over(&self, holdings: &[Holding]) {
        let states = self.table.remove(|shard| holdings.iter().any(|holding| holding.shard == shard));
        if states.is_empty() {
            return;
        }
        if let Err(error) = self.database.keep_target_states(holdings, &states, true).await {
            tracing::warn!(targets = states.len(), %error, "the next owner will take short windows for used up");
        }
    }

    /// These shards were lost: what was sent from there is somebody else's to count.
    pub fn forget(&self, is_lost: impl Fn(Shard) -> bool) {
        self.table.remove(is_lost);
    }

    /// Keeps the buckets until `stop`, and hands them all over then.
    pub async fn keep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(KEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if let Err(error) = self.keep_changed().await {
                        tracing::warn!(%error, "what targets were sent was not kept; trying again");
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        self.hand_over(&self.lease.holdings()).await;
    }

    /// Writes what has changed since the last time, and lets go of what is at rest. What could not be written is written
    /// the next time.
    async fn keep_changed(&self) -> Result<(), StoreError> {
        let holdings = self.lease.holdings();
        let at_rest = self.table.remove_at_rest(self.clock.now_ms());
        if !at_rest.is_empty() {
            let deleted = self.database.forget_target_states(&holdings, &at_rest).await;
            deleted.inspect_err(|_| self.table.forget_later(at_rest))?;
        }
        let changed = self.table.take_changed();
        if !changed.is_empty() {
            let kept = self.database.keep_target_states(&holdings, &changed, false).await;
            kept.inspect_err(|_| self.table.keep_later(&changed))?;
        }
        Ok(())
    }
}
