//! The wall clock as the operator sees it: the database's time, so that hosts with odd clocks agree on windows.
//!
//! Between two looks at the database it runs by the monotonic clock: setting this machine's clock changes nothing. Leases
//! are guarded by the monotonic clock alone; see [`crate::lease`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Unix time in milliseconds, as the database tells it.
#[derive(Clone, Debug)]
pub struct Clock {
    began: Instant,
    /// Unix milliseconds at `began`.
    began_ms: Arc<AtomicI64>,
}

impl Default for Clock {
    /// This machine's time, until the database was asked.
    fn default() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Self { began: Instant::now(), began_ms: Arc::new(AtomicI64::new(began_ms)) }
    }
}

impl Clock {
    pub fn now_ms(&self) -> i64 {
        self.began_ms.load(Ordering::Relaxed).saturating_add(self.elapsed_ms())
    }

    /// Notes what the database's clock says; asked with every renewal of the lease.
    pub fn synchronise(&self, database_now_ms: i64) {
        self.began_ms.store(database_now_ms.saturating_sub(self.elapsed_ms()), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
