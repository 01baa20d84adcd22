//! The limiter's manager: the one task that writes the table, and keeps a snapshot of it in the database.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, window::AccountLimits};
use trellis_store::{Database, limits::Windows};

use super::{Permit, table::Table};
use crate::clock::Clock;

pub(super) enum Message {
    /// Brings an account into the table, unless it is there already.
    Load {
        account: AccountId,
        limits: AccountLimits,
        windows: Option<Windows>,
        reply: oneshot::Sender<()>,
    },
    SetLimits {
        account: AccountId,
        limits: AccountLimits,
        reply: oneshot::Sender<()>,
    },
    Increment {
        account: AccountId,
        reply: Option<oneshot::Sender<()>>,
    },
    Take {
        account: AccountId,
        reply: oneshot::Sender<Permit>,
    },
    Evict {
        accounts: Vec<AccountId>,
        snapshot: bool,
        reply: oneshot::Sender<()>,
    },
}

/// After kill -9 at most this much of the counts is forgotten.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct Manager {
    table: Arc<Table>,
    database: Database,
    clock: Clock,
    /// Accounts whose windows changed since their last snapshot.
    dirty: HashSet<AccountId>,
    /// The snapshot being written, if one is: the manager itself never waits for the database.
    writing: Option<JoinHandle<()>>,
}

impl Manager {
    pub(super) fn new(table: Arc<Table>, database: Database, clock: Clock) -> Self {
        Self { table, database, clock, dirty: HashSet::new(), writing: None }
    }

    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>, stop: CancellationToken) {
        let mut snapshots = tokio::time::interval(SNAPSHOT_INTERVAL);
        snapshots.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(message) = messages.recv() => self.handle(message).await,
                _ = snapshots.tick() => self.start_snapshot(),
                () = stop.cancelled() => break,
            }
        }
        self.finish().await;
    }

    async fn handle(&mut self, message: Message) {
        // Whoever asked may have gone meanwhile: a reply that nobody hears is no error.
        match message {
            Message::Load { account, limits, windows, reply } => {
                if !self.table.contains(account) {
                    self.table.insert(account, limits, windows.unwrap_or_default());
                }
                let _ = reply.send(());
            }
            Message::SetLimits { account, limits, reply } => {
                self.table.set_limits(account, limits);
                let _ = reply.send(());
            }
            Message::Increment { account, reply } => {
                self.table.add(account, self.clock.now_ms());
                self.dirty.insert(account);
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
            }
            Message::Take { account, reply } => {
                let permit = match self.table.take(account, self.clock.now_ms()) {
                    Ok(()) => Permit::Granted,
                    Err(wait) => Permit::Wait(wait),
                };
                self.dirty.insert(account);
                let _ = reply.send(permit);
            }
            Message::Evict { accounts, snapshot, reply } => {
                self.evict(accounts, snapshot).await;
                let _ = reply.send(());
            }
        }
    }

    async fn evict(&mut self, accounts: Vec<AccountId>, with_snapshot: bool) {
        if let Some(writing) = self.writing.take() {
            // An older snapshot must not land after this one.
            let _ = writing.await;
        }
        let mut snapshot = Vec::new();
        for account in accounts {
            let windows = self.table.remove(account);
            if self.dirty.remove(&account) {
                snapshot.extend(windows.map(|windows| (account, windows)));
            }
        }
        if with_snapshot {
            write(self.database.clone(), snapshot).await;
        }
    }

    fn start_snapshot(&mut self) {
        if self.dirty.is_empty() || self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let snapshot = self.take_dirty();
        self.writing = Some(tokio::spawn(write(self.database.clone(), snapshot)));
    }

    fn take_dirty(&mut self) -> Vec<(AccountId, Windows)> {
        let table = &self.table;
        self.dirty.drain().filter_map(|account| table.windows(account).map(|windows| (account, windows))).collect()
    }

    async fn finish(mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        let snapshot = self.take_dirty();
        write(self.database.clone(), snapshot).await;
    }
}

/// A snapshot that fails is made up for by the next one: its accounts will be dirty again soon, or have rested so long
/// that their windows have turned.
async fn write(database: Database, snapshot: Vec<(AccountId, Windows)>) {
    if snapshot.is_empty() {
        return;
    }
    if let Err(error) = database.snapshot_windows(&snapshot).await {
        tracing::warn!(accounts = snapshot.len(), %error, "the limiter's snapshot was not written");
    }
}
