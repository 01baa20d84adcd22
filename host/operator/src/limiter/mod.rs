//! The limiter: how many module instantiations each account may still make.
//!
//! A table that any task reads without asking anyone, and one manager task that alone writes it. Reading before a write
//! lands can overshoot; the overshoot is carried into the next window, so that the long-run rate holds. An account with
//! `exact` limits is checked by the manager itself.
//!
//! Windows are kept by the owner of a queue alone, and only while the queue is in use. What any host knows of an account
//! are its limits and until when the owners have told that it is throttled.

mod manager;
mod publisher;
mod share;
mod standing;
mod table;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, Queue, Shard, window::AccountLimits};
use trellis_store::{
    Database, StoreError,
    limits::{StoredLimit, StoredQueue},
};

use self::{
    manager::{Manager, Message},
    table::{QueueStanding, Table},
};
pub use self::{
    standing::{Standing, WindowStanding},
    table::TableSize,
};
use crate::{clock::Clock, lease::Lease};

/// How increments reach the manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncrementMode {
    /// Wait until the table is written: back-pressure.
    #[default]
    Call,
    /// Send and go on.
    Cast,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct LimiterConfig {
    /// Limits of accounts that have none of their own.
    pub defaults: AccountLimits,
    pub increment: IncrementMode,
}

/// Whether something may be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    Granted,
    /// Not before this long from now.
    Wait(Duration),
}

/// Messages that may wait for the manager.
const MAILBOX_MESSAGES: usize = 4_096;
/// Reading anew because there was news in the middle of a reading, at most this often.
const READINGS_MAX: u32 = 3;
/// Accounts of one reading at most, when all are read anew.
const READING_ACCOUNTS_MAX: usize = 1_000;
/// How long a run waits that could not learn whether it has a permit: the database is away, or the shard is lost.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);

/// Handle to the limiter; cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter {
    table: Arc<Table>,
    mailbox: mpsc::Sender<Message>,
    database: Database,
    config: LimiterConfig,
    clock: Clock,
    lease: Arc<Lease>,
    /// Counts what was told of any account: what was read from the database before it may be out of date.
    news: Arc<AtomicU64>,
}

impl Limiter {
    /// Starts the manager; it ends, with a last snapshot, when `stop` is cancelled.
    pub fn start(
        database: Database,
        config: LimiterConfig,
        clock: Clock,
        lease: Arc<Lease>,
        stop: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let table = Arc::new(Table::default());
        let (mailbox, messages) = mpsc::channel(MAILBOX_MESSAGES);
        let manager =
            Manager::new(Arc::clone(&table), database.clone(), clock.clone(), Arc::clone(&lease), config.defaults);
        let task = tokio::spawn(manager.run(messages, stop));
        (Self { table, mailbox, database, config, clock, lease, news: Arc::default() }, task)
    }

    /// Brings queues of this host into the table: their limits, and their windows as the last owner left them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(&self, queues: impl IntoIterator<Item = Queue>) -> Result<(), StoreError> {
        let missing: Vec<Queue> = queues.into_iter().filter(|queue| self.is_missing(*queue)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let accounts: Vec<AccountId> = missing.iter().map(|queue| queue.account).collect();
        self.learn(&accounts, |_| missing.clone()).await
    }

    /// Whether the queue is this host's and its windows are not here.
    fn is_missing(&self, queue: Queue) -> bool {
        self.lease.epoch(queue.shard).is_some_and(|epoch| !self.table.holds(queue, epoch))
    }

    /// Reads what is stored of some accounts; `take_up` says which queues come into the table by that.
    async fn learn(
        &self,
        accounts: &[AccountId],
        take_up: impl Fn(&HashMap<AccountId, StoredLimit>) -> Vec<Queue>,
    ) -> Result<(), StoreError> {
        for _ in 0..READINGS_MAX {
            let news = self.news.load(Ordering::Acquire);
            let stored = self.database.account_limits(accounts).await?;
            let take_up = take_up(&stored);
            self.ask(|reply| Message::Learn { stored, take_up, reply }).await;
            if self.news.load(Ordering::Acquire) == news {
                break;
            }
        }
        Ok(())
    }

    /// Reads the account's limits anew, after an operator changed them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reload_limits(&self, account: AccountId) -> Result<(), StoreError> {
        self.news.fetch_add(1, Ordering::AcqRel);
        match self.table.account(account) {
            Some(_) => self.learn(&[account], |_| Vec::new()).await,
            None => Ok(()),
        }
    }

    /// Reads anew all that is known: notices may have been missed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reload_all(&self) -> Result<(), StoreError> {
        self.news.fetch_add(1, Ordering::AcqRel);
        for accounts in self.table.accounts().chunks(READING_ACCOUNTS_MAX) {
            self.learn(accounts, |_| Vec::new()).await?;
        }
        Ok(())
    }

    /// Reads anew the accounts whose queues are in use here: a notice may have been lost on its way.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let accounts: Vec<AccountId> = self.table.accounts_in_use().into_iter().collect();
        for accounts in accounts.chunks(READING_ACCOUNTS_MAX) {
            self.learn(accounts, |_| Vec::new()).await?;
        }
        Ok(())
    }

    /// Notes what the owner of a queue has told.
    pub async fn note_throttled(&self, queue: Queue, until_ms: i64) {
        self.news.fetch_add(1, Ordering::AcqRel);
        self.ask(|reply| Message::Throttled { queue, until_ms, reply }).await;
    }

    /// Drops the queues of shards that go to another host, once their windows are stored for it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was dropped, and it is to be tried again.
    pub async fn hand_over(&self, shards: &[Shard]) -> Result<(), StoreError> {
        let unsaved = self.ask(|reply| Message::Unsaved { shards: shards.to_vec(), reply }).await.unwrap_or_default();
        if !unsaved.is_empty() {
            self.database.snapshot_windows(&unsaved).await?;
        }
        self.forget(|shard| shards.contains(&shard)).await;
        Ok(())
    }

    /// Drops the queues of shards without a snapshot: their windows are somebody else's to write, or were until now.
    pub async fn forget(&self, is_meant: impl Fn(Shard) -> bool) {
        let queues = self.table.queues(is_meant);
        self.ask(|reply| Message::Forget { queues, reply }).await;
    }

    /// Reads the table. A queue that was not loaded is not held up here: its run is when it takes its permit.
    pub fn check(&self, queue: Queue) -> Permit {
        match self.table.standing(queue, self.clock.now_ms()) {
            Some(QueueStanding { wait, .. }) if !wait.is_zero() => Permit::Wait(wait),
            _ => Permit::Granted,
        }
    }

    /// How many instantiations the queue may make right now.
    pub fn permits(&self, queue: Queue) -> u32 {
        self.table.standing(queue, self.clock.now_ms()).map_or(u32::MAX, |standing| standing.permits())
    }

    /// Limits of accounts that have none of their own.
    pub fn defaults(&self) -> AccountLimits {
        self.config.defaults
    }

    /// What an operator has set for an account; the host's defaults while it is not known here. It is known while one of
    /// its queues is in use.
    pub fn limits(&self, account: AccountId) -> AccountLimits {
        self.table.account(account).map_or(self.config.defaults, |(limits, _)| limits)
    }

    /// Of how many parts the queue is one, when what an account may have is divided among its queues; at least 1.
    pub fn parts(&self, queue: Queue) -> u8 {
        share::at_least(queue, self.table.parts(queue.account).unwrap_or(1))
    }

    /// Where an account stands, as far as this host knows at once: by its own windows, or by what their owners have told.
    /// An account of several queues is throttled when all of them are.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing is known of the account yet, and the database did not answer.
    pub async fn standing(&self, account: AccountId) -> Result<Standing, StoreError> {
        if !self.is_known(account) {
            let own_queues = |stored: &HashMap<AccountId, StoredLimit>| {
                let spread = stored.get(&account).map_or(1, |stored| stored.spread);
                share::queues(account, spread).collect()
            };
            self.learn(&[account], own_queues).await?;
        }
        // What was just learned can have left the table by now only if the host was paused in between.
        let unlimited = Standing { limits: self.config.defaults, wait: Duration::ZERO, windows: None };
        Ok(self.known_standing(account).unwrap_or(unlimited))
    }

    /// Like [`Limiter::standing`], without asking the database. None: nothing is known of the account.
    pub fn known_standing(&self, account: AccountId) -> Option<Standing> {
        let (limits, spread) = self.table.account(account)?;
        let now_ms = self.clock.now_ms();
        let parts = share::queues(account, spread).map(|queue| {
            let own = self.own_standing(queue, now_ms);
            let told_ms = self.table.throttled_until_ms(queue).unwrap_or(0);
            (own, own.map_or(until(told_ms, now_ms), |own| own.wait))
        });
        Some(together(limits, parts))
    }

    /// Like [`Limiter::standing`], with the windows of all queues: those of other hosts as they have stored them, which is
    /// at most some seconds ago. Asks the database.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn look_up(&self, account: AccountId) -> Result<Standing, StoreError> {
        self.standing(account).await?;
        let stored = self.database.account_limit(account).await?;
        let (limits, spread) = (stored.limits.over(self.config.defaults), stored.spread);
        let now_ms = self.clock.now_ms();
        let divided = share::parts(account, spread, |queue| {
            self.table.has(queue) || share::is_in_use(queue, &stored, limits, now_ms)
        });
        let parts = share::queues(account, spread).map(|queue| {
            let StoredQueue { windows, throttled_until_ms, .. } =
                stored.queues.get(&queue.shard).copied().unwrap_or_default();
            let standing = self.own_standing(queue, now_ms).unwrap_or_else(|| {
                let told = QueueStanding::of(share::limits_of(queue, limits, divided), windows, now_ms);
                QueueStanding { wait: told.wait.max(until(throttled_until_ms, now_ms)), ..told }
            });
            (Some(standing), standing.wait)
        });
        Ok(together(limits, parts))
    }

    /// Whether the limits of the account are known here, and the windows of those of its queues that are this host's.
    fn is_known(&self, account: AccountId) -> bool {
        self.table
            .account(account)
            .is_some_and(|(_, spread)| !share::queues(account, spread).any(|queue| self.is_missing(queue)))
    }

    fn own_standing(&self, queue: Queue, now_ms: i64) -> Option<QueueStanding> {
        self.table.standing_under(queue, self.lease.epoch(queue.shard)?, now_ms)
    }

    /// What the table holds in memory.
    pub fn size(&self) -> TableSize {
        self.table.size()
    }

    /// What may take long of [`Self::take`]: reads the limits of the account, if they are not known yet.
    ///
    /// # Errors
    /// How long to wait, because the database did not answer.
    pub async fn prepare(&self, queue: Queue) -> Result<(), Duration> {
        self.load([queue]).await.map_err(|error| {
            tracing::warn!(account = %queue.account, %error, "the limits of an account were not read; its run waits");
            UNKNOWN_PAUSE
        })
    }

    /// Takes one permit, right before a module is instantiated.
    pub async fn take(&self, queue: Queue) -> Permit {
        if let Err(pause) = self.prepare(queue).await {
            return Permit::Wait(pause);
        }
        if !self.lease.epoch(queue.shard).is_some_and(|epoch| self.table.holds(queue, epoch)) {
            // The shard is another host's by now: what this run still does cannot be committed.
            return Permit::Wait(UNKNOWN_PAUSE);
        }
        if self.table.is_exact(queue) {
            return self.ask(|reply| Message::Take { queue, reply }).await.unwrap_or(Permit::Granted);
        }
        if let Permit::Wait(wait) = self.check(queue) {
            return Permit::Wait(wait);
        }
        match self.config.increment {
            IncrementMode::Call => {
                self.ask(|reply| Message::Increment { queue, reply: Some(reply) }).await;
            }
            IncrementMode::Cast => {
                // The manager ends only with the host.
                let _ = self.mailbox.send(Message::Increment { queue, reply: None }).await;
            }
        }
        Permit::Granted
    }

    /// Counts a module that another host has instantiated, if this host counts for the queue.
    pub async fn count(&self, queue: Queue) {
        if self.lease.epoch(queue.shard).is_some() && self.prepare(queue).await.is_ok() {
            self.ask(|reply| Message::Increment { queue, reply: Some(reply) }).await;
        }
    }

    /// None: the manager has ended, and with it the host.
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(message(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// From now until a time in Unix milliseconds; zero when it has passed.
fn until(until_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(until_ms.saturating_sub(now_ms).max(0).cast_unsigned())
}

/// An account by its queues: of each its windows, if they are known, and its wait. It may go on where the first of them
/// may.
fn together(limits: AccountLimits, parts: impl Iterator<Item = (Option<QueueStanding>, Duration)>) -> Standing {
    let (mut wait, mut windows, mut is_complete) = (None::<Duration>, None::<(WindowStanding, WindowStanding)>, true);
    for (standing, part_wait) in parts {
        wait = Some(wait.map_or(part_wait, |wait| wait.min(part_wait)));
        match standing {
            Some(QueueStanding { burst, long, .. }) => {
                let sum = windows.map(|(others_burst, others_long)| (burst.and(others_burst), long.and(others_long)));
                windows = Some(sum.unwrap_or((burst, long)));
            }
            None => is_complete = false,
        }
    }
    Standing { limits, wait: wait.unwrap_or_default(), windows: windows.filter(|_| is_complete) }
}
