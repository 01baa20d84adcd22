//! The limiter: how many module instantiations each account may still make.
//!
//! A table that any task reads without asking anyone, and one manager task that alone writes it. Reading before a write
//! lands can overshoot; the overshoot is carried into the next window, so that the long-run rate holds. An account with
//! `exact` limits is checked by the manager itself.

mod manager;
mod table;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, Shard, window::AccountLimits};
use trellis_store::{Database, StoreError};

use self::{
    manager::{Manager, Message},
    table::Table,
};
use crate::clock::Clock;

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

/// What an account has left, for the HTTP edge.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub limits: AccountLimits,
    pub burst_left: u32,
    pub long_left: u32,
    /// Zero while permits are left.
    pub wait: Duration,
}

/// Messages that may wait for the manager.
const MAILBOX_MESSAGES: usize = 4_096;

/// Handle to the limiter; cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter {
    table: Arc<Table>,
    mailbox: mpsc::Sender<Message>,
    database: Database,
    config: LimiterConfig,
    clock: Clock,
}

impl Limiter {
    /// Starts the manager; it ends, with a last snapshot, when `stop` is cancelled.
    pub fn start(
        database: Database,
        config: LimiterConfig,
        clock: Clock,
        stop: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let table = Arc::new(Table::default());
        let (mailbox, messages) = mpsc::channel(MAILBOX_MESSAGES);
        let manager = Manager::new(Arc::clone(&table), database.clone(), clock.clone());
        let task = tokio::spawn(manager.run(messages, stop));
        (Self { table, mailbox, database, config, clock }, task)
    }

    /// Brings accounts into the table: their limits, and their windows as the last owner left them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn load(&self, accounts: impl IntoIterator<Item = AccountId>) -> Result<(), StoreError> {
        let missing: Vec<AccountId> = accounts.into_iter().filter(|account| !self.table.contains(*account)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut stored = self.database.account_limits(&missing).await?;
        for account in missing {
            let stored = stored.remove(&account).unwrap_or_default();
            let limits = stored.limits.unwrap_or(self.config.defaults);
            self.ask(|reply| Message::Load { account, limits, windows: stored.windows, reply }).await;
        }
        Ok(())
    }

    /// Reads the account's limits anew, after an operator changed them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reload_limits(&self, account: AccountId) -> Result<(), StoreError> {
        if self.table.contains(account) {
            let limits = self.database.account_limit(account).await?.limits.unwrap_or(self.config.defaults);
            self.ask(|reply| Message::SetLimits { account, limits, reply }).await;
        }
        Ok(())
    }

    /// Drops the accounts of shards that go to another host, with a last snapshot for it.
    pub async fn hand_over(&self, shards: &[Shard]) {
        let accounts = self.table.accounts_of(|shard| shards.contains(&shard));
        self.ask(|reply| Message::Evict { accounts, snapshot: true, reply }).await;
    }

    /// Drops the accounts of shards without a snapshot: their windows are somebody else's to write, or were until now.
    pub async fn forget(&self, is_meant: impl Fn(Shard) -> bool) {
        let accounts = self.table.accounts_of(is_meant);
        self.ask(|reply| Message::Evict { accounts, snapshot: false, reply }).await;
    }

    /// Reads the table. An account that was never loaded is not held up here: its owner holds it.
    pub fn check(&self, account: AccountId) -> Permit {
        match self.standing(account) {
            Some(standing) if !standing.wait.is_zero() => Permit::Wait(standing.wait),
            _ => Permit::Granted,
        }
    }

    /// How many instantiations the account may make right now.
    pub fn permits(&self, account: AccountId) -> u32 {
        self.standing(account).map_or(u32::MAX, |standing| standing.burst_left.min(standing.long_left))
    }

    pub fn standing(&self, account: AccountId) -> Option<Standing> {
        self.table.standing(account, self.clock.now_ms())
    }

    /// Takes one permit, right before a module is instantiated.
    pub async fn take(&self, account: AccountId) -> Permit {
        if self.table.is_exact(account) {
            return self.ask(|reply| Message::Take { account, reply }).await.unwrap_or(Permit::Granted);
        }
        if let Permit::Wait(wait) = self.check(account) {
            return Permit::Wait(wait);
        }
        match self.config.increment {
            IncrementMode::Call => {
                self.ask(|reply| Message::Increment { account, reply: Some(reply) }).await;
            }
            IncrementMode::Cast => {
                // The manager ends only with the host.
                let _ = self.mailbox.send(Message::Increment { account, reply: None }).await;
            }
        }
        Permit::Granted
    }

    /// None: the manager has ended, and with it the host.
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(message(reply)).await.ok()?;
        answer.await.ok()
    }
}
