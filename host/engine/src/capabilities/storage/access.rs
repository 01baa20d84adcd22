//! What one call has read and written so far, under its grants and limits.

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

use super::{Change, Entry, ReadVersion, Storage, StorageUnavailable, Write};
use crate::bindings::storage::{Page, StorageError};

/// Store and key.
pub(crate) type Key = (String, String);

/// A change that waits for its commit.
struct Held {
    change: Change,
    /// Counts the writes of the call: tells whether a key was written again.
    number: u64,
}

pub(crate) struct StorageAccess {
    storage: Arc<dyn Storage>,
    grants: Arc<Grants>,
    limits: CallLimits,
    operations: u32,
    write_bytes: u64,
    /// Writes made so far, those included that later ones have replaced.
    write_count: u64,
    reads: BTreeMap<Key, u64>,
    writes: BTreeMap<Key, Held>,
}

impl StorageAccess {
    pub fn new(storage: Arc<dyn Storage>, grants: Arc<Grants>, limits: &CallLimits) -> Self {
        Self {
            storage,
            grants,
            limits: *limits,
            operations: 0,
            write_bytes: 0,
            write_count: 0,
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
        let writes = self.writes.into_iter().map(|((store, key), held)| Write { store, key, change: held.change });
        (reads.collect(), writes.collect())
    }

    /// Whether the node may use this store in this way at all.
    pub fn check_grant(&self, store: &str, needed: StorageMode) -> Result<(), StorageError> {
        match self.grants.storage_mode(store) {
            None => Err(StorageError::Denied(not_granted(store, needed))),
            Some(granted) if granted < needed => Err(StorageError::Denied(format!(
                "store `{store}` is granted for reading only; use \"{store}:rw\" in `grants.storage` of this node"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Grant, operation count and key, before anything else is looked at.
    pub fn begin(&mut self, store: String, key: String, needed: StorageMode) -> Result<Key, StorageError> {
        self.check_grant(&store, needed)?;
        self.count_operation()?;
        let refused = if key.is_empty() { Some("is empty".to_owned()) } else { self.text_fault(&key) };
        match refused {
            Some(fault) => Err(StorageError::Invalid(format!("the key {fault}"))),
            None => Ok((store, key)),
        }
    }

    /// The same for a list.
    pub fn begin_list(&mut self, store: &str, prefix: &str, after: Option<&str>) -> Result<(), StorageError> {
        self.check_grant(store, StorageMode::Read)?;
        self.count_operation()?;
        let fault = |what: &str, fault: String| StorageError::Invalid(format!("{what} {fault}"));
        if let Some(found) = self.text_fault(prefix) {
            return Err(fault("the prefix", found));
        }
        match after.and_then(|after| self.text_fault(after)) {
            Some(found) => Err(fault("`after`", found)),
            None => Ok(()),
        }
    }

    fn count_operation(&mut self) -> Result<(), StorageError> {
        if self.operations >= self.limits.storage_operations {
            return Err(StorageError::Limit(format!(
                "used up its limit of {} storage operations a call",
                self.limits.storage_operations
            )));
        }
        self.operations += 1;
        Ok(())
    }

    /// Keys are text without NUL, which the database could not hold, and not too long for its index.
    fn text_fault(&self, text: &str) -> Option<String> {
        let longest = self.limits.storage_key_bytes;
        if text.len() > longest as usize {
            return Some(format!("is {} bytes long, at most {longest} are allowed", text.len()));
        }
        text.contains('\0').then(|| "has a NUL character".to_owned())
    }

    /// A time to live is some time, and none that the database cannot tell any more.
    pub fn check_ttl(&self, ttl_ms: Option<u64>) -> Result<(), StorageError> {
        let longest = self.limits.storage_ttl_ms;
        match ttl_ms {
            Some(ttl_ms) if ttl_ms == 0 || ttl_ms > longest => Err(StorageError::Invalid(format!(
                "a time to live of {ttl_ms} ms: from 1 ms to {longest} ms is allowed; leave it out for a key that stays"
            ))),
            _ => Ok(()),
        }
    }

    /// Notes the committed version that the outcome now rests on. The first one seen counts: should it have changed
    /// since, the commit finds out.
    fn note_read(&mut self, key: &Key, revision: u64) -> Result<(), StorageError> {
        let most = self.limits.storage_reads;
        if self.reads.len() >= most as usize && !self.reads.contains_key(key) {
            return Err(StorageError::Limit(format!("used up its limit of {most} keys read a call")));
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
    pub async fn expect_revision(&mut self, key: &Key, expected: Option<u64>) -> Result<(), StorageError> {
        let Some(expected) = expected else { return Ok(()) };
        // With this run's own writes: a key that it has made is not absent any more.
        let is_expected = match self.read(key).await? {
            Some(entry) => entry.revision == expected && expected != 0,
            None => expected == 0,
        };
        if is_expected { Ok(()) } else { Err(StorageError::Conflict) }
    }

    pub fn hold(&mut self, key: Key, change: Change) -> Result<(), StorageError> {
        let before = self.writes.get(&key);
        if before.is_none() && self.writes.len() >= self.limits.storage_writes as usize {
            return Err(StorageError::Limit(format!(
                "used up its limit of {} keys written a call",
                self.limits.storage_writes
            )));
        }
        let freed = before.map_or(0, |before| write_bytes(&key, &before.change));
        let total = self.write_bytes - freed + write_bytes(&key, &change);
        if total > self.limits.storage_write_bytes {
            return Err(StorageError::Limit(format!(
                "storage writes of {total} bytes, at most {} bytes a call are allowed",
                self.limits.storage_write_bytes
            )));
        }
        self.write_bytes = total;
        self.write_count += 1;
        self.writes.insert(key, Held { change, number: self.write_count });
        Ok(())
    }

    /// Which write of this call the key has now; 0: none of them. Changes whenever the call writes the key.
    pub fn write_number(&self, key: &Key) -> u64 {
        self.writes.get(key).map_or(0, |held| held.number)
    }

    /// Adds to an integer and tells the sum. Unlike [`StorageAccess::add_delta`] this depends on what was there, which
    /// therefore counts as read.
    pub async fn increment(&mut self, key: Key, delta: i64) -> Result<i64, StorageError> {
        let before = self.read(&key).await?;
        let sum = add(before.as_ref().map(|entry| entry.value.as_slice()), delta)?;
        self.add_delta(key, delta)?;
        let sum = str::from_utf8(&sum).ok().and_then(|sum| sum.parse().ok());
        sum.ok_or_else(|| StorageError::Other("the sum is no integer of 64 bits".to_owned()))
    }

    /// Most bytes of values that one request for many of them may be answered with.
    pub fn batch_bytes_max(&self) -> u64 {
        self.limits.storage_batch_bytes
    }

    pub async fn read(&mut self, key: &Key) -> Result<Option<Entry>, StorageError> {
        match self.writes.get(key).map(|held| &held.change) {
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

    pub fn add_delta(&mut self, key: Key, delta: i64) -> Result<(), StorageError> {
        let change = match self.writes.get(&key).map(|held| &held.change) {
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

    /// A page of at most `limit` committed keys, fewer if the host's limit is lower, with this call's own writes laid over it.
    pub async fn page(
        &mut self,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page, StorageError> {
        let limit = limit.clamp(1, self.limits.storage_page_keys.max(1));
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
    writes: &'a BTreeMap<Key, Held>,
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
        .map(|((_, key), held)| (key.as_str(), &held.change))
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
