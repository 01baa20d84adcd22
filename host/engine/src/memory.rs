//! Memory and table limits of one call, added up over everything in its store, and charged to a budget of the whole host.
//!
//! A growth over the limit is refused (`memory.grow` answers -1), which a guest may survive; what was refused is kept, so
//! that a trap that follows can be explained.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use wasmtime::ResourceLimiter;

/// Core instances in one component: a dynamically linked Python has a dozen.
pub(crate) const CORE_INSTANCES_MAX: u32 = 64;
/// Linear memories in one component: one, and one more for each component composed into it.
pub(crate) const MEMORIES_MAX: u32 = 4;
/// Tables in one component: two for each component composed into it.
pub(crate) const TABLES_MAX: u32 = 8;

/// Linear memory of all running guests together.
#[derive(Debug)]
pub(crate) struct HostMemory {
    used_bytes: AtomicU64,
    max_bytes: u64,
}

impl HostMemory {
    pub fn new(max_bytes: u64) -> Self {
        Self { used_bytes: AtomicU64::new(0), max_bytes }
    }

    fn reserve(&self, bytes: u64) -> bool {
        let within = |used: u64| used.checked_add(bytes).filter(|total| *total <= self.max_bytes);
        self.used_bytes.try_update(Relaxed, Relaxed, within).is_ok()
    }

    fn release(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Relaxed);
    }

    #[cfg(test)]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Relaxed)
    }
}

/// Which limit a guest ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Memory,
    HostMemory,
    Table,
}

/// Counts one store's memories and tables. Gives the memory back to the host when dropped.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    host: Arc<HostMemory>,
    max_bytes: u64,
    used_bytes: u64,
    peak_bytes: u64,
    table_elements: usize,
    table_elements_max: usize,
    /// Of the last growth allowed, in case it fails.
    last_growth_bytes: u64,
    refused: Option<Refused>,
}

impl MemoryLimiter {
    pub fn new(host: Arc<HostMemory>, max_bytes: u64, table_elements_max: usize) -> Self {
        Self {
            host,
            max_bytes,
            used_bytes: 0,
            peak_bytes: 0,
            table_elements: 0,
            table_elements_max,
            last_growth_bytes: 0,
            refused: None,
        }
    }

    /// The most memory that the store had at one time, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The limit that refused the latest growth, if any did.
    pub fn refused(&self) -> Option<Refused> {
        self.refused
    }

    fn refuse(&mut self, by: Refused) -> bool {
        self.refused = Some(by);
        false
    }

    fn grow(&mut self, bytes: u64) -> bool {
        if self.used_bytes.saturating_add(bytes) > self.max_bytes {
            return self.refuse(Refused::Memory);
        }
        if !self.host.reserve(bytes) {
            return self.refuse(Refused::HostMemory);
        }
        self.used_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
        self.last_growth_bytes = bytes;
        true
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.last_growth_bytes = 0;
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        let bytes = std::mem::take(&mut self.last_growth_bytes);
        self.used_bytes -= bytes;
        self.host.release(bytes);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        if elements > self.table_elements_max {
            return Ok(self.refuse(Refused::Table));
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.table_elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.host.release(self.used_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 65_536;
    const TABLE_ELEMENTS_MAX: usize = 100;

    fn limiter(host: &Arc<HostMemory>, pages: u64) -> MemoryLimiter {
        MemoryLimiter::new(Arc::clone(host), pages * PAGE as u64, TABLE_ELEMENTS_MAX)
    }

    fn grow(limiter: &mut MemoryLimiter, from: usize, to: usize) -> bool {
        limiter.memory_growing(from * PAGE, to * PAGE, None).expect("never a trap")
    }

    #[test]
    fn memories_of_one_store_are_added_up() {
        let host = Arc::new(HostMemory::new(u64::MAX));
        let mut limiter = limiter(&host, 4);
        assert!(grow(&mut limiter, 0, 2));
        assert!(grow(&mut limiter, 0, 2));
        assert!(!grow(&mut limiter, 2, 3));
        assert_eq!(limiter.refused(), Some(Refused::Memory));
        assert_eq!(limiter.peak_bytes(), 4 * PAGE as u64);
    }

    #[test]
    fn the_host_budget_is_shared_and_given_back() {
        let host = Arc::new(HostMemory::new(3 * PAGE as u64));
        let mut first = limiter(&host, 4);
        let mut second = limiter(&host, 4);
        assert!(grow(&mut first, 0, 2));
        assert!(!grow(&mut second, 0, 2));
        assert_eq!(second.refused(), Some(Refused::HostMemory));
        drop(first);
        assert!(grow(&mut second, 0, 2));
        drop(second);
        assert_eq!(host.used_bytes(), 0);
    }

    #[test]
    fn a_failed_growth_is_not_charged() {
        let host = Arc::new(HostMemory::new(u64::MAX));
        let mut limiter = limiter(&host, 4);
        assert!(grow(&mut limiter, 0, 4));
        limiter.memory_grow_failed(wasmtime::Error::msg("no room")).expect("not a trap");
        assert_eq!(host.used_bytes(), 0);
        assert!(grow(&mut limiter, 0, 4));
    }

    #[test]
    fn tables_of_one_store_are_added_up() {
        let host = Arc::new(HostMemory::new(u64::MAX));
        let mut limiter = limiter(&host, 4);
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX, None).expect("never a trap"));
        assert!(!limiter.table_growing(0, 1, None).expect("never a trap"));
        assert_eq!(limiter.refused(), Some(Refused::Table));
    }
}
