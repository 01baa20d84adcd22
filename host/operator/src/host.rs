//! One host: all tasks of the heart, started in order and stopped in order.

mod deployed;
mod listener;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trellis_engine::Engine;
use trellis_model::{AccountId, RunId, Shard, call_limits::CallLimits, run_limits::RunLimits};
use trellis_store::{Database, StoreError, notices::Notice};

use self::listener::Listener;
use crate::{
    call_budgets::CallBudgets,
    cancellations::Cancellations,
    canceller::Canceller,
    catalog::Catalog,
    claims::Claims,
    clock::Clock,
    committer::Committer,
    housekeeper::{self, Housekeeper},
    indexer::Indexer,
    ingest::{Ingest, IngestConfig},
    lease::{Lease, LeaseConfig, LeaseKeeper, ShardChange},
    limiter::{Limiter, LimiterConfig},
    outbox::Outbox,
    preparer::Preparer,
    run::{
        Callee, Conflicts, RunContext, Suspects,
        shadow::{ShadowLimits, Shadows},
    },
    run_ids::RunIds,
    scheduler::{Message, RunStarter, Scheduler, Wakeups},
    slots::Slots,
    spreads::Spreads,
    targets::Targets,
    vault::{Keyring, Vault},
    watch::Watches,
};

#[derive(Clone, Copy, Debug)]
pub struct HostConfig {
    pub lease: LeaseConfig,
    pub limiter: LimiterConfig,
    pub ingest: IngestConfig,
    /// The limits of one call of an account for which nothing else was set.
    pub call_limits: CallLimits,
    /// The most that an operator can give an account.
    pub call_ceilings: CallLimits,
    /// What one run may hold back.
    pub run_limits: RunLimits,
    /// Runs in flight at most, waiting ones included.
    pub runs_max: usize,
    pub callee: Callee,
    /// How much of trying candidates there may be.
    pub shadow_limits: ShadowLimits,
    /// Between two looks at what has had its time.
    pub housekeeping_interval: Duration,
}

/// Changes of shards that may wait for the scheduler.
const SHARD_CHANGES_MAX: usize = 64;

/// A running host, as those see it who give it work.
pub struct Host {
    pub database: Database,
    pub engine: Engine,
    pub catalog: Arc<Catalog>,
    pub limiter: Limiter,
    pub ingest: Ingest,
    pub clock: Clock,
    pub vault: Vault,
    pub budgets: Arc<CallBudgets>,
    pub shadows: Shadows,
    pub watches: Arc<Watches>,
    slots: Slots,
    spreads: Arc<Spreads>,
    targets: Targets,
    lease: Arc<Lease>,
    cancellations: Arc<Cancellations>,
    wakeups: Wakeups,
    /// Wakes the indexer.
    indexes_declared: Arc<Notify>,
}

/// What it takes to stop a host, in the order of use.
pub struct HostStop {
    database: Database,
    lease: Arc<Lease>,
    wakeups: Wakeups,
    watches: Arc<Watches>,
    ingest: Task,
    running: Running,
    limiter: Task,
    background: Vec<Task>,
}

/// The tasks that start, run and end runs.
struct Running {
    scheduler: Task,
    runs: TaskTracker,
    abandon: CancellationToken,
    canceller: Task,
    committer: Task,
}

/// A background task with its one stop signal and its awaited end.
struct Task {
    name: &'static str,
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

impl Task {
    /// Starts a task that gives its users a handle.
    fn with_handle<T>(name: &'static str, start: impl FnOnce(CancellationToken) -> (T, JoinHandle<()>)) -> (T, Self) {
        let stop = CancellationToken::new();
        let (user_handle, handle) = start(stop.clone());
        (user_handle, Self { name, stop, handle })
    }

    fn spawn<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { name, handle: tokio::spawn(run(stop.clone())), stop }
    }

    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.handle.await {
            tracing::error!(name = self.name, %error, "a task of the host had failed");
        }
    }
}

impl Host {
    /// Registers the host, loads all projects and starts to take shards and run jobs. Without a `keyring` it has no
    /// credentials, and leaves projects that need some to other hosts.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses.
    pub async fn start(
        database: Database,
        engine: Engine,
        config: HostConfig,
        keyring: Option<Keyring>,
    ) -> Result<(Arc<Self>, HostStop), StoreError> {
        let clock = Clock::default();
        let vault = Vault::new(database.clone(), keyring);
        let catalog = Arc::new(Catalog::new(database.clone(), vault.is_open()));
        // Listened to before the first look, so that nothing falls between the two.
        let notices = database.listen().await?;
        catalog.refresh(true).await?;
        housekeeper::make_days(&database).await;
        let spreads = Arc::new(Spreads::new(database.clone()));
        spreads.refresh().await?;
        let budgets = Arc::new(CallBudgets::new(database.clone(), config.call_limits, config.call_ceilings));
        budgets.refresh().await?;

        let (changes, shard_changes) = mpsc::channel(SHARD_CHANGES_MAX);
        let cancellations = Arc::new(Cancellations::default());
        let keeper =
            LeaseKeeper::register(database.clone(), config.lease, clock.clone(), changes, Arc::clone(&cancellations))
                .await?;
        let lease = keeper.lease();
        let ((wakeups, messages), notifier) =
            Task::with_handle("notifier", |stop| Wakeups::start(database.clone(), stop));
        let (limiter, limiter_task) = Task::with_handle("limiter", |stop| {
            Limiter::start(database.clone(), config.limiter, clock.clone(), Arc::clone(&lease), stop)
        });
        let ids = RunIds::new(Arc::clone(&lease), clock.clone());
        let (ingest, ingest_task) = Task::with_handle("ingest", |stop| {
            let (lease, spreads) = (Arc::clone(&lease), Arc::clone(&spreads));
            Ingest::start(database.clone(), config.ingest, lease, ids.clone(), spreads, wakeups.clone(), stop)
        });
        let (watches, teller) = Task::with_handle("teller", |stop| {
            Watches::start(database.clone(), Arc::clone(&lease), clock.clone(), Arc::clone(&cancellations), stop)
        });
        let targets = Targets::new(database.clone(), Arc::clone(&lease), clock.clone());
        let slots = Slots::default();
        let shadows = Shadows {
            database: database.clone(),
            engine: engine.clone(),
            limiter: limiter.clone(),
            lease: Arc::clone(&lease),
            slots: slots.clone(),
            vault: vault.clone(),
            budgets: Arc::clone(&budgets),
            limits: config.shadow_limits,
            gate: Shadows::gate(config.shadow_limits),
        };
        let host = Arc::new(Self {
            database,
            engine,
            catalog,
            limiter,
            ingest,
            clock,
            vault,
            budgets,
            shadows,
            watches,
            slots,
            spreads,
            targets,
            lease,
            cancellations,
            wakeups,
            indexes_declared: Arc::default(),
        });

        let running = host.start_running(ids, messages, shard_changes, config);
        let housekeeper =
            Housekeeper::new(host.database.clone(), Arc::clone(&host.lease), config.housekeeping_interval);
        let indexer = Indexer::new(host.database.clone(), Arc::clone(&host.lease), Arc::clone(&host.indexes_declared));
        let preparer = Preparer {
            database: host.database.clone(),
            engine: host.engine.clone(),
            catalog: Arc::clone(&host.catalog),
        };
        let stop = HostStop {
            database: host.database.clone(),
            lease: Arc::clone(&host.lease),
            wakeups: host.wakeups.clone(),
            watches: Arc::clone(&host.watches),
            ingest: ingest_task,
            running,
            limiter: limiter_task,
            background: vec![
                Task::spawn("lease keeper", |stop| keeper.run(stop)),
                Task::spawn("listener", |stop| host.listener().run(notices, stop)),
                Task::spawn("targets", |stop| host.targets.clone().keep(stop)),
                notifier,
                teller,
                Task::spawn("housekeeper", |stop| housekeeper.run(stop)),
                Task::spawn("preparer", |stop| preparer.run(stop)),
                Task::spawn("indexer", |stop| indexer.run(stop)),
            ],
        };
        Ok((host, stop))
    }

    /// From here on runs are started.
    fn start_running(
        &self,
        ids: RunIds,
        messages: mpsc::Receiver<Message>,
        shard_changes: mpsc::Receiver<ShardChange>,
        config: HostConfig,
    ) -> Running {
        let claims = Arc::new(Claims::default());
        let (lease, spreads, wakeups) = (Arc::clone(&self.lease), Arc::clone(&self.spreads), self.wakeups.clone());
        let outbox = Outbox { ids, lease, spreads, wakeups };
        let (committer, committer_task) = Task::with_handle("committer", |give_up| {
            let (database, watches) = (self.database.clone(), Arc::clone(&self.watches));
            Committer::start(database, Arc::clone(&self.lease), Arc::clone(&claims), outbox, watches, give_up)
        });
        let canceller = self.canceller(&committer);
        let context = self.run_context(committer, claims, config);
        let (runs, abandon) = (TaskTracker::new(), CancellationToken::new());
        let starter =
            RunStarter { context, wakeups: self.wakeups.clone(), tasks: runs.clone(), abandon: abandon.clone() };
        let scheduler = Scheduler::new(starter, messages, shard_changes, config.runs_max);
        Running {
            scheduler: Task::spawn("scheduler", |stop| scheduler.run(stop)),
            runs,
            abandon,
            canceller: Task::spawn("canceller", |stop| canceller.run(stop)),
            committer: committer_task,
        }
    }

    fn run_context(&self, committer: Committer, claims: Arc<Claims>, config: HostConfig) -> Arc<RunContext> {
        Arc::new(RunContext {
            database: self.database.clone(),
            engine: self.engine.clone(),
            catalog: Arc::clone(&self.catalog),
            limiter: self.limiter.clone(),
            first_permits: Arc::default(),
            slots: self.slots.clone(),
            targets: self.targets.clone(),
            vault: self.vault.clone(),
            committer,
            conflicts: Conflicts::default(),
            claims,
            suspects: Suspects::new(config.runs_max),
            cancellations: Arc::clone(&self.cancellations),
            watches: Arc::clone(&self.watches),
            lease: Arc::clone(&self.lease),
            clock: self.clock.clone(),
            budgets: Arc::clone(&self.budgets),
            run_limits: config.run_limits,
            callee: config.callee,
        })
    }

    fn canceller(&self, committer: &Committer) -> Canceller {
        Canceller {
            database: self.database.clone(),
            cancellations: Arc::clone(&self.cancellations),
            committer: committer.clone(),
            lease: Arc::clone(&self.lease),
            wakeups: self.wakeups.clone(),
        }
    }

    fn listener(&self) -> Listener {
        Listener {
            lease: Arc::clone(&self.lease),
            cancellations: Arc::clone(&self.cancellations),
            database: self.database.clone(),
            catalog: Arc::clone(&self.catalog),
            limiter: self.limiter.clone(),
            spreads: Arc::clone(&self.spreads),
            budgets: Arc::clone(&self.budgets),
            wakeups: self.wakeups.clone(),
            watches: Arc::clone(&self.watches),
        }
    }

    /// The shard that new jobs of an account with this id are put on.
    pub fn shard_of(&self, account: AccountId, run: RunId) -> Shard {
        Shard::of_part(account, run.part(self.spreads.of(account)))
    }

    /// Whether this host holds a live lease and is not about to stop: a place to send events to.
    pub fn is_ready(&self) -> bool {
        self.lease.may_start() && !self.lease.is_leaving()
    }

    pub fn shard_count(&self) -> usize {
        self.lease.holdings().len()
    }

    /// An account's limits or its spread were changed through this host: heed them, and tell the others, as far as the
    /// database answers. What was changed is stored: whoever misses it here reads it with the next look at all accounts.
    pub async fn limits_changed(&self, account: AccountId) {
        let limits = self.limiter.reload_limits(account).await;
        let spread = self.spreads.reload(account).await;
        let budget = self.budgets.reload(account).await;
        self.wakeups.tell(Message::LimitsChanged(account)).await;
        let notice = self.database.notify(&[Notice::Limits(account)]).await;
        if let Err(error) = limits.and(spread).and(budget).and(notice) {
            tracing::warn!(%account, %error, "changed limits are not heeded everywhere yet");
        }
    }

    /// Cancelling runs of these shards was requested through this host: tell their owners, who may be this host itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; the owner looks by itself, a few seconds later.
    pub async fn cancel_requested(&self, shards: &[Shard]) -> Result<(), StoreError> {
        let (own, others): (Vec<Shard>, Vec<Shard>) = shards.iter().partition(|shard| self.lease.holds(**shard));
        if !own.is_empty() {
            self.cancellations.want_look();
        }
        let notices: Vec<Notice> = others.into_iter().map(Notice::Cancel).collect();
        if notices.is_empty() { Ok(()) } else { self.database.notify(&notices).await }
    }
}

impl HostStop {
    /// The first act of a stop, while events are still accepted: the host is not ready any more and starts no run. Shards
    /// without a run in flight are free at once, the others as theirs end.
    pub async fn leave(&self) {
        self.lease.leave();
        self.watches.close();
        if let Err(error) = self.database.announce_leaving(self.lease.identity().host).await {
            tracing::warn!(%error, "other hosts are not told before this one has stopped");
        }
        let (done, is_done) = oneshot::channel();
        self.wakeups.tell(Message::Leave(done)).await;
        // No answer: the scheduler has ended, which is as good.
        let _ = is_done.await;
    }

    /// The rest of it, after [`HostStop::leave`], in order: no new events, running nodes finish within `grace` or are left to
    /// the next owner without counting against their run.
    ///
    /// # Errors
    /// The database could not be told; other hosts take over when the lease has run out.
    pub async fn shutdown(self, grace: Duration) -> Result<(), StoreError> {
        let running = self.running;
        self.ingest.end().await;
        let ended = async {
            running.runs.close();
            running.runs.wait().await;
        };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(runs = running.runs.len(), "runs did not end in time; they are left to the next owner");
            running.abandon.cancel();
        }
        running.scheduler.end().await;
        running.runs.close();
        running.runs.wait().await;
        running.canceller.end().await;
        running.committer.end().await;
        self.limiter.end().await;
        for task in self.background {
            task.end().await;
        }
        self.database.release_claims(&self.lease.holdings()).await?;
        self.database.deregister_host(self.lease.identity().host).await?;
        self.database.notify(&[Notice::Balance]).await
    }
}
