//! Transformers in memory, by digest: bounded, and each loaded once however many ask for it.
//!
//! Those that were not used for longest go first. One that is in use lives on until its last call ends.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::OnceCell;

use crate::{digest::Digest, transformer::Transformer};

pub(crate) struct Cache {
    slots: RwLock<HashMap<Digest, Arc<Slot>>>,
    /// Counts uses; a slot's number is the time of its latest use.
    uses: AtomicU64,
    count_max: usize,
    code_bytes_max: u64,
}

#[derive(Default)]
struct Slot {
    transformer: OnceCell<Arc<Transformer>>,
    used: AtomicU64,
}

impl Slot {
    fn code_bytes(&self) -> u64 {
        self.transformer.get().map_or(0, |transformer| transformer.code_bytes)
    }
}

impl Cache {
    pub fn new(count_max: usize, code_bytes_max: u64) -> Self {
        Self { slots: RwLock::default(), uses: AtomicU64::new(0), count_max, code_bytes_max }
    }

    /// The transformer of a digest; `load` is run by one of those who ask for it while it is not there. Should that one
    /// fail or be dropped, the next one loads.
    pub async fn get_or_load<F, E>(&self, digest: Digest, load: impl FnOnce() -> F) -> Result<Arc<Transformer>, E>
    where
        F: Future<Output = Result<Arc<Transformer>, E>>,
    {
        let slot = self.slot(digest);
        if let Some(transformer) = slot.transformer.get() {
            return Ok(Arc::clone(transformer));
        }
        // Whoever asks may give up while it waits: then, too, nothing empty stays behind.
        let waiting = Waiting { cache: self, digest, slot };
        let loaded = waiting.slot.transformer.get_or_try_init(load).await.cloned();
        if loaded.is_ok() {
            self.evict(digest);
        }
        loaded
    }

    /// Whether the transformer of a digest is there.
    pub fn has(&self, digest: Digest) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&digest).is_some_and(|slot| slot.transformer.initialized())
    }

    fn slot(&self, digest: Digest) -> Arc<Slot> {
        let now = self.uses.fetch_add(1, Relaxed);
        let found = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let slot = found.unwrap_or_else(|| {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(digest).or_default())
        });
        slot.used.store(now, Relaxed);
        slot
    }

    /// Makes room, but never by giving up `newest`.
    fn evict(&self, newest: Digest) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let mut code_bytes: u64 = slots.values().map(|slot| slot.code_bytes()).sum();
        let mut count = slots.values().filter(|slot| slot.transformer.initialized()).count();
        while count > self.count_max || code_bytes > self.code_bytes_max {
            let loaded = slots.iter().filter(|(digest, slot)| **digest != newest && slot.transformer.initialized());
            let Some(oldest) = loaded.min_by_key(|(_, slot)| slot.used.load(Relaxed)).map(|(digest, _)| *digest) else {
                return;
            };
            code_bytes -= slots.remove(&oldest).map_or(0, |slot| slot.code_bytes());
            count -= 1;
        }
    }

    /// A digest that cannot be loaded must not fill the cache, unless others are still trying.
    fn forget_failed(&self, digest: Digest, slot: &Arc<Slot>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        const MAP_AND_CALLER: usize = 2;
        if !slot.transformer.initialized() && Arc::strong_count(slot) <= MAP_AND_CALLER {
            slots.remove(&digest);
        }
    }
}

/// One who waits for a transformer to be loaded.
struct Waiting<'c> {
    cache: &'c Cache,
    digest: Digest,
    slot: Arc<Slot>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.slot.transformer.initialized() {
            self.cache.forget_failed(self.digest, &self.slot);
        }
    }
}
