//! This host's lease and the shards it holds: kept alive, shared out evenly with the other hosts, and guarded by the
//! monotonic clock, so that a paused host stops starting work before anyone else may start it.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use trellis_model::{Shard, ids::SHARD_COUNT};
use trellis_store::{Database, StoreError, fail_point, hosts::Renewal, notices::Notice, shards::Holding};
use uuid::Uuid;

use crate::{cancellations::Cancellations, canceller::bar_requested, clock::Clock};

#[derive(Clone, Copy, Debug)]
pub struct LeaseConfig {
    /// How long a host may be silent before others take its shards.
    pub duration: Duration,
    /// No other host can be alive on this database: whatever is registered there is dead.
    pub is_exclusive: bool,
}

/// Renewals per lease: two may fail before it is lost.
const RENEWALS_PER_LEASE: u32 = 4;
/// Between two looks at a lease that has run out but is not to be had yet.
const LOOK_LEAST: Duration = Duration::from_millis(250);
/// No work is started in the last part of a lease: it must have time to be committed.
const START_MARGIN_DIVISOR: u32 = 5;

/// Who this host is in the database. Changes when a lost lease makes it register anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub host: Uuid,
    /// Part of the run ids that this host hands out.
    pub number: u8,
}

/// What the scheduler must know about shards that come and go.
#[derive(Debug)]
pub enum ShardChange {
    /// Newly held; what their former owners left behind is settled.
    Taken(Vec<Holding>),
    /// To be given to others: start nothing more on them, and release them when nothing is in flight.
    Release(Vec<Shard>),
    /// The lease was lost: whatever is in flight on any shard can no longer be committed.
    Lost,
}

/// The state of the lease, shared by all who start or commit work.
#[derive(Debug)]
pub struct Lease {
    identity: RwLock<Identity>,
    holdings: RwLock<HashMap<Shard, i64>>,
    /// Work may be started until then.
    start_until: Mutex<Option<Instant>>,
    /// Held shards that are to be given to others.
    giving_up: RwLock<HashSet<Shard>>,
    /// The host is stopping: it takes no shard any more.
    is_leaving: AtomicBool,
    /// Shards are to be had, or to be given up.
    look: Notify,
}

impl Lease {
    pub fn identity(&self) -> Identity {
        *self.identity.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn may_start(&self) -> bool {
        fail_point!("lease-guard-off", true);
        let until = *self.start_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    pub fn holds(&self, shard: Shard) -> bool {
        self.holdings.read().unwrap_or_else(PoisonError::into_inner).contains_key(&shard)
    }

    /// The epoch that a shard is held under; none: it is not this host's.
    pub fn epoch(&self, shard: Shard) -> Option<i64> {
        self.holdings.read().unwrap_or_else(PoisonError::into_inner).get(&shard).copied()
    }

    pub fn holdings(&self) -> Vec<Holding> {
        let holdings = self.holdings.read().unwrap_or_else(PoisonError::into_inner);
        holdings.iter().map(|(shard, epoch)| Holding { shard: *shard, epoch: *epoch }).collect()
    }

    fn with_holdings<T>(&self, change: impl FnOnce(&mut HashMap<Shard, i64>) -> T) -> T {
        change(&mut self.holdings.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets shards that were given back.
    pub fn drop_holdings(&self, shards: &[Shard]) {
        self.with_holdings(|holdings| holdings.retain(|shard, _| !shards.contains(shard)));
        self.with_giving_up(|giving_up| giving_up.retain(|shard| !shards.contains(shard)));
    }

    /// Whether the shard goes to another host as soon as nothing is in flight on it: its runs begin no further node.
    pub fn gives_up(&self, shard: Shard) -> bool {
        fail_point!("give-up-off", false);
        self.is_leaving() || self.giving_up.read().unwrap_or_else(PoisonError::into_inner).contains(&shard)
    }

    fn with_giving_up<T>(&self, change: impl FnOnce(&mut HashSet<Shard>) -> T) -> T {
        change(&mut self.giving_up.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the lease alive but takes no shard any more: the host is stopping.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    pub fn is_leaving(&self) -> bool {
        fail_point!("leave-off", false);
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Makes the keeper look at this host's share of the shards now.
    pub fn look(&self) {
        self.look.notify_one();
    }

    fn set_start_until(&self, until: Option<Instant>) {
        *self.start_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// Keeps the lease alive and the shards balanced; one task.
pub struct LeaseKeeper {
    database: Database,
    config: LeaseConfig,
    clock: Clock,
    lease: Arc<Lease>,
    changes: mpsc::Sender<ShardChange>,
    cancellations: Arc<Cancellations>,
    /// Shards that the scheduler was asked to release and still drains.
    releasing: Vec<Shard>,
}

impl LeaseKeeper {
    /// Registers this host. It holds no shard before [`LeaseKeeper::run`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::NoHostNumber`].
    pub async fn register(
        database: Database,
        config: LeaseConfig,
        clock: Clock,
        changes: mpsc::Sender<ShardChange>,
        cancellations: Arc<Cancellations>,
    ) -> Result<Self, StoreError> {
        if config.is_exclusive {
            database.reap_all_hosts().await?;
        }
        let asked_at = Instant::now();
        let identity = register(&database, config.duration, &clock).await?;
        let lease = Arc::new(Lease {
            identity: RwLock::new(identity),
            holdings: RwLock::default(),
            giving_up: RwLock::default(),
            start_until: Mutex::new(Some(asked_at + start_span(config.duration))),
            is_leaving: AtomicBool::new(false),
            look: Notify::new(),
        });
        Ok(Self { database, config, clock, lease, changes, cancellations, releasing: Vec::new() })
    }

    pub fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.lease)
    }

    pub async fn run(mut self, stop: CancellationToken) {
        // The others have more than their share from now on. Who does not hear it finds out with the next renewal.
        if let Err(error) = self.database.notify(&[Notice::Balance]).await {
            tracing::debug!(%error, "other hosts are not told of this one");
        }
        loop {
            let pause = self.renew().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.lease.look.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One renewal and what follows from it; returns how long to wait for the next.
    async fn renew(&mut self) -> Duration {
        let interval = self.config.duration / RENEWALS_PER_LEASE;
        let asked_at = Instant::now();
        match self.database.renew_host(self.lease.identity().host, self.config.duration).await {
            Ok(renewal) => {
                self.clock.synchronise(renewal.now_ms);
                self.lease.set_start_until(Some(asked_at + start_span(self.config.duration)));
                if !self.lease.is_leaving()
                    && let Err(error) = self.balance(&renewal).await
                {
                    tracing::warn!(%error, "shards were not balanced; trying again with the next renewal");
                }
                // Somebody's lease about to run out is worth a look at the very moment.
                renewal.next_expiry.map_or(interval, |expiry| interval.min(expiry.max(LOOK_LEAST)))
            }
            Err(StoreError::Fenced) => {
                self.start_over().await;
                interval / 4
            }
            Err(error) => {
                tracing::warn!(%error, "the lease was not renewed; trying again");
                interval / 4
            }
        }
    }

    /// The lease was lost, and with it every shard: register as a new host.
    async fn start_over(&mut self) {
        tracing::warn!("this host was silent for longer than its lease; its shards went to others");
        self.lease.set_start_until(None);
        self.lease.with_holdings(HashMap::clear);
        self.lease.with_giving_up(HashSet::clear);
        self.releasing.clear();
        // The scheduler ends only with the host.
        let _ = self.changes.send(ShardChange::Lost).await;
        match register(&self.database, self.config.duration, &self.clock).await {
            Ok(identity) => *self.lease.identity.write().unwrap_or_else(PoisonError::into_inner) = identity,
            Err(error) => tracing::warn!(%error, "this host was not registered anew; trying again"),
        }
    }

    /// Takes free shards up to this host's even share, or gives up what it has beyond it.
    async fn balance(&mut self, renewal: &Renewal) -> Result<(), StoreError> {
        let mut free_shards = renewal.free_shards;
        if renewal.next_expiry.is_some_and(|expiry| expiry.is_zero()) {
            free_shards += i64::try_from(self.database.reap_expired_hosts().await?).unwrap_or(0);
        }
        let held: Vec<Shard> = self.lease.holdings().iter().map(|holding| holding.shard).collect();
        // Shards that the database gives to this host, but whose answer was lost, are to be had as well.
        free_shards += (renewal.own_shards - i64::try_from(held.len()).unwrap_or(0)).max(0);
        self.releasing.retain(|shard| held.contains(shard));
        let fair = i64::from(SHARD_COUNT).div_euclid(renewal.live_hosts)
            + i64::from(i64::from(SHARD_COUNT) % renewal.live_hosts != 0);
        let keeping = i64::try_from(held.len() - self.releasing.len()).unwrap_or(i64::MAX);
        if keeping < fair && free_shards > 0 {
            self.take(&held, fair - keeping).await?;
        } else if keeping > fair {
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

async fn register(database: &Database, lease: Duration, clock: &Clock) -> Result<Identity, StoreError> {
    let host = Uuid::new_v4();
    // Leases that ran out may hold numbers.
    database.reap_expired_hosts().await?;
    let (number, now_ms) = database.register_host(host, lease).await?;
    clock.synchronise(now_ms);
    tracing::info!(%host, number, "registered");
    Ok(Identity { host, number })
}

fn start_span(lease: Duration) -> Duration {
    lease - lease / START_MARGIN_DIVISOR
}
