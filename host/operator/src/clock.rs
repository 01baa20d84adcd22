//! The wall clock as the operator sees it: the database's time, so that hosts with odd clocks agree on windows.
//!
//! Leases are guarded by the monotonic clock instead; see [`crate::lease`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Unix time in milliseconds, corrected by the offset to the database's clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    pub fn now_ms(&self) -> i64 {
        system_now_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Notes what the database's clock says; asked with every renewal of the lease.
    pub fn synchronise(&self, database_now_ms: i64) {
        self.offset_ms.store(database_now_ms.saturating_sub(system_now_ms()), Ordering::Relaxed);
    }
}

fn system_now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
