//! Storage, operation by operation.

use std::{thread, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bindings::trellis::plugin::storage::{self, StorageError, WriteOptions};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Get(String, String),
    Set(String, String, String),
    SetIf(String, String, String, u64),
    SetBytes(String, String, usize),
    SetFor(String, String, String, u64),
    Delete(String, String),
    Add(String, String, i64),
    /// Reads an integer, waits for some milliseconds and writes the next one: what `add` is there to avoid.
    Increment(String, String, u64),
    List(String, String, Option<String>, u32),
}

/// The results, in order: values, or `{"error": …}`.
pub fn perform(operations: Vec<Operation>) -> Value {
    operations.into_iter().map(|operation| operation.perform().unwrap_or_else(|error| shown(&error))).collect()
}

impl Operation {
    fn perform(self) -> Result<Value, StorageError> {
        let no_options = WriteOptions { if_revision: None, ttl_ms: None };
        match self {
            Self::Get(store, key) => {
                let entry = storage::get(&store, &key)?;
                return Ok(
                    entry.map_or(Value::Null, |entry| json!([String::from_utf8_lossy(&entry.value), entry.revision]))
                );
            }
            Self::Set(store, key, value) => storage::set(&store, &key, value.as_bytes(), no_options)?,
            Self::SetIf(store, key, value, revision) => {
                let options = WriteOptions { if_revision: Some(revision), ..no_options };
                storage::set(&store, &key, value.as_bytes(), options)?;
            }
            Self::SetBytes(store, key, bytes) => storage::set(&store, &key, &vec![b'x'; bytes], no_options)?,
            Self::SetFor(store, key, value, ttl_ms) => {
                let options = WriteOptions { ttl_ms: Some(ttl_ms), ..no_options };
                storage::set(&store, &key, value.as_bytes(), options)?;
            }
            Self::Delete(store, key) => storage::delete(&store, &key)?,
            Self::Add(store, key, delta) => storage::add(&store, &key, delta)?,
            Self::Increment(store, key, wait_ms) => return increment(&store, &key, wait_ms),
            Self::List(store, prefix, after, limit) => {
                let page = storage::list(&store, &prefix, after.as_deref(), limit)?;
                return Ok(json!([page.keys, page.next]));
            }
        }
        Ok(json!("ok"))
    }
}

fn increment(store: &str, key: &str, wait_ms: u64) -> Result<Value, StorageError> {
    let entry = storage::get(store, key)?;
    let read = entry.and_then(|entry| String::from_utf8_lossy(&entry.value).parse::<i64>().ok()).unwrap_or(0);
    thread::sleep(Duration::from_millis(wait_ms));
    let written = read + 1;
    storage::set(store, key, written.to_string().as_bytes(), WriteOptions { if_revision: None, ttl_ms: None })?;
    Ok(json!(written))
}

/// Where the tests keep their accounts of what has happened.
const BOOKS: &str = "s";

/// Adds one to `key`, and one to a key of this run's own below it.
pub fn count(run: &str, key: &str) -> Value {
    for key in [key, &format!("{key}/{run}")] {
        storage::add(BOOKS, key, 1).expect("additions are always possible");
    }
    json!("counted")
}

/// Reads both records, writes both, and counts the transfer.
pub fn transfer(run: &str, [from, to]: [&str; 2], amount: i64) -> Value {
    let read = |key: &str| {
        let entry = storage::get(BOOKS, key).expect("the store is there").expect("the record is there");
        String::from_utf8_lossy(&entry.value).parse::<i64>().expect("a record holds an integer")
    };
    let (has, gets) = (read(from), read(to));
    for (key, value) in [(from, has - amount), (to, gets + amount)] {
        let options = WriteOptions { if_revision: None, ttl_ms: None };
        storage::set(BOOKS, key, value.to_string().as_bytes(), options).expect("it was read a moment ago");
    }
    count(run, "transfer")
}

fn shown(error: &StorageError) -> Value {
    let text = match error {
        StorageError::Denied(text) => format!("denied: {text}"),
        StorageError::Invalid(text) => format!("invalid: {text}"),
        StorageError::Conflict => "conflict".to_owned(),
        StorageError::Limit(text) => format!("limit: {text}"),
        StorageError::Other(text) => format!("other: {text}"),
    };
    json!({ "error": text })
}
