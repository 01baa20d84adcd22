//! `wasi:keyvalue`, for components that were written for it: a bucket is a store that the node was granted, and every
//! operation is one of `storage`, with its transaction, its limits and its metering.
//!
//! Only translates. What a store holds and what may be done with it is [`super::storage`]'s.

use trellis_model::grant::StorageMode;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceTableError};

use super::{
    log::{Log, LogLevel},
    storage::StorageAccess,
};
use crate::{
    bindings::{
        keyvalue::{
            atomics::{self, CasError},
            batch,
            store::{self, Error, KeyResponse},
        },
        storage::{Host as _, StorageError, WriteOptions},
    },
    guest_state::GuestState,
};

/// A store that was opened.
pub struct Bucket {
    store: String,
}

/// A key at one moment: `cas` of the interface. Holds no value, so that a guest cannot fill the host's memory with handles.
pub struct Swap {
    store: String,
    key: String,
    /// See [`StorageAccess::write_number`]. What others write meanwhile the commit finds out.
    write_number: u64,
}

/// Keys of one page, unless the limit of the call is lower.
const PAGE_KEYS: u32 = 1_000;

pub(crate) struct View<'a> {
    storage: &'a mut StorageAccess,
    table: &'a mut ResourceTable,
    log: &'a Log,
}

/// What a function of the interface answers; the outer error ends the guest.
type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl View<'_> {
    fn store(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<String> {
        Ok(self.table.get(bucket)?.store.clone())
    }

    /// The interface has no room for the reason of a refusal: the run's log has.
    fn told<T>(&self, result: Result<T, StorageError>) -> Result<T, Error> {
        result.map_err(|error| match error {
            StorageError::Denied(reason) => {
                self.log.remark(LogLevel::Warn, &format!("storage denied: {reason}"));
                Error::AccessDenied
            }
            StorageError::Invalid(reason) | StorageError::Limit(reason) | StorageError::Other(reason) => {
                Error::Other(reason)
            }
            StorageError::Conflict => Error::Other("the key was changed meanwhile".to_owned()),
        })
    }

    async fn read(&mut self, store: String, key: String) -> Result<Option<Vec<u8>>, Error> {
        let entry = self.storage.get(store, key).await;
        self.told(entry).map(|entry| entry.map(|entry| entry.value))
    }

    async fn write(&mut self, store: String, key: String, value: Vec<u8>) -> Result<(), Error> {
        let done = self.storage.set(store, key, value, WriteOptions { if_revision: None, ttl_ms: None }).await;
        self.told(done)
    }

    async fn remove(&mut self, store: String, key: String) -> Result<(), Error> {
        let done = self.storage.delete(store, key).await;
        self.told(done)
    }

    /// A handle for the key as it is now.
    async fn swap_from_now(&mut self, store: String, key: String) -> Answer<Resource<Swap>> {
        // Read for its version, which the commit compares.
        if let Err(error) = self.read(store.clone(), key.clone()).await {
            return Ok(Err(error));
        }
        let address = (store, key);
        let write_number = self.storage.write_number(&address);
        let (store, key) = address;
        Ok(full(self.table.push(Swap { store, key, write_number })))
    }
}

/// A guest that holds too many handles is told so, and may drop some.
fn full<T>(pushed: Result<T, ResourceTableError>) -> Result<T, Error> {
    pushed.map_err(|error| Error::Other(format!("no further handle: {error}")))
}

impl store::Host for View<'_> {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        let granted = self.storage.check_grant(&identifier, StorageMode::Read);
        Ok(match self.told(granted) {
            Ok(()) => full(self.table.push(Bucket { store: identifier })),
            Err(error) => Err(error),
        })
    }
}

impl store::HostBucket for View<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        let store = self.store(&bucket)?;
        Ok(self.read(store, key).await)
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        let store = self.store(&bucket)?;
        Ok(self.write(store, key, value).await)
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        let store = self.store(&bucket)?;
        Ok(self.remove(store, key).await)
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let store = self.store(&bucket)?;
        Ok(self.read(store, key).await.map(|value| value.is_some()))
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<String>) -> Answer<KeyResponse> {
        let store = self.store(&bucket)?;
        let page = self.storage.list(store, String::new(), cursor, PAGE_KEYS).await;
        Ok(self.told(page).map(|page| KeyResponse { keys: page.keys, cursor: page.next }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    /// The write is an addition like that of `storage`; the sum that is told depends on what was there, so that a key
    /// which others count up at the same time makes the node run again, and no two runs are told the same sum.
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Answer<i64> {
        let store = self.store(&bucket)?;
        let sum = match self.storage.begin(store, key, StorageMode::ReadWrite) {
            Ok(key) => self.storage.increment(key, delta).await,
            Err(error) => Err(error),
        };
        Ok(self.told(sum))
    }

    async fn swap(&mut self, cas: Resource<Swap>, value: Vec<u8>) -> wasmtime::Result<Result<(), CasError>> {
        let Swap { store, key, write_number } = self.table.delete(cas)?;
        let address = (store, key);
        let is_same = self.storage.write_number(&address) == write_number;
        let (store, key) = address;
        if is_same {
            return Ok(self.write(store, key, value).await.map_err(CasError::StoreError));
        }
        Ok(Err(match self.swap_from_now(store, key).await? {
            Ok(anew) => CasError::CasFailed(anew),
            Err(error) => CasError::StoreError(error),
        }))
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Answer<Resource<Swap>> {
        let store = self.store(&bucket)?;
        self.swap_from_now(store, key).await
    }

    async fn current(&mut self, cas: Resource<Swap>) -> Answer<Option<Vec<u8>>> {
        let Swap { store, key, .. } = self.table.get(&cas)?;
        let (store, key) = (store.clone(), key.clone());
        Ok(self.read(store, key).await)
    }

    async fn drop(&mut self, cas: Resource<Swap>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let store = self.store(&bucket)?;
        let most = self.storage.batch_bytes_max();
        let (mut values, mut bytes) = (Vec::new(), 0);
        for key in keys {
            let value = match self.read(store.clone(), key.clone()).await {
                Ok(value) => value,
                Err(error) => return Ok(Err(error)),
            };
            bytes += value.as_ref().map_or(0, |value| value.len() as u64);
            if bytes > most {
                let reason = format!("the values have more than {most} bytes together; ask for fewer keys at a time");
                return Ok(Err(Error::Other(reason)));
            }
            values.push(value.map(|value| (key, value)));
        }
        Ok(Ok(values))
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Answer<()> {
        let store = self.store(&bucket)?;
        for (key, value) in key_values {
            if let Err(error) = self.write(store.clone(), key, value).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let store = self.store(&bucket)?;
        for key in keys {
            if let Err(error) = self.remove(store.clone(), key).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

struct KeyValue;

impl HasData for KeyValue {
    type Data<'a> = View<'a>;
}

fn view(state: &mut GuestState) -> View<'_> {
    let GuestState { capabilities, table, .. } = state;
    View { storage: &mut capabilities.storage, table, log: &capabilities.log }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, KeyValue>(linker, view)?;
    atomics::add_to_linker::<_, KeyValue>(linker, view)?;
    batch::add_to_linker::<_, KeyValue>(linker, view)
}
