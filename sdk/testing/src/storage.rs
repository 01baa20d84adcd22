//! Fake storage: committed state in memory, to which a successful call's writes are committed as a host would do it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use trellis_engine::{Change, Entry, ListedKey, Storage, StorageUnavailable, Write};

#[derive(Default)]
pub(crate) struct FakeStorage(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    entries: BTreeMap<(String, String), Entry>,
    revision: u64,
}

impl State {
    fn set(&mut self, store: String, key: String, value: Vec<u8>) {
        self.revision += 1;
        self.entries.insert((store, key), Entry { value, revision: self.revision });
    }
}

impl FakeStorage {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another storage with the same in it.
    pub fn copy(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }

    pub fn set(&self, store: &str, key: &str, value: Vec<u8>) {
        self.lock().set(store.to_owned(), key.to_owned(), value);
    }

    pub fn value(&self, store: &str, key: &str) -> Option<Vec<u8>> {
        let key = (store.to_owned(), key.to_owned());
        self.lock().entries.get(&key).map(|entry| entry.value.clone())
    }

    /// Commits what a call wrote. All or nothing: an addition to what is no number voids it.
    ///
    /// # Errors
    /// Why a host would not have committed it.
    pub fn commit(&self, writes: &[Write]) -> Result<(), String> {
        let mut state = self.lock();
        let sums = writes.iter().filter_map(|write| match write.change {
            Change::Add { delta } => Some(sum(&state, write, delta)),
            Change::Set { .. } | Change::Delete => None,
        });
        let sums: Vec<i64> = sums.collect::<Result<_, _>>()?;
        let mut sums = sums.into_iter();
        for Write { store, key, change } in writes.iter().cloned() {
            match change {
                Change::Set { value, .. } => state.set(store, key, value),
                Change::Delete => _ = state.entries.remove(&(store, key)),
                Change::Add { .. } => {
                    let sum = sums.next().expect("one sum for each addition");
                    state.set(store, key, sum.to_string().into_bytes());
                }
            }
        }
        Ok(())
    }
}

fn sum(state: &State, write: &Write, delta: i64) -> Result<i64, String> {
    let Some(entry) = state.entries.get(&(write.store.clone(), write.key.clone())) else { return Ok(delta) };
    let text = String::from_utf8_lossy(&entry.value);
    text.parse::<i64>().ok().and_then(|number| number.checked_add(delta)).ok_or_else(|| {
        format!(
            "cannot add {delta} to `{text}` in store `{}`, key `{}`: a host would not commit this call",
            write.store, write.key
        )
    })
}

#[async_trait::async_trait]
impl Storage for FakeStorage {
    async fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, StorageUnavailable> {
        Ok(self.lock().entries.get(&(store.to_owned(), key.to_owned())).cloned())
    }

    async fn list(
        &self,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ListedKey>, StorageUnavailable> {
        let state = self.lock();
        let matching = state.entries.iter().filter(|((name, key), _)| {
            name == store && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
        });
        let listed = matching.map(|((_, key), entry)| ListedKey { key: key.clone(), revision: entry.revision });
        Ok(listed.take(limit as usize).collect())
    }
}
