//! Records as the nodes of one run see them: committed ones, and over them the writes of this run's earlier nodes.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use trellis_engine::{FoundPage, FoundRecord, PageSize, Record, Records, RecordsFailed, laid_over};
use trellis_model::{AccountId, ProjectId, records::Query};
use trellis_store::{
    Database, StoreError,
    commit::{RecordVersion, RecordWrite},
    records::query::{QueryAnswer, RecordPageSize},
};

use super::storage::CallStorage;

/// Collection and key.
type At = (String, String);

/// Records that wait to be written: JSON text; none: deleted. Of a copy of it keys and texts are shared.
pub type RecordOverlay = BTreeMap<Arc<At>, Option<Arc<str>>>;

/// The uncommitted writes that one call sees.
#[derive(Clone, Debug, Default)]
pub struct RecordsSnapshot {
    overlay: Arc<RecordOverlay>,
    /// Of the run's writes until then: how many were committed, and how many there were in all.
    committed: usize,
    seen: usize,
}

impl RecordsSnapshot {
    /// `committed`: how many of the run's writes were; `seen`: how many there are with those that wait.
    pub fn new(overlay: Arc<RecordOverlay>, committed: usize, seen: usize) -> Self {
        Self { overlay, committed, seen }
    }

    /// Whether another node of the run has written since what the call has read, or what it has read of earlier nodes was
    /// committed meanwhile and may have been changed by others.
    pub fn is_overtaken(
        &self,
        writes: &[RecordWrite],
        committed: usize,
        overlaid: &HashSet<At>,
        reads: &[trellis_engine::RecordVersion],
    ) -> bool {
        if self.committed != committed && !overlaid.is_empty() {
            return true;
        }
        let since = &writes[self.seen.saturating_sub(committed)..];
        let since: HashSet<(&str, &str)> =
            since.iter().map(|write| (write.collection.as_str(), write.key.as_str())).collect();
        reads.iter().any(|read| since.contains(&(read.collection.as_str(), read.key.as_str())))
            || overlaid.iter().any(|(collection, key)| since.contains(&(collection.as_str(), key.as_str())))
    }

    /// What of the call's reads was committed: not what an earlier node of this run has written or deleted.
    pub fn committed_reads<'r>(
        &'r self,
        reads: &'r [trellis_engine::RecordVersion],
    ) -> impl Iterator<Item = RecordVersion> + 'r {
        let is_committed = |read: &&trellis_engine::RecordVersion| {
            !self.overlay.contains_key(&(read.collection.clone(), read.key.clone()))
        };
        reads.iter().filter(is_committed).map(|read| RecordVersion {
            collection: read.collection.clone(),
            key: read.key.clone(),
            version: read.revision.cast_signed(),
        })
    }

    /// Uncommitted writes of one collection.
    fn of_collection<'s>(&'s self, collection: &'s str) -> impl Iterator<Item = (&'s str, Option<&'s str>)> {
        self.overlay
            .range::<At, _>((collection.to_owned(), String::new())..)
            .take_while(move |(at, _)| at.0 == collection)
            .map(|(at, data)| (at.1.as_str(), data.as_deref()))
    }
}

/// As a commit takes it.
pub fn write(write: &trellis_engine::RecordWrite) -> RecordWrite {
    RecordWrite {
        collection: write.collection.clone(),
        key: write.key.clone(),
        data: write.json.as_deref().map(Arc::from),
    }
}

/// The records of one call.
pub struct CallRecords {
    database: Database,
    account: AccountId,
    project: ProjectId,
    pub snapshot: RecordsSnapshot,
    /// What the call has read through the overlay, of which the engine sees no committed version: another node of the run may
    /// write it at the same time.
    overlaid: Mutex<HashSet<At>>,
    /// Told when the database is away.
    storage: Arc<CallStorage>,
}

impl CallRecords {
    pub fn new(
        database: Database,
        account: AccountId,
        project: ProjectId,
        snapshot: RecordsSnapshot,
        storage: Arc<CallStorage>,
    ) -> Self {
        Self { database, account, project, snapshot, overlaid: Mutex::default(), storage }
    }

    pub fn take_overlaid(&self) -> HashSet<At> {
        std::mem::take(&mut self.overlaid.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note_overlaid(&self, collection: &str, key: &str) {
        let at = (collection.to_owned(), key.to_owned());
        self.overlaid.lock().unwrap_or_else(PoisonError::into_inner).insert(at);
    }

    fn unavailable(&self, error: &StoreError) -> RecordsFailed {
        self.storage.note_failure(error);
        RecordsFailed::Unavailable(error.to_string())
    }
}

#[async_trait]
impl Records for CallRecords {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Record>, RecordsFailed> {
        if let Some(data) = self.snapshot.overlay.get(&(collection.to_owned(), key.to_owned())) {
            self.note_overlaid(collection, key);
            return Ok(data.as_ref().map(|json| Record { json: json.to_string(), revision: 0 }));
        }
        let found = self.database.record(self.account, self.project, collection, key).await;
        let found = found.map_err(|error| self.unavailable(&error))?;
        Ok(found.map(|found| Record { json: found.data, revision: found.version.cast_unsigned() }))
    }

    async fn query(&self, collection: &str, query: &Query, most: PageSize) -> Result<FoundPage, RecordsFailed> {
        let size = RecordPageSize { records: most.records, bytes: most.bytes };
        let answer = self.database.query_records(self.account, self.project, collection, query, size).await;
        let page = match answer.map_err(|error| self.unavailable(&error))? {
            QueryAnswer::Page(page) => page,
            QueryAnswer::NotBuilt(index) => {
                return Err(RecordsFailed::NotReady(format!(
                    "index `{index}` of collection `{collection}` is being built; try again later"
                )));
            }
            QueryAnswer::NotDeclared(index) => {
                return Err(RecordsFailed::NotReady(format!(
                    "index `{index}` of collection `{collection}` is not declared as it is in this run's revision any more; replay the run on the current one"
                )));
            }
        };
        let found = page.records.into_iter().map(|found| FoundRecord {
            position: found.position,
            record: Record { json: found.data, revision: found.version.cast_unsigned() },
        });
        let below = FoundPage { records: found.collect(), next: page.next };
        for (key, _) in self.snapshot.of_collection(collection) {
            self.note_overlaid(collection, key);
        }
        Ok(laid_over(below, query, self.snapshot.of_collection(collection), most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &str) -> At {
        ("things".to_owned(), key.to_owned())
    }

    fn wrote(key: &str) -> RecordWrite {
        RecordWrite { collection: "things".to_owned(), key: key.to_owned(), data: Some("1".into()) }
    }

    fn snapshot(writes: &[RecordWrite]) -> RecordsSnapshot {
        let overlay: RecordOverlay =
            writes.iter().map(|write| (Arc::new(at(&write.key)), write.data.clone())).collect();
        RecordsSnapshot::new(Arc::new(overlay), 0, writes.len())
    }

    fn read(key: &str) -> trellis_engine::RecordVersion {
        trellis_engine::RecordVersion { collection: "things".to_owned(), key: key.to_owned(), revision: 3 }
    }

    #[test]
    fn a_call_is_overtaken_by_writes_of_what_it_has_read_and_by_no_others() {
        let snapshot = snapshot(&[wrote("before")]);
        let nothing = HashSet::new();
        let writes = [wrote("before"), wrote("a")];
        assert!(snapshot.is_overtaken(&writes, 0, &nothing, &[read("a")]));
        assert!(!snapshot.is_overtaken(&writes, 0, &nothing, &[read("b")]));
        assert!(snapshot.is_overtaken(&writes, 0, &HashSet::from([at("a")]), &[]));
        assert!(!snapshot.is_overtaken(&writes, 0, &HashSet::from([at("before")]), &[]));
    }

    #[test]
    fn what_was_read_of_an_earlier_node_is_void_once_it_is_committed() {
        let snapshot = snapshot(&[wrote("before")]);
        assert!(snapshot.is_overtaken(&[], 1, &HashSet::from([at("before")]), &[]));
        assert!(!snapshot.is_overtaken(&[], 1, &HashSet::new(), &[read("a")]));
        assert!(snapshot.is_overtaken(&[wrote("a")], 1, &HashSet::new(), &[read("a")]), "written since");
    }

    #[test]
    fn what_an_earlier_node_has_written_is_no_committed_version() {
        let snapshot = snapshot(&[wrote("before")]);
        let reads = [read("before"), read("a")];
        let committed: Vec<RecordVersion> = snapshot.committed_reads(&reads).collect();
        assert_eq!(committed.iter().map(|read| read.key.as_str()).collect::<Vec<_>>(), ["a"]);
    }
}
