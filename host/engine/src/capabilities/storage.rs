//! `trellis:plugin/storage`: named stores that a node was granted. Reads see committed state and this run's own writes;
//! writes are held back here until the call succeeds, and given to the caller to commit together with its completion.
//!
//! Committed state comes in through [`Storage`]. Grants, limits and the writes held back are this module's; what the
//! database does with them is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use trellis_model::{
    call_limits::CallLimits,
    description::check_name,
    grant::{Grants, StorageMode},
};
use wasmtime::component::{HasSelf, Linker};

use crate::{
    bindings::storage::{self as wit, Page, StorageError, WriteOptions},
    guest_state::GuestState,
};

/// Longest key, in bytes. Fits an index page of the database several times over.
pub const KEY_BYTES_MAX: usize = 512;
/// Keys of one page of `list`.
pub const LIST_KEYS_MAX: u32 = 1_000;
/// Keys whose versions one call may depend on. Bounds the check at the commit.
const READS_MAX: usize = 10_000;

/// State as a call finds it: committed, and under it the writes of earlier nodes of the same run.
#[async_trait::async_trait]
pub trait Storage: Send + Sync {
    /// # Errors
    /// The state cannot be read right now.
    async fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, StorageUnavailable>;

    /// At most `limit` keys that begin with `prefix` and come behind `after`, in byte order.
    ///
    /// # Errors
    /// The state cannot be read right now.
    async fn list(
        &self,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ListedKey>, StorageUnavailable>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    /// Of the committed value; 0 when the value is an uncommitted write of the same run.
    pub revision: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    pub key: String,
    /// As in [`Entry`].
    pub revision: u64,
}

/// Committed state cannot be read: worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage is not available: {0}")]
pub struct StorageUnavailable(pub String);

/// A committed version that the call's outcome rests on. If it is not the committed one any more when the call is to be
/// committed, the call is void. Of writes with `if-revision`, the expected revision is here too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadVersion {
    pub store: String,
    pub key: String,
    /// 0: the key was absent.
    pub revision: u64,
}

/// One write that waits for its commit; at most one per key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub store: String,
    pub key: String,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set {
        value: Vec<u8>,
        /// Milliseconds from the commit until the key vanishes.
        ttl_ms: Option<u64>,
    },
    Delete,
    /// Adds to a decimal integer, absent counting as 0. Commutes with other additions. What is committed was not read: if
    /// it is no integer, the commit must fail.
    Add {
        delta: i64,
    },
}

type Key = (String, String);

pub(crate) struct StorageAccess {
    storage: Arc<dyn Storage>,
    grants: Arc<Grants>,
    operations_max: u32,
    operations: u32,
    write_bytes_max: u64,
    write_bytes: u64,
    reads: BTreeMap<Key, u64>,
    writes: BTreeMap<Key, Change>,
}

impl StorageAccess {
    pub fn new(storage: Arc<dyn Storage>, grants: Arc<Grants>, limits: &CallLimits) -> Self {
        Self {
            storage,
            grants,
            operations_max: limits.storage_operations,
            operations: 0,
            write_bytes_max: limits.storage_write_bytes,
            write_bytes: 0,
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
        }
    }

    pub fn operations(&self) -> u32 {
        self.operations
    }

    /// What the call read and wrote, each sorted by store and key.
    pub fn into_effects(self) -> (Vec<ReadVersion>, Vec<Write>) {
        let reads = self.reads.into_iter().map(|((store, key), revision)| ReadVersion { store, key, revision });
        let writes = self.writes.into_iter().map(|((store, key), change)| Write { store, key, change });
        (reads.collect(), writes.collect())
    }

    /// Grant and operation count, before anything else is looked at.
    fn begin(&mut self, store: &str, needed: StorageMode) -> Result<(), StorageError> {
        match self.grants.storage_mode(store) {
            None => return Err(StorageError::Denied(not_granted(store, needed))),
            Some(granted) if granted < needed => {
                return Err(StorageError::Denied(format!(
                    "store `{store}` is granted for reading only; use \"{store}:rw\" in `grants.storage` of this node"
                )));
            }
            Some(_) => {}
        }
        if self.operations >= self.operations_max {
            return Err(StorageError::Limit(format!(
                "used up its limit of {} storage operations a call",
                self.operations_max
            )));
        }
        self.operations += 1;
        Ok(())
    }

    /// Notes the committed version that the outcome now rests on. The first one seen counts: should it have changed
    /// since, the commit finds out.
    fn note_read(&mut self, key: &Key, revision: u64) -> Result<(), StorageError> {
        if self.reads.len() >= READS_MAX && !self.reads.contains_key(key) {
            return Err(StorageError::Limit(format!("read more than {READS_MAX} keys")));
        }
        self.reads.entry(key.clone()).or_insert(revision);
        Ok(())
    }

    /// Reads committed state (and writes of earlier nodes), without this call's own writes.
    async fn committed(&mut self, key: &Key) -> Result<Option<Entry>, StorageError> {
        let entry = self.storage.get(&key.0, &key.1).await.map_err(|error| unavailable(&error))?;
        match &entry {
            // A write of an earlier node of this run: nobody else can change it before the commit.
            Some(entry) if entry.revision == 0 => {}
            Some(entry) => self.note_read(key, entry.revision)?,
            None => self.note_read(key, 0)?,
        }
        Ok(entry)
    }

    /// Refuses the write if the committed revision is not the one that the guest expects.
    async fn expect_revision(&mut self, key: &Key, expected: Option<u64>) -> Result<(), StorageError> {
        let Some(expected) = expected else { return Ok(()) };
        // With this run's own writes: a key that it has made is not absent any more.
        let is_expected = match self.read(key).await? {
            Some(entry) => entry.revision == expected && expected != 0,
            None => expected == 0,
        };
        if is_expected { Ok(()) } else { Err(StorageError::Conflict) }
    }

    fn hold(&mut self, key: Key, change: Change) -> Result<(), StorageError> {
        let freed = self.writes.get(&key).map_or(0, |before| write_bytes(&key, before));
        let total = self.write_bytes - freed + write_bytes(&key, &change);
        if total > self.write_bytes_max {
            return Err(StorageError::Limit(format!(
                "storage writes of {total} bytes, at most {} bytes a call are allowed",
                self.write_bytes_max
            )));
        }
        self.write_bytes = total;
        self.writes.insert(key, change);
        Ok(())
    }

    async fn read(&mut self, key: &Key) -> Result<Option<Entry>, StorageError> {
        match self.writes.get(key) {
            Some(Change::Set { value, .. }) => Ok(Some(Entry { value: value.clone(), revision: 0 })),
            Some(Change::Delete) => Ok(None),
            Some(&Change::Add { delta }) => {
                let before = self.committed(key).await?;
                let sum = add(before.as_ref().map(|entry| entry.value.as_slice()), delta)?;
                Ok(Some(Entry { value: sum, revision: 0 }))
            }
            None => self.committed(key).await,
        }
    }

    fn add_delta(&mut self, key: Key, delta: i64) -> Result<(), StorageError> {
        let change = match self.writes.get(&key) {
            None => Change::Add { delta },
            Some(Change::Add { delta: before }) => {
                let delta = before.checked_add(delta).ok_or_else(|| overflow(&before.to_string(), delta))?;
                Change::Add { delta }
            }
            Some(Change::Delete) => Change::Set { value: delta.to_string().into_bytes(), ttl_ms: None },
            Some(Change::Set { value, ttl_ms }) => Change::Set { value: add(Some(value), delta)?, ttl_ms: *ttl_ms },
        };
        self.hold(key, change)
    }

    /// A page of committed keys with this call's own writes laid over it.
    async fn page(&mut self, store: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, StorageError> {
        let listed = self.storage.list(store, prefix, after, limit).await.map_err(|error| unavailable(&error))?;
        let is_full = listed.len() >= limit as usize;
        for listed in &listed {
            if listed.revision != 0 {
                self.note_read(&(store.to_owned(), listed.key.clone()), listed.revision)?;
            }
        }
        let mut keys: BTreeSet<String> = listed.into_iter().map(|listed| listed.key).collect();
        // Behind the last committed key of a full page, own keys belong to a later page.
        let last = is_full.then(|| keys.last().cloned()).flatten();
        for (key, change) in own_writes(&self.writes, store, prefix, after) {
            if last.as_deref().is_some_and(|last| key > last) {
                break;
            }
            if *change == Change::Delete {
                keys.remove(key);
            } else {
                keys.insert(key.to_owned());
            }
        }
        // Own keys may make the page longer than it was asked to be: the rest comes with the next page.
        let cut: Vec<String> = keys.iter().take(limit as usize).cloned().collect();
        let next = if keys.len() > cut.len() { cut.last().cloned() } else { last };
        Ok(Page { keys: cut, next })
    }
}

/// Own writes with `prefix` behind `after`, in byte order.
fn own_writes<'a>(
    writes: &'a BTreeMap<Key, Change>,
    store: &str,
    prefix: &'a str,
    after: Option<&str>,
) -> impl Iterator<Item = (&'a str, &'a Change)> {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded((store.to_owned(), after.to_owned())),
        _ => Bound::Included((store.to_owned(), prefix.to_owned())),
    };
    let store = store.to_owned();
    writes
        .range((from, Bound::Unbounded))
        .take_while(move |((written, key), _)| *written == store && key.starts_with(prefix))
        .map(|((_, key), change)| (key.as_str(), change))
}

fn write_bytes(key: &Key, change: &Change) -> u64 {
    let value = match change {
        Change::Set { value, .. } => value.len(),
        Change::Delete | Change::Add { .. } => 8,
    };
    (key.0.len() + key.1.len() + value) as u64
}

/// The decimal text of `value` plus `delta`.
fn add(value: Option<&[u8]>, delta: i64) -> Result<Vec<u8>, StorageError> {
    let Some(value) = value else { return Ok(delta.to_string().into_bytes()) };
    let text = str::from_utf8(value).unwrap_or_default();
    let number: i64 =
        text.parse().map_err(|_| StorageError::Invalid("`add` needs a decimal integer of 64 bits".to_owned()))?;
    let sum = number.checked_add(delta).ok_or_else(|| overflow(text, delta))?;
    Ok(sum.to_string().into_bytes())
}

fn overflow(number: &str, delta: i64) -> StorageError {
    StorageError::Invalid(format!("{number} plus {delta} does not fit 64 bits"))
}

fn unavailable(error: &StorageUnavailable) -> StorageError {
    StorageError::Other(error.to_string())
}

fn not_granted(store: &str, needed: StorageMode) -> String {
    if let Err(reason) = check_name(store) {
        return format!("store name {reason}");
    }
    let mode = if needed == StorageMode::Read { "r" } else { "rw" };
    format!("store `{store}` is not granted; add \"{store}:{mode}\" to `grants.storage` of this node")
}

/// Keys are text without NUL, which the database could not hold.
fn check_key(store: String, key: String) -> Result<Key, StorageError> {
    let refused = if key.is_empty() {
        "is empty".to_owned()
    } else if key.len() > KEY_BYTES_MAX {
        format!("is {} bytes long, at most {KEY_BYTES_MAX} are allowed", key.len())
    } else if key.contains('\0') {
        "has a NUL character".to_owned()
    } else {
        return Ok((store, key));
    };
    Err(StorageError::Invalid(format!("the key {refused}")))
}

impl wit::Host for StorageAccess {
    async fn get(&mut self, store: String, key: String) -> Result<Option<wit::Entry>, StorageError> {
        self.begin(&store, StorageMode::Read)?;
        let entry = self.read(&check_key(store, key)?).await?;
        Ok(entry.map(|Entry { value, revision }| wit::Entry { value, revision }))
    }

    async fn set(
        &mut self,
        store: String,
        key: String,
        value: Vec<u8>,
        options: WriteOptions,
    ) -> Result<(), StorageError> {
        self.begin(&store, StorageMode::ReadWrite)?;
        let key = check_key(store, key)?;
        self.expect_revision(&key, options.if_revision).await?;
        self.hold(key, Change::Set { value, ttl_ms: options.ttl_ms })
    }

    async fn delete(&mut self, store: String, key: String) -> Result<(), StorageError> {
        self.begin(&store, StorageMode::ReadWrite)?;
        self.hold(check_key(store, key)?, Change::Delete)
    }

    async fn list(
        &mut self,
        store: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page, StorageError> {
        self.begin(&store, StorageMode::Read)?;
        if prefix.contains('\0') || after.as_deref().is_some_and(|after| after.contains('\0')) {
            return Err(StorageError::Invalid("the prefix or `after` has a NUL character".to_owned()));
        }
        self.page(&store, &prefix, after.as_deref(), limit.clamp(1, LIST_KEYS_MAX)).await
    }

    async fn add(&mut self, store: String, key: String, delta: i64) -> Result<(), StorageError> {
        self.begin(&store, StorageMode::ReadWrite)?;
        self.add_delta(check_key(store, key)?, delta)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<StorageAccess>>(linker, |state| &mut state.capabilities.storage)
}
