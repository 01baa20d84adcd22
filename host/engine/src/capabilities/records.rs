//! `trellis:plugin/records`: collections of JSON records that a node was granted. Reads see committed state and this run's own
//! writes; writes are held back here until the call succeeds, and given to the caller to commit together with its completion.
//!
//! Committed state comes in through [`Records`]. Grants, schemas, limits and the writes held back are this module's; how the
//! database finds records is not.

mod access;
mod overlay;

use std::sync::Arc;

use trellis_model::{
    grant::StorageMode,
    records::{Collections, Position, Query},
};
use wasmtime::component::{HasSelf, Linker};

pub(crate) use access::RecordsAccess;
pub use overlay::laid_over;

use crate::{
    bindings::records::{self as wit, Page, RecordsError, Selection, WriteOptions},
    guest_state::GuestState,
};

/// Records as a call finds them: committed, and under them the writes of earlier nodes of the same run.
#[async_trait::async_trait]
pub trait Records: Send + Sync {
    /// # Errors
    /// See [`RecordsFailed`].
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Record>, RecordsFailed>;

    /// The first records that a query finds, in its order.
    ///
    /// # Errors
    /// See [`RecordsFailed`].
    async fn query(&self, collection: &str, query: &Query, most: PageSize) -> Result<FoundPage, RecordsFailed>;
}

/// How much a page of records may have. It has one record at least, if there is one, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize {
    pub records: u32,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// JSON text.
    pub json: String,
    /// Of the committed record; 0 when it is an uncommitted write of the same run.
    pub revision: u64,
}

/// A record that a query has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// In the order of the query.
    pub position: Position,
    pub record: Record,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundPage {
    /// In the order of the query.
    pub records: Vec<FoundRecord>,
    /// Where the search goes on: behind the last record that was looked at. None: there are no more.
    pub next: Option<Position>,
}

/// Why committed records cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsFailed {
    /// Worth another attempt.
    #[error("records are not available: {0}")]
    Unavailable(String),
    /// The index was declared lately and is being built, or it is not declared any more.
    #[error("{0}")]
    NotReady(String),
}

/// The collections of a project, and their records.
#[derive(Clone)]
pub struct ManagedData {
    /// As the revision declares them.
    pub collections: Arc<Collections>,
    pub records: Arc<dyn Records>,
}

impl Default for ManagedData {
    /// A project without collections.
    fn default() -> Self {
        Self { collections: Arc::default(), records: Arc::new(NoRecords) }
    }
}

struct NoRecords;

#[async_trait::async_trait]
impl Records for NoRecords {
    async fn get(&self, _collection: &str, _key: &str) -> Result<Option<Record>, RecordsFailed> {
        Ok(None)
    }

    async fn query(&self, _collection: &str, _query: &Query, _most: PageSize) -> Result<FoundPage, RecordsFailed> {
        Ok(FoundPage::default())
    }
}

/// A committed version of a record that the call's outcome rests on; see [`crate::ReadVersion`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordVersion {
    pub collection: String,
    pub key: String,
    /// 0: there was no such record.
    pub revision: u64,
}

/// A write of a record that waits for its commit; at most one per record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordWrite {
    pub collection: String,
    pub key: String,
    /// JSON text; none: the record is deleted.
    pub json: Option<String>,
}

impl wit::Host for RecordsAccess {
    async fn get(&mut self, collection: String, key: String) -> Result<Option<wit::Entry>, RecordsError> {
        let at = self.begin(collection, key, StorageMode::Read)?;
        let record = self.read(&at).await?;
        Ok(record.map(|Record { json, revision }| wit::Entry { key: at.1, data: json, revision }))
    }

    async fn put(
        &mut self,
        collection: String,
        key: String,
        data: String,
        options: WriteOptions,
    ) -> Result<(), RecordsError> {
        let at = self.begin(collection, key, StorageMode::ReadWrite)?;
        let data = self.check_record(&at.0, data)?;
        self.expect_revision(&at, options.if_revision).await?;
        self.hold(at, Some(data))
    }

    async fn delete(&mut self, collection: String, key: String, options: WriteOptions) -> Result<(), RecordsError> {
        let at = self.begin(collection, key, StorageMode::ReadWrite)?;
        self.expect_revision(&at, options.if_revision).await?;
        self.hold(at, None)
    }

    async fn query(&mut self, collection: String, selection: Selection) -> Result<Page, RecordsError> {
        let query = self.begin_query(&collection, &selection)?;
        self.page(&collection, &query, selection.limit).await
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<RecordsAccess>>(linker, |state| &mut state.capabilities.records)
}
