//! Storage as the nodes of one run see it: committed state, and over it the writes of this run's earlier nodes. And what else
//! of a run waits for its commit: the events that it has emitted.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use trellis_engine::{Change, Entry, ListedKey, Storage, StorageUnavailable};
use trellis_model::{AccountId, ProjectId};
use trellis_store::{
    Database, StoreError,
    commit::{Effects, ReadVersion, Write, WriteKind},
    jobs::NewJob,
};

use super::records::{self, CallRecords, RecordOverlay, RecordsSnapshot};

/// Store and key.
type Key = (String, String);

/// What waits to be written, by key. Of a copy of it keys and values are shared.
type Overlay = BTreeMap<Arc<Key>, Vec<WriteKind>>;

/// Effects of a run's nodes that are not committed yet.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    effects: Effects,
    /// The writes among them, for those who read. Calls that are under way keep it as they found it.
    overlay: Arc<Overlay>,
    record_overlay: Arc<RecordOverlay>,
    /// Writes of this run that were here and are committed by now.
    writes_committed: usize,
    /// The same of writes of records.
    record_writes_committed: usize,
}

/// A node's reads were overtaken by another node of the same run.
#[derive(Debug, PartialEq, Eq)]
pub struct Overtaken;

impl Pending {
    pub fn take(&mut self) -> Effects {
        self.writes_committed += self.effects.writes.len();
        self.record_writes_committed += self.effects.record_writes.len();
        (self.overlay, self.record_overlay) = Default::default();
        std::mem::take(&mut self.effects)
    }

    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    /// A view for one call, and the mark by which [`Pending::merge`] knows what the call could see.
    pub fn snapshot(&self) -> Snapshot {
        let writes_seen = self.writes_committed + self.effects.writes.len();
        Snapshot { overlay: Arc::clone(&self.overlay), writes_committed: self.writes_committed, writes_seen }
    }

    /// The same for records.
    pub fn records_snapshot(&self) -> RecordsSnapshot {
        let seen = self.record_writes_committed + self.effects.record_writes.len();
        RecordsSnapshot::new(Arc::clone(&self.record_overlay), self.record_writes_committed, seen)
    }

    /// Adds what a call has read and written of stores and records: all of it, or nothing.
    ///
    /// # Errors
    /// As of [`Pending::merge`], for both.
    pub fn merge_all(
        &mut self,
        storage: &CallStorage,
        records: &CallRecords,
        effects: &trellis_engine::Effects,
    ) -> Result<(), Overtaken> {
        let (writes, committed) = (&self.effects.record_writes, self.record_writes_committed);
        if records.snapshot.is_overtaken(writes, committed, &records.take_overlaid(), &effects.record_reads) {
            return Err(Overtaken);
        }
        self.merge(&storage.snapshot, storage.take_overlaid_reads(), effects)?;
        self.effects.record_reads.extend(records.snapshot.committed_reads(&effects.record_reads));
        if !effects.record_writes.is_empty() {
            let overlay = Arc::make_mut(&mut self.record_overlay);
            for write in effects.record_writes.iter().map(records::write) {
                overlay.insert(Arc::new((write.collection.clone(), write.key.clone())), write.data.clone());
                self.effects.record_writes.push(write);
            }
        }
        Ok(())
    }

    /// Adds what a call has emitted, once what it has read and written is merged.
    pub fn emit(&mut self, events: Vec<NewJob>) {
        self.effects.events.extend(events);
    }

    /// Adds what a call has read and written.
    ///
    /// # Errors
    /// A node that ran at the same time wrote what this call had read, or what it had read of earlier nodes was committed
    /// meanwhile and may have been changed by others since: the call's effects are void.
    fn merge(
        &mut self,
        snapshot: &Snapshot,
        overlaid: OverlaidReads,
        effects: &trellis_engine::Effects,
    ) -> Result<(), Overtaken> {
        let later = &self.effects.writes[snapshot.writes_seen.saturating_sub(self.writes_committed)..];
        let written_since: HashSet<(&str, &str)> =
            later.iter().map(|write| (write.store.as_str(), write.key.as_str())).collect();
        let overlay_is_committed = snapshot.writes_committed != self.writes_committed && !overlaid.keys.is_empty();
        let overtaken = overlay_is_committed
            || effects.reads.iter().any(|read| written_since.contains(&(read.store.as_str(), read.key.as_str())))
            || overlaid.keys.iter().any(|(store, key)| written_since.contains(&(store.as_str(), key.as_str())));
        if overtaken {
            return Err(Overtaken);
        }
        self.effects.reads.extend(overlaid.committed);
        for read in &effects.reads {
            // What an earlier node of this run has written or deleted was no committed version.
            if !snapshot.hides_committed(&read.store, &read.key) {
                self.effects.reads.push(ReadVersion {
                    store: read.store.clone(),
                    key: read.key.clone(),
                    version: read.revision.cast_signed(),
                });
            }
        }
        if !effects.writes.is_empty() {
            let overlay = Arc::make_mut(&mut self.overlay);
            for write in effects.writes.iter().map(write) {
                let key = Arc::new((write.store.clone(), write.key.clone()));
                overlay.entry(key).or_default().push(write.kind.clone());
                self.effects.writes.push(write);
            }
        }
        Ok(())
    }
}

fn write(write: &trellis_engine::Write) -> Write {
    let kind = match &write.change {
        Change::Set { value, ttl_ms } => {
            WriteKind::Put { value: value.as_slice().into(), ttl: ttl_ms.map(Duration::from_millis) }
        }
        Change::Delete => WriteKind::Delete,
        Change::Add { delta } => WriteKind::Add(*delta),
    };
    Write { store: write.store.clone(), key: write.key.clone(), kind }
}

/// The uncommitted writes that one call sees.
#[derive(Clone, Debug)]
pub struct Snapshot {
    overlay: Arc<Overlay>,
    /// Of the run's writes until then: how many were committed, and how many there were in all.
    writes_committed: usize,
    writes_seen: usize,
}

impl Snapshot {
    fn writes(&self, store: &str, key: &str) -> &[WriteKind] {
        self.overlay.get(&(store.to_owned(), key.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Whether the committed value of a key cannot be seen through the overlay.
    fn hides_committed(&self, store: &str, key: &str) -> bool {
        self.writes(store, key).iter().any(|write| !matches!(write, WriteKind::Add(_)))
    }
}

/// What one call has read through the overlay, of which the engine sees no committed version.
#[derive(Debug, Default)]
pub struct OverlaidReads {
    /// Every such key: another node of the run may write it at the same time.
    keys: HashSet<Key>,
    /// Committed versions that lay under uncommitted additions.
    committed: Vec<ReadVersion>,
}

/// The storage of one call.
pub struct CallStorage {
    database: Database,
    account: AccountId,
    project: ProjectId,
    pub snapshot: Snapshot,
    overlaid_reads: Mutex<OverlaidReads>,
    /// The database was away when something was asked of it.
    is_database_away: AtomicBool,
}

impl CallStorage {
    pub fn new(database: Database, account: AccountId, project: ProjectId, snapshot: Snapshot) -> Self {
        let (overlaid_reads, is_database_away) = (Mutex::default(), AtomicBool::new(false));
        Self { database, account, project, snapshot, overlaid_reads, is_database_away }
    }

    /// Whether the call missed something because the database was away: that is no failure of the node.
    pub fn is_database_away(&self) -> bool {
        self.is_database_away.load(Ordering::Relaxed)
    }

    /// Notes why the database gave no answer.
    pub fn note_failure(&self, error: &StoreError) {
        if error.is_unavailable() {
            self.is_database_away.store(true, Ordering::Relaxed);
        }
    }

    fn unavailable(&self, error: &StoreError) -> StorageUnavailable {
        self.note_failure(error);
        StorageUnavailable(error.to_string())
    }

    pub fn take_overlaid_reads(&self) -> OverlaidReads {
        self.with_overlaid_reads(std::mem::take)
    }

    fn with_overlaid_reads<T>(&self, change: impl FnOnce(&mut OverlaidReads) -> T) -> T {
        change(&mut self.overlaid_reads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn committed(&self, store: &str, key: &str) -> Result<Option<Entry>, StorageUnavailable> {
        let entry = self
            .database
            .entry(self.account, self.project, store, key)
            .await
            .map_err(|error| self.unavailable(&error))?;
        Ok(entry.map(|entry| Entry { value: entry.value, revision: entry.version.cast_unsigned() }))
    }

    /// Lays uncommitted writes over what is committed.
    async fn overlaid(
        &self,
        store: &str,
        key: &str,
        writes: &[WriteKind],
    ) -> Result<Option<Entry>, StorageUnavailable> {
        self.with_overlaid_reads(|reads| reads.keys.insert((store.to_owned(), key.to_owned())));
        let mut value = if self.snapshot.hides_committed(store, key) {
            None
        } else {
            let base = self.committed(store, key).await?;
            let version = base.as_ref().map_or(0, |entry| entry.revision.cast_signed());
            let read = ReadVersion { store: store.to_owned(), key: key.to_owned(), version };
            self.with_overlaid_reads(|reads| reads.committed.push(read));
            base.map(|entry| entry.value)
        };
        for write in writes {
            value = match write {
                WriteKind::Put { value, .. } => Some(value.to_vec()),
                WriteKind::Delete => None,
                WriteKind::Add(delta) => Some(sum(value.as_deref(), *delta)?),
            };
        }
        Ok(value.map(|value| Entry { value, revision: 0 }))
    }
}

fn sum(value: Option<&[u8]>, delta: i64) -> Result<Vec<u8>, StorageUnavailable> {
    let number = match value {
        None => Some(0),
        Some(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()),
    };
    let sum = number.and_then(|number| number.checked_add(delta));
    let sum =
        sum.ok_or_else(|| StorageUnavailable("an earlier node of this run added to what is no integer".to_owned()))?;
    Ok(sum.to_string().into_bytes())
}

#[async_trait]
impl Storage for CallStorage {
    async fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, StorageUnavailable> {
        match self.snapshot.writes(store, key) {
            [] => self.committed(store, key).await,
            writes => self.overlaid(store, key, writes).await,
        }
    }

    async fn list(
        &self,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ListedKey>, StorageUnavailable> {
        // Deleted keys are taken out again, so as many more are asked for.
        let own: Vec<(&str, bool)> = self.own_keys(store, prefix, after);
        let deleted = own.iter().filter(|(_, exists)| !exists).count();
        let asked = i64::from(limit) + i64::try_from(deleted).unwrap_or(0);
        let committed = self
            .database
            .keys(self.account, self.project, store, prefix, after, asked)
            .await
            .map_err(|error| self.unavailable(&error))?;
        let mut keys: BTreeMap<String, u64> =
            committed.into_iter().map(|(key, version)| (key, version.cast_unsigned())).collect();
        for (key, exists) in own {
            if exists {
                keys.insert(key.to_owned(), 0);
            } else {
                keys.remove(key);
            }
            self.with_overlaid_reads(|reads| reads.keys.insert((store.to_owned(), key.to_owned())));
        }
        Ok(keys.into_iter().take(limit as usize).map(|(key, revision)| ListedKey { key, revision }).collect())
    }
}

impl CallStorage {
    /// Keys in the overlay with a prefix, behind `after`, and whether they exist there.
    fn own_keys<'s>(&'s self, store: &'s str, prefix: &'s str, after: Option<&'s str>) -> Vec<(&'s str, bool)> {
        self.snapshot
            .overlay
            .iter()
            .filter(|(at, _)| {
                at.0 == store && at.1.starts_with(prefix) && after.is_none_or(|after| at.1.as_str() > after)
            })
            .map(|(at, writes)| (at.1.as_str(), !matches!(writes.last(), Some(WriteKind::Delete))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(reads: &[(&str, u64)], writes: &[(&str, i64)]) -> trellis_engine::Effects {
        let read = |(key, revision): &(&str, u64)| trellis_engine::ReadVersion {
            store: "s".to_owned(),
            key: (*key).to_owned(),
            revision: *revision,
        };
        let write = |(key, value): &(&str, i64)| trellis_engine::Write {
            store: "s".to_owned(),
            key: (*key).to_owned(),
            change: Change::Set { value: value.to_string().into_bytes(), ttl_ms: None },
        };
        trellis_engine::Effects {
            emissions: Vec::new(),
            reads: reads.iter().map(read).collect(),
            writes: writes.iter().map(write).collect(),
            record_reads: Vec::new(),
            record_writes: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn a_parallel_node_that_read_what_another_wrote_is_overtaken() {
        let mut pending = Pending::default();
        let (left, right) = (pending.snapshot(), pending.snapshot());
        pending.merge(&left, OverlaidReads::default(), &effects(&[("a", 3)], &[("a", 4)])).expect("the first");
        assert_eq!(pending.merge(&right, OverlaidReads::default(), &effects(&[("a", 3)], &[("a", 5)])), Err(Overtaken));
        assert_eq!(pending.merge(&right, OverlaidReads::default(), &effects(&[("b", 1)], &[("c", 5)])), Ok(()));
    }

    /// What a call notes that has read the key `a` as an earlier node had written it.
    fn overlaid_a() -> OverlaidReads {
        OverlaidReads { keys: HashSet::from([("s".to_owned(), "a".to_owned())]), committed: Vec::new() }
    }

    #[test]
    fn a_parallel_node_that_read_an_earlier_ones_write_is_overtaken_as_well() {
        let mut pending = Pending::default();
        pending.merge(&pending.snapshot(), OverlaidReads::default(), &effects(&[], &[("a", 1)])).expect("the first");
        let (left, right) = (pending.snapshot(), pending.snapshot());
        pending.merge(&left, overlaid_a(), &effects(&[], &[("a", 2)])).expect("the second");
        assert_eq!(pending.merge(&right, overlaid_a(), &effects(&[], &[("a", 2)])), Err(Overtaken));
    }

    #[test]
    fn a_commit_point_does_not_hide_what_was_written_since() {
        let mut pending = Pending::default();
        pending.merge(&pending.snapshot(), OverlaidReads::default(), &effects(&[], &[("a", 1)])).expect("the first");
        let slow = pending.snapshot();
        pending.take();
        pending.merge(&pending.snapshot(), OverlaidReads::default(), &effects(&[], &[("b", 1)])).expect("the second");
        assert_eq!(pending.merge(&slow, OverlaidReads::default(), &effects(&[("b", 0)], &[])), Err(Overtaken));
        assert_eq!(pending.merge(&slow, OverlaidReads::default(), &effects(&[("c", 0)], &[])), Ok(()));
        // What it read of the first node is committed by now, and no longer this run's alone.
        assert_eq!(pending.merge(&slow, overlaid_a(), &effects(&[], &[])), Err(Overtaken));
    }

    #[test]
    fn calls_under_way_share_what_waits_to_be_written() {
        let mut pending = Pending::default();
        pending.merge(&pending.snapshot(), OverlaidReads::default(), &effects(&[], &[("a", 1)])).expect("the first");
        let before = pending.snapshot();
        pending.merge(&pending.snapshot(), OverlaidReads::default(), &effects(&[], &[("b", 2)])).expect("the second");
        let after = pending.snapshot();
        assert!(before.writes("s", "b").is_empty() && !after.writes("s", "b").is_empty());
        let value = |snapshot: &Snapshot| match snapshot.writes("s", "a") {
            [WriteKind::Put { value, .. }] => Arc::clone(value),
            other => panic!("{other:?}"),
        };
        assert!(Arc::ptr_eq(&value(&before), &value(&after)));
        pending.take();
        assert!(pending.snapshot().writes("s", "a").is_empty(), "it is read from the database now");
    }

    #[test]
    fn a_later_node_that_read_an_earlier_ones_write_depends_on_no_committed_version() {
        let mut pending = Pending::default();
        pending.merge(&pending.snapshot(), OverlaidReads::default(), &effects(&[], &[("a", 4)])).expect("the first");
        pending
            .merge(&pending.snapshot(), OverlaidReads::default(), &effects(&[("a", 0)], &[("a", 5)]))
            .expect("the second");
        assert!(pending.effects().reads.is_empty());
        assert_eq!(pending.effects().writes.len(), 2);
    }
}
