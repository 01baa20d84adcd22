//! This host's lease and the shards it holds: kept alive, shared out evenly with the other hosts, and guarded by the
//! monotonic clock, so that a paused host stops starting work before anyone else may start it.

mod balancer;

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use trellis_model::Shard;
use trellis_store::{Database, StoreError, fail_point, hosts::Renewal, notices::Notice, shards::Holding};
use uuid::Uuid;

use self::balancer::Balancer;
use crate::{cancellations::Cancellations, clock::Clock};

#[derive(Clone, Copy, Debug)]
pub struct LeaseConfig {
    /// How long a host may be silent before others go on with its work.
    pub duration: Duration,
    /// No other host can be alive on this database: whatever is registered there is dead.
    pub is_exclusive: bool,
}

impl LeaseConfig {
    /// What the database is told: a little less, so that the others have noticed, taken the shards and begun the runs when
    /// the lease is over.
    fn term(&self) -> Duration {
        self.duration - self.duration / TAKEOVER_DIVISOR
    }
}

/// The part of a lease that is left for taking over: half a second of ten.
const TAKEOVER_DIVISOR: u32 = 20;

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
    /// No longer held, though the host lives: whatever is in flight there can no longer be committed.
    Gone(Vec<Shard>),
    /// The lease was lost: the same of every shard.
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

/// Keeps the lease alive and the shards balanced; one task. Taking shards may take longer than a lease: renewals go on
/// beside it.
pub struct LeaseKeeper {
    renewer: Renewer,
    balancer: Balancer,
}

struct Renewer {
    database: Database,
    config: LeaseConfig,
    clock: Clock,
    lease: Arc<Lease>,
}

/// What a renewal came to, and how long to wait for the next.
enum Renewed {
    Held(Renewal, Duration),
    NotNow(Duration),
    /// The host was deleted, and with it all that it held.
    Lost,
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
        let identity = register(&database, config.term(), &clock).await?;
        let lease = Arc::new(Lease {
            identity: RwLock::new(identity),
            holdings: RwLock::default(),
            giving_up: RwLock::default(),
            start_until: Mutex::new(Some(asked_at + start_span(config.term()))),
            is_leaving: AtomicBool::new(false),
            look: Notify::new(),
        });
        let balancer = Balancer::new(database.clone(), Arc::clone(&lease), changes, cancellations);
        Ok(Self { renewer: Renewer { database, config, clock, lease }, balancer })
    }

    pub fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.renewer.lease)
    }

    pub async fn run(mut self, stop: CancellationToken) {
        // The others have more than their share from now on. Who does not hear it finds out with the next renewal.
        if let Err(error) = self.renewer.database.notify(&[Notice::Balance]).await {
            tracing::debug!(%error, "other hosts are not told of this one");
        }
        stop.run_until_cancelled(Box::pin(self.keep())).await;
    }

    async fn keep(&mut self) {
        let mut renewed = self.renewer.renew().await;
        loop {
            renewed = match renewed {
                Renewed::Held(renewal, pause) => {
                    self.renewer.renew_beside(self.balancer.balance(&renewal), pause).await
                }
                Renewed::NotNow(pause) => self.renewer.renew_beside(std::future::ready(()), pause).await,
                Renewed::Lost => {
                    self.balancer.forget_all().await;
                    self.renewer.start_over().await;
                    let pause = self.renewer.retry_interval();
                    self.renewer.renew_beside(std::future::ready(()), pause).await
                }
            };
        }
    }
}

impl Renewer {
    /// Waits for the end of `work` and for the time of the next renewal; as often as that comes first, the lease is renewed
    /// meanwhile. Answers with the first renewal after the end; work for a lease that is lost is given up.
    async fn renew_beside(&self, work: impl Future<Output = ()>, mut pause: Duration) -> Renewed {
        let mut work = pin!(work);
        let mut is_done = false;
        loop {
            let time = tokio::time::sleep(pause);
            tokio::pin!(time);
            while !is_done {
                tokio::select! {
                    () = &mut work => is_done = true,
                    () = &mut time => break,
                }
            }
            if is_done {
                tokio::select! {
                    () = &mut time => {}
                    () = self.lease.look.notified() => {}
                }
            }
            let was_done = is_done;
            match self.renew().await {
                Renewed::Held(_, next) | Renewed::NotNow(next) if !was_done => pause = next,
                renewed => return renewed,
            }
        }
    }

    fn interval(&self) -> Duration {
        self.config.duration / RENEWALS_PER_LEASE
    }

    fn retry_interval(&self) -> Duration {
        self.interval() / 4
    }

    async fn renew(&self) -> Renewed {
        let asked_at = Instant::now();
        let host = self.lease.identity().host;
        match self.database.renew_host(host, self.config.term(), &self.lease.holdings()).await {
            Ok(renewal) => {
                self.clock.synchronise(renewal.now_ms);
                self.lease.set_start_until(Some(asked_at + start_span(self.config.term())));
                let interval = self.interval();
                // Somebody's lease about to run out is worth a look at the very moment.
                let pause = renewal.next_expiry.map_or(interval, |expiry| interval.min(expiry.max(LOOK_LEAST)));
                Renewed::Held(renewal, pause)
            }
            Err(StoreError::Fenced) => Renewed::Lost,
            Err(error) => {
                tracing::warn!(%error, "the lease was not renewed; trying again");
                Renewed::NotNow(self.retry_interval())
            }
        }
    }

    /// Registers as a new host.
    async fn start_over(&self) {
        match register(&self.database, self.config.term(), &self.clock).await {
            Ok(identity) => *self.lease.identity.write().unwrap_or_else(PoisonError::into_inner) = identity,
            Err(error) => tracing::warn!(%error, "this host was not registered anew; trying again"),
        }
    }
}

async fn register(database: &Database, term: Duration, clock: &Clock) -> Result<Identity, StoreError> {
    let host = Uuid::new_v4();
    // Leases that ran out may hold numbers.
    database.reap_expired_hosts().await?;
    let (number, now_ms) = database.register_host(host, term).await?;
    clock.synchronise(now_ms);
    tracing::info!(%host, number, "registered");
    Ok(Identity { host, number })
}

fn start_span(term: Duration) -> Duration {
    term - term / START_MARGIN_DIVISOR
}
