//! The limiter's table: windows as atomics, and what is known of accounts; read by anyone, written by the manager alone.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicI64, AtomicU32, Ordering},
    time::Duration,
};

use dashmap::DashMap;
use trellis_model::{
    AccountId, Queue, Shard,
    window::{AccountLimits, Window},
};
use trellis_store::limits::Windows;

use super::standing::WindowStanding;

#[derive(Debug, Default)]
pub(super) struct Table {
    /// The windows of this host's own queues, as far as they are in use.
    queues: DashMap<Queue, Row>,
    /// Accounts whose events this host accepts or whose jobs it runs, whoever owns their queues. One that has a row in
    /// `queues` is always here.
    accounts: DashMap<AccountId, Known>,
}

/// The windows of one queue.
#[derive(Debug)]
pub(super) struct Row {
    /// The queue's share of its account's limits.
    limits: AccountLimits,
    /// The epoch that its shard is held under: in another one these windows are somebody else's.
    epoch: i64,
    burst: AtomicWindow,
    long: AtomicWindow,
    /// When it came here, or something was taken last; Unix milliseconds.
    touched_ms: AtomicI64,
}

impl Row {
    pub(super) fn new(limits: AccountLimits, epoch: i64, windows: Windows, now_ms: i64) -> Self {
        let row = Self {
            limits,
            epoch,
            burst: AtomicWindow::default(),
            long: AtomicWindow::default(),
            touched_ms: AtomicI64::new(now_ms),
        };
        row.store(windows);
        row
    }

    fn windows(&self) -> Windows {
        Windows { burst: self.burst.load(), long: self.long.load() }
    }

    fn store(&self, windows: Windows) {
        self.burst.store(windows.burst);
        self.long.store(windows.long);
    }
}

/// What is known of an account on any host.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Of the whole account.
    pub limits: AccountLimits,
    pub spread: u8,
    /// Into how many parts its limits are divided; at least `spread`.
    pub parts: u8,
    /// What the owners of its queues have told, in Unix milliseconds.
    pub throttled_until_ms: HashMap<Shard, i64>,
    /// When this was read from the database.
    pub learned_ms: i64,
}

/// What the table holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize {
    /// Queues whose windows are here.
    pub queues: usize,
    /// Accounts whose limits are known.
    pub accounts: usize,
}

/// A window that is read while it is written. Its parts are atomics of their own: a reader between two writes sees a
/// window that is off by one turn, which costs at most an overshoot that is carried over.
#[derive(Debug, Default)]
struct AtomicWindow {
    start_ms: AtomicI64,
    used: AtomicU32,
    previous: AtomicU32,
}

impl AtomicWindow {
    fn load(&self) -> Window {
        Window {
            start_ms: self.start_ms.load(Ordering::Acquire),
            used: self.used.load(Ordering::Acquire),
            previous: self.previous.load(Ordering::Acquire),
        }
    }

    fn store(&self, window: Window) {
        self.previous.store(window.previous, Ordering::Release);
        self.used.store(window.used, Ordering::Release);
        self.start_ms.store(window.start_ms, Ordering::Release);
    }
}

/// Where one queue stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueStanding {
    pub burst: WindowStanding,
    pub long: WindowStanding,
    /// Zero while permits are left.
    pub wait: Duration,
}

impl QueueStanding {
    pub(super) fn of(limits: AccountLimits, windows: Windows, now_ms: i64) -> Self {
        let burst = WindowStanding::of(windows.burst, limits.burst_rule(), now_ms);
        let long = WindowStanding::of(windows.long, limits.long_rule(), now_ms);
        Self { burst, long, wait: burst.wait.max(long.wait) }
    }

    pub(super) fn permits(&self) -> u32 {
        self.burst.left.min(self.long.left)
    }
}

impl Table {
    /// Whether the queue's windows are here, under this epoch.
    pub(super) fn holds(&self, queue: Queue, epoch: i64) -> bool {
        self.queues.get(&queue).is_some_and(|row| row.epoch == epoch)
    }

    /// Whether the queue's windows are here, under whatever epoch.
    pub(super) fn has(&self, queue: Queue) -> bool {
        self.queues.contains_key(&queue)
    }

    pub(super) fn is_exact(&self, queue: Queue) -> bool {
        self.queues.get(&queue).is_some_and(|row| row.limits.exact)
    }

    /// Where the queue stands, if its windows are here under this epoch.
    pub(super) fn standing_under(&self, queue: Queue, epoch: i64, now_ms: i64) -> Option<QueueStanding> {
        let row = self.queues.get(&queue).filter(|row| row.epoch == epoch)?;
        Some(QueueStanding::of(row.limits, row.windows(), now_ms))
    }

    pub(super) fn standing(&self, queue: Queue, now_ms: i64) -> Option<QueueStanding> {
        let row = self.queues.get(&queue)?;
        Some(QueueStanding::of(row.limits, row.windows(), now_ms))
    }

    /// The limits and the spread of an account, if they are known here.
    pub(super) fn account(&self, account: AccountId) -> Option<(AccountLimits, u8)> {
        self.accounts.get(&account).map(|known| (known.limits, known.spread))
    }

    /// Into how many parts the limits of an account are divided, if that is known here.
    pub(super) fn parts(&self, account: AccountId) -> Option<u8> {
        self.accounts.get(&account).map(|known| known.parts)
    }

    /// Until when the queue's owner has told that it is throttled; Unix milliseconds.
    pub(super) fn throttled_until_ms(&self, queue: Queue) -> Option<i64> {
        self.accounts.get(&queue.account)?.throttled_until_ms.get(&queue.shard).copied()
    }

    /// The epoch and the windows of a queue.
    pub(super) fn windows(&self, queue: Queue) -> Option<(i64, Windows)> {
        self.queues.get(&queue).map(|row| (row.epoch, row.windows()))
    }

    pub(super) fn accounts(&self) -> Vec<AccountId> {
        self.accounts.iter().map(|known| *known.key()).collect()
    }

    /// The accounts of the queues whose windows are here.
    pub(super) fn accounts_in_use(&self) -> HashSet<AccountId> {
        self.queues.iter().map(|row| row.key().account).collect()
    }

    pub(super) fn queues(&self, is_wanted: impl Fn(Shard) -> bool) -> Vec<Queue> {
        self.queues.iter().map(|row| *row.key()).filter(|queue| is_wanted(queue.shard)).collect()
    }

    /// How many queues and how many accounts are held in memory.
    pub(super) fn size(&self) -> TableSize {
        TableSize { queues: self.queues.len(), accounts: self.accounts.len() }
    }

    // Only the manager calls what follows.

    pub(super) fn insert(&self, queue: Queue, row: Row) {
        self.queues.insert(queue, row);
    }

    pub(super) fn remove(&self, queue: Queue) {
        self.queues.remove(&queue);
    }

    /// Whether the limits are other ones than before.
    pub(super) fn set_limits(&self, queue: Queue, limits: AccountLimits, now_ms: i64) -> bool {
        let Some(mut row) = self.queues.get_mut(&queue) else { return false };
        let former = std::mem::replace(&mut row.limits, limits);
        if former == limits {
            return false;
        }
        let Windows { burst, long } = row.windows();
        row.store(Windows {
            burst: burst.under(former.burst, limits.burst, now_ms),
            long: long.under(former.long, limits.long, now_ms),
        });
        true
    }

    /// Counts one, and says where the queue stands then. None: its windows are not here.
    pub(super) fn add(&self, queue: Queue, now_ms: i64) -> Option<QueueStanding> {
        let row = self.queues.get(&queue)?;
        let windows = row.windows();
        let windows = Windows {
            burst: windows.burst.with_taken(row.limits.burst, 1, now_ms),
            long: windows.long.with_taken(row.limits.long, 1, now_ms),
        };
        row.store(windows);
        row.touched_ms.store(now_ms, Ordering::Relaxed);
        Some(QueueStanding::of(row.limits, windows, now_ms))
    }

    /// Queues that nothing was taken from since then.
    pub(super) fn untouched_since(&self, then_ms: i64) -> Vec<Queue> {
        let is_idle = |row: &Row| row.touched_ms.load(Ordering::Relaxed) < then_ms;
        self.queues.iter().filter(|row| is_idle(row.value())).map(|row| *row.key()).collect()
    }

    pub(super) fn learn(&self, account: AccountId, known: Known) {
        self.accounts.insert(account, known);
    }

    pub(super) fn note_throttle(&self, queue: Queue, until_ms: i64) {
        if let Some(mut known) = self.accounts.get_mut(&queue.account) {
            known.throttled_until_ms.insert(queue.shard, until_ms);
        }
    }

    /// Forgets what was read of accounts before then, but for those of which a queue is in use: until they were read again
    /// their runs would be held to the defaults.
    pub(super) fn unlearn_before(&self, then_ms: i64) {
        let in_use = self.accounts_in_use();
        self.accounts.retain(|account, known| known.learned_ms >= then_ms || in_use.contains(account));
    }
}
