//! Stores in memory, with the host's semantics: writes wait for [`super::commit`], and revisions belong to what is committed.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::storage::{Entry, Error, Page, WriteOptions};

use super::with_state;

/// As in the host.
const KEY_BYTES_MAX: usize = 512;
/// As in the host: 3,650 days.
const TTL_MS_MAX: u64 = 3_650 * 86_400_000;

type Keys<T> = BTreeMap<(String, String), T>;

#[derive(Debug, Default)]
pub(super) struct StorageState {
    committed: Keys<Committed>,
    pending: Keys<Option<Pending>>,
    last_revision: u64,
    now: Duration,
}

#[derive(Clone, Debug)]
struct Committed {
    value: Vec<u8>,
    revision: u64,
    expires_at: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Pending {
    value: Vec<u8>,
    lifetime: Lifetime,
}

#[derive(Clone, Copy, Debug)]
enum Lifetime {
    Endless,
    /// From the commit on.
    For(Duration),
    /// Whatever the committed value has: an addition changes the value alone.
    AsBefore,
}

impl StorageState {
    pub(super) fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, Error> {
        let at = address(store, key)?;
        Ok(match self.pending.get(&at) {
            Some(pending) => pending.as_ref().map(|write| Entry { value: write.value.clone(), revision: 0 }),
            None => self.living(&at).map(|entry| Entry { value: entry.value.clone(), revision: entry.revision }),
        })
    }

    pub(super) fn set(&mut self, store: &str, key: &str, value: &[u8], options: WriteOptions) -> Result<(), Error> {
        let at = address(store, key)?;
        if let Some(ttl_ms) = options.ttl_ms.filter(|ttl_ms| !(1..=TTL_MS_MAX).contains(ttl_ms)) {
            let bounds = format!("from 1 ms to {TTL_MS_MAX} ms is allowed; leave it out for a key that stays");
            return Err(Error::Invalid(format!("a time to live of {ttl_ms} ms: {bounds}")));
        }
        self.expect_revision(store, key, options.if_revision)?;
        let lifetime = options.ttl_ms.map_or(Lifetime::Endless, |ttl_ms| Lifetime::For(Duration::from_millis(ttl_ms)));
        self.pending.insert(at, Some(Pending { value: value.into(), lifetime }));
        Ok(())
    }

    /// As in the host: with own writes, so that a key that was made here is not absent any more, and has no revision yet.
    fn expect_revision(&self, store: &str, key: &str, expected: Option<u64>) -> Result<(), Error> {
        let Some(expected) = expected else { return Ok(()) };
        let is_expected = match self.get(store, key)? {
            Some(entry) => entry.revision == expected && expected != 0,
            None => expected == 0,
        };
        if is_expected { Ok(()) } else { Err(Error::Conflict) }
    }

    pub(super) fn delete(&mut self, store: &str, key: &str) -> Result<(), Error> {
        self.pending.insert(address(store, key)?, None);
        Ok(())
    }

    pub(super) fn add(&mut self, store: &str, key: &str, delta: i64) -> Result<(), Error> {
        let before = match self.get(store, key)? {
            Some(entry) => integer(&entry.value)?,
            None => 0,
        };
        let out_of_range = || Error::Invalid(format!("{before} plus {delta} does not fit 64 bits"));
        let sum = before.checked_add(delta).ok_or_else(out_of_range)?;
        let at = address(store, key)?;
        let lifetime = match self.pending.get(&at) {
            Some(Some(write)) => write.lifetime,
            Some(None) => Lifetime::Endless,
            None => Lifetime::AsBefore,
        };
        self.pending.insert(at, Some(Pending { value: sum.to_string().into_bytes(), lifetime }));
        Ok(())
    }

    pub(super) fn list(&self, store: &str, prefix: &str, after: Option<&str>, limit: u32) -> Page {
        let limit = limit.max(1) as usize;
        let mut keys = self.keys(store);
        keys.retain(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        let more = keys.len() > limit;
        keys.truncate(limit);
        let next = if more { keys.last().cloned() } else { None };
        Page { keys, next }
    }

    pub(super) fn advance(&mut self, duration: Duration) {
        self.now += duration;
    }

    fn keys(&self, store: &str) -> Vec<String> {
        let committed = self.committed.keys().filter(|at| self.living(at).is_some() && !self.pending.contains_key(*at));
        let pending = self.pending.iter().filter(|(_, write)| write.is_some()).map(|(at, _)| at);
        let mut keys: Vec<String> =
            committed.chain(pending).filter(|(name, _)| name == store).map(|(_, key)| key.clone()).collect();
        keys.sort();
        keys
    }

    fn living(&self, at: &(String, String)) -> Option<&Committed> {
        self.committed.get(at).filter(|entry| entry.expires_at.is_none_or(|end| self.now < end))
    }

    pub(super) fn rollback(&mut self) {
        self.pending.clear();
    }

    pub(super) fn commit(&mut self) {
        for (at, write) in std::mem::take(&mut self.pending) {
            let Some(Pending { value, lifetime }) = write else {
                self.committed.remove(&at);
                continue;
            };
            self.last_revision += 1;
            let expires_at = match lifetime {
                Lifetime::Endless => None,
                Lifetime::For(ttl) => self.now.checked_add(ttl),
                Lifetime::AsBefore => self.living(&at).and_then(|entry| entry.expires_at),
            };
            self.committed.insert(at, Committed { value, revision: self.last_revision, expires_at });
        }
    }
}

fn address(store: &str, key: &str) -> Result<(String, String), Error> {
    let refused = if key.is_empty() {
        "is empty".to_owned()
    } else if key.len() > KEY_BYTES_MAX {
        format!("is {} bytes long, at most {KEY_BYTES_MAX} are allowed", key.len())
    } else if key.contains('\0') {
        "has a NUL character".to_owned()
    } else {
        return Ok((store.into(), key.into()));
    };
    Err(Error::Invalid(format!("the key {refused}")))
}

fn integer(value: &[u8]) -> Result<i64, Error> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::Invalid("`add` needs a decimal integer of 64 bits".into()))
}

/// A store as the test sees it: to fill it beforehand and to look into it afterwards.
///
/// ```
/// use trellis_sdk::{fake, storage};
///
/// fake::storage("visits").put("ann", "1");
/// assert_eq!(storage::store("visits").get("ann")?.as_deref(), Some(&b"1"[..]));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn storage(name: impl Into<String>) -> StorageFake {
    StorageFake { name: name.into() }
}

/// A store of this thread; see [`storage()`].
///
/// ```
/// use trellis_sdk::{fake, storage};
///
/// storage::store("visits").set("ann", "1")?;
/// assert_eq!(fake::storage("visits").keys(), ["ann"]);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StorageFake {
    name: String,
}

impl StorageFake {
    /// Puts a committed value there.
    ///
    /// ```
    /// use trellis_sdk::{fake, storage};
    ///
    /// fake::storage("visits").put("ann", "1");
    /// assert_ne!(storage::store("visits").entry("ann")?.unwrap().revision, 0, "it is committed");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        with_state(|state| {
            let storage = &mut state.storage;
            storage.last_revision += 1;
            let committed =
                Committed { value: value.as_ref().into(), revision: storage.last_revision, expires_at: None };
            storage.committed.insert((self.name.clone(), key.into()), committed);
        });
    }

    /// Puts a committed JSON text there.
    ///
    /// ```
    /// use trellis_sdk::{fake, storage};
    ///
    /// fake::storage("visits").put_json("ann", &[1, 2]);
    /// assert_eq!(storage::store("visits").get_json::<Vec<u8>>("ann")?, Some(vec![1, 2]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the value cannot be written as JSON.
    pub fn put_json(&self, key: &str, value: &(impl Serialize + ?Sized)) {
        self.put(key, serde_json::to_vec(value).expect("a test's value can be written as JSON"));
    }

    /// What a transformer would read there now, its own uncommitted writes included.
    ///
    /// ```
    /// use trellis_sdk::{fake, storage};
    ///
    /// storage::store("visits").set("ann", "1")?;
    /// assert_eq!(fake::storage("visits").get("ann").as_deref(), Some(&b"1"[..]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        with_state(|state| state.storage.get(&self.name, key)).ok().flatten().map(|entry| entry.value)
    }

    /// Like [`StorageFake::get`], decoded from JSON.
    ///
    /// ```
    /// use trellis_sdk::{fake, storage};
    ///
    /// storage::store("visits").set_json("ann", &1)?;
    /// assert_eq!(fake::storage("visits").get_json("ann"), Some(1));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the value does not fit `T`.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.get(key)
            .map(|value| serde_json::from_slice(&value).expect("the stored value has the type that the test expects"))
    }

    /// The keys that a transformer would list there now.
    ///
    /// ```
    /// use trellis_sdk::{fake, storage};
    ///
    /// storage::store("visits").set("ann", "1")?;
    /// assert_eq!(fake::storage("visits").keys(), ["ann"]);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn keys(&self) -> Vec<String> {
        with_state(|state| state.storage.keys(&self.name))
    }
}
