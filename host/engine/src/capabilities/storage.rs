//! `trellis:plugin/storage`: named stores that a node was granted. Reads see committed state and this run's own writes;
//! writes are held back here until the call succeeds, and given to the caller to commit together with its completion.
//!
//! Committed state comes in through [`Storage`]. Grants, limits and the writes held back are this module's; what the
//! database does with them is not. `wasi:keyvalue` stands on the same [`StorageAccess`].

mod access;

use trellis_model::grant::StorageMode;
use wasmtime::component::{HasSelf, Linker};

pub(crate) use access::StorageAccess;

use crate::{
    bindings::storage::{self as wit, Page, StorageError, WriteOptions},
    guest_state::GuestState,
};

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

impl wit::Host for StorageAccess {
    async fn get(&mut self, store: String, key: String) -> Result<Option<wit::Entry>, StorageError> {
        let key = self.begin(store, key, StorageMode::Read)?;
        let entry = self.read(&key).await?;
        Ok(entry.map(|Entry { value, revision }| wit::Entry { value, revision }))
    }

    async fn set(
        &mut self,
        store: String,
        key: String,
        value: Vec<u8>,
        options: WriteOptions,
    ) -> Result<(), StorageError> {
        let key = self.begin(store, key, StorageMode::ReadWrite)?;
        self.check_ttl(options.ttl_ms)?;
        self.expect_revision(&key, options.if_revision).await?;
        self.hold(key, Change::Set { value, ttl_ms: options.ttl_ms })
    }

    async fn delete(&mut self, store: String, key: String) -> Result<(), StorageError> {
        let key = self.begin(store, key, StorageMode::ReadWrite)?;
        self.hold(key, Change::Delete)
    }

    async fn list(
        &mut self,
        store: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page, StorageError> {
        self.begin_list(&store, &prefix, after.as_deref())?;
        self.page(&store, &prefix, after.as_deref(), limit).await
    }

    async fn add(&mut self, store: String, key: String, delta: i64) -> Result<(), StorageError> {
        let key = self.begin(store, key, StorageMode::ReadWrite)?;
        self.add_delta(key, delta)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<StorageAccess>>(linker, |state| &mut state.capabilities.storage)
}
