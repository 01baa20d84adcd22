//! The limiter's table: windows as atomics, read by anyone, written by the manager alone.

use std::{
    sync::atomic::{AtomicI64, AtomicU32, Ordering},
    time::Duration,
};

use dashmap::DashMap;
use trellis_model::{
    AccountId, Shard,
    window::{AccountLimits, Window},
};
use trellis_store::limits::Windows;

use super::Standing;

#[derive(Debug, Default)]
pub(super) struct Table {
    accounts: DashMap<AccountId, Row>,
}

#[derive(Debug)]
struct Row {
    limits: AccountLimits,
    burst: AtomicWindow,
    long: AtomicWindow,
}

/// A window that is read while it is written. Start and count are two atomics: a reader between the two writes sees a
/// window that is off by one turn, which costs at most an overshoot that is carried over.
#[derive(Debug, Default)]
struct AtomicWindow {
    start_ms: AtomicI64,
    used: AtomicU32,
}

impl AtomicWindow {
    fn load(&self) -> Window {
        Window { start_ms: self.start_ms.load(Ordering::Acquire), used: self.used.load(Ordering::Acquire) }
    }

    fn store(&self, window: Window) {
        self.used.store(window.used, Ordering::Release);
        self.start_ms.store(window.start_ms, Ordering::Release);
    }
}

impl Table {
    pub(super) fn contains(&self, account: AccountId) -> bool {
        self.accounts.contains_key(&account)
    }

    pub(super) fn is_exact(&self, account: AccountId) -> bool {
        self.accounts.get(&account).is_some_and(|row| row.limits.exact)
    }

    pub(super) fn standing(&self, account: AccountId, now_ms: i64) -> Option<Standing> {
        let row = self.accounts.get(&account)?;
        let (burst, long) = (row.burst.load(), row.long.load());
        Some(Standing {
            limits: row.limits,
            burst_left: burst.permits(row.limits.burst, now_ms),
            long_left: long.permits(row.limits.long, now_ms),
            wait: burst.wait(row.limits.burst, now_ms).max(long.wait(row.limits.long, now_ms)),
        })
    }

    pub(super) fn accounts_of(&self, is_wanted: impl Fn(Shard) -> bool) -> Vec<AccountId> {
        self.accounts.iter().map(|row| *row.key()).filter(|account| is_wanted(Shard::of(*account))).collect()
    }

    // Only the manager calls what follows.

    pub(super) fn insert(&self, account: AccountId, limits: AccountLimits, windows: Windows) {
        let row = Row { limits, burst: AtomicWindow::default(), long: AtomicWindow::default() };
        row.burst.store(windows.burst);
        row.long.store(windows.long);
        self.accounts.insert(account, row);
    }

    pub(super) fn set_limits(&self, account: AccountId, limits: AccountLimits) {
        if let Some(mut row) = self.accounts.get_mut(&account) {
            row.limits = limits;
        }
    }

    pub(super) fn remove(&self, account: AccountId) -> Option<Windows> {
        self.accounts.remove(&account).map(|(_, row)| Windows { burst: row.burst.load(), long: row.long.load() })
    }

    pub(super) fn windows(&self, account: AccountId) -> Option<Windows> {
        self.accounts.get(&account).map(|row| Windows { burst: row.burst.load(), long: row.long.load() })
    }

    pub(super) fn add(&self, account: AccountId, now_ms: i64) {
        if let Some(row) = self.accounts.get(&account) {
            row.burst.store(row.burst.load().with_taken(row.limits.burst, 1, now_ms));
            row.long.store(row.long.load().with_taken(row.limits.long, 1, now_ms));
        }
    }

    /// Check and take in one step.
    pub(super) fn take(&self, account: AccountId, now_ms: i64) -> Result<(), Duration> {
        match self.standing(account, now_ms) {
            Some(standing) if !standing.wait.is_zero() => Err(standing.wait),
            _ => {
                self.add(account, now_ms);
                Ok(())
            }
        }
    }
}
