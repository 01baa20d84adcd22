//! Fake managed data: committed records in memory, to which a successful call's writes are committed as a host would do it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use trellis_engine::{FoundPage, FoundRecord, ManagedData, PageSize, Record, RecordWrite, Records, RecordsFailed};
use trellis_model::{
    grant::{RecordsGrant, StorageMode},
    manifest::Manifest,
    records::{Collections, Query, collections_of},
};

/// Collections that a test has declared, and their records.
#[derive(Default)]
pub(crate) struct FakeRecords {
    /// As they were declared.
    definitions: BTreeMap<String, Value>,
    collections: Arc<Collections>,
    committed: Arc<Committed>,
}

#[derive(Default)]
struct Committed(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    records: BTreeMap<(String, String), Record>,
    revision: u64,
}

impl State {
    fn set(&mut self, collection: &str, key: &str, json: String) {
        self.revision += 1;
        let record = Record { json, revision: self.revision };
        self.records.insert((collection.to_owned(), key.to_owned()), record);
    }
}

impl FakeRecords {
    /// Declares a collection as a manifest does, read by the same rules.
    ///
    /// # Errors
    /// All faults of the definition, as text.
    pub fn declare(&mut self, name: &str, definition: &Value) -> Result<(), String> {
        self.definitions.insert(name.to_owned(), definition.clone());
        self.collections = Arc::new(declared(&self.definitions)?);
        Ok(())
    }

    /// The same collections, with the same records in them, and further ones; of two with the same name the further one counts.
    ///
    /// # Errors
    /// All faults of the further definitions, as text.
    pub fn copy_with(&self, further: &BTreeMap<String, Value>) -> Result<Self, String> {
        let mut definitions = self.definitions.clone();
        definitions.extend(further.clone());
        let collections =
            if further.is_empty() { Arc::clone(&self.collections) } else { Arc::new(declared(&definitions)?) };
        let state = self.committed.lock().clone();
        Ok(Self { definitions, collections, committed: Arc::new(Committed(Mutex::new(state))) })
    }

    /// # Errors
    /// The collection is not declared, or the record does not fit its schema.
    pub fn set(&self, collection: &str, key: &str, record: &Value) -> Result<(), String> {
        let declared = self.collections.get(collection);
        let declared = declared.ok_or_else(|| {
            format!(
                "collection `{collection}` is not declared; call `.collection(\"{collection}\", json!({{…}}))` before"
            )
        })?;
        let misfits: Vec<String> = declared
            .misfits(record)
            .into_iter()
            .map(|misfit| format!("at `{}`: {}", misfit.pointer, misfit.message))
            .collect();
        if !misfits.is_empty() {
            return Err(format!("record `{key}` does not fit collection `{collection}`: {}", misfits.join("; ")));
        }
        self.committed.lock().set(collection, key, record.to_string());
        Ok(())
    }

    pub fn value(&self, collection: &str, key: &str) -> Option<Value> {
        let at = (collection.to_owned(), key.to_owned());
        let json = self.committed.lock().records.get(&at).map(|record| record.json.clone())?;
        Some(serde_json::from_str(&json).expect("the engine takes only JSON"))
    }

    /// Leave to read and write all of them.
    pub fn grants(&self) -> Vec<RecordsGrant> {
        let grant = |name: &String| RecordsGrant { collection: name.clone(), mode: StorageMode::ReadWrite };
        self.collections.keys().map(grant).collect()
    }

    /// What a call is given.
    pub fn data(&self) -> ManagedData {
        ManagedData {
            collections: Arc::clone(&self.collections),
            records: Arc::clone(&self.committed) as Arc<dyn Records>,
        }
    }

    pub fn commit(&self, writes: &[RecordWrite]) {
        let mut state = self.committed.lock();
        for RecordWrite { collection, key, json } in writes {
            match json {
                Some(json) => state.set(collection, key, json.clone()),
                None => _ = state.records.remove(&(collection.clone(), key.clone())),
            }
        }
    }
}

/// Collections by the rules of manifests.
fn declared(definitions: &BTreeMap<String, Value>) -> Result<Collections, String> {
    let document = json!({ "project": { "name": "test" }, "collections": definitions });
    let told = |faults: Vec<trellis_model::fault::Fault>| {
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let manifest = Manifest::from_json(&document.to_string()).map_err(told)?;
    collections_of(&manifest).map_err(told)
}

impl Committed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Records for Committed {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Record>, RecordsFailed> {
        Ok(self.lock().records.get(&(collection.to_owned(), key.to_owned())).cloned())
    }

    async fn query(&self, collection: &str, query: &Query, most: PageSize) -> Result<FoundPage, RecordsFailed> {
        let state = self.lock();
        let here = state.records.iter().filter(|((name, _), _)| name == collection);
        let mut records: Vec<FoundRecord> = here
            .filter_map(|((_, key), record)| {
                let data: Value = serde_json::from_str(&record.json).expect("the engine takes only JSON");
                let found = || FoundRecord { position: query.position(key, &data), record: record.clone() };
                query.finds(key, &data).then(found)
            })
            .collect();
        records.sort_by(|one, other| query.compare(&one.position, &other.position));
        Ok(FoundPage { records, next: None }.bounded(most))
    }
}
