//! The operations, as they are written in the input: `{"set": ["bucket", "key", "value"]}`.

use std::{thread, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bindings::wasi::keyvalue::{
    atomics::{self, Cas, CasError},
    batch,
    store::{self, Bucket, Error},
};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Get(String, String),
    Set(String, String, String),
    SetBytes(String, String, usize),
    Delete(String, String),
    Exists(String, String),
    ListKeys(String, Option<String>),
    Increment(String, String, i64),
    /// Increments, and waits for some milliseconds before the call ends.
    IncrementSlowly(String, String, u64),
    /// Swaps a key that nobody touches in between.
    Swap(String, String, String),
    /// Swaps a key that the guest itself has set in between: fails, and succeeds with the new handle.
    SwapAfterSet(String, String, String, String),
    GetMany(String, Vec<String>),
    SetMany(String, Vec<(String, String)>),
    DeleteMany(String, Vec<String>),
    /// Opens a bucket that often, without closing any: how many there were, and what came then.
    OpenTimes(String, usize),
}

/// The answers, in order: values, or `{"error": …}`.
pub fn perform(operations: Vec<Operation>) -> Value {
    operations.into_iter().map(|operation| operation.perform().unwrap_or_else(|error| shown(&error))).collect()
}

impl Operation {
    fn perform(self) -> Result<Value, Error> {
        Ok(match self {
            Self::Get(bucket, key) => json!(store::open(&bucket)?.get(&key)?.map(text)),
            Self::Set(bucket, key, value) => done(store::open(&bucket)?.set(&key, value.as_bytes())?),
            Self::SetBytes(bucket, key, bytes) => done(store::open(&bucket)?.set(&key, &vec![b'x'; bytes])?),
            Self::Delete(bucket, key) => done(store::open(&bucket)?.delete(&key)?),
            Self::Exists(bucket, key) => json!(store::open(&bucket)?.exists(&key)?),
            Self::ListKeys(bucket, cursor) => {
                let page = store::open(&bucket)?.list_keys(cursor.as_deref())?;
                json!([page.keys, page.cursor])
            }
            Self::Increment(bucket, key, delta) => json!(atomics::increment(&store::open(&bucket)?, &key, delta)?),
            Self::IncrementSlowly(bucket, key, wait_ms) => {
                let sum = atomics::increment(&store::open(&bucket)?, &key, 1)?;
                thread::sleep(Duration::from_millis(wait_ms));
                json!(sum)
            }
            Self::Swap(bucket, key, value) => {
                let cas = Cas::new(&store::open(&bucket)?, &key)?;
                let before = cas.current()?.map(text);
                json!([before, swapped(cas, &value)])
            }
            Self::SwapAfterSet(bucket, key, between, value) => swap_after_set(&bucket, &key, &between, &value)?,
            Self::GetMany(bucket, keys) => {
                let values = batch::get_many(&store::open(&bucket)?, &keys)?;
                values.into_iter().map(|pair| json!(pair.map(|(key, value)| (key, text(value))))).collect()
            }
            Self::SetMany(bucket, pairs) => {
                let pairs: Vec<(String, Vec<u8>)> =
                    pairs.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
                done(batch::set_many(&store::open(&bucket)?, &pairs)?)
            }
            Self::DeleteMany(bucket, keys) => done(batch::delete_many(&store::open(&bucket)?, &keys)?),
            Self::OpenTimes(bucket, times) => open_times(&bucket, times),
        })
    }
}

fn swap_after_set(bucket: &str, key: &str, between: &str, value: &str) -> Result<Value, Error> {
    let bucket = store::open(bucket)?;
    let cas = Cas::new(&bucket, key)?;
    bucket.set(key, between.as_bytes())?;
    Ok(match atomics::swap(cas, value.as_bytes()) {
        Err(CasError::CasFailed(anew)) => json!([anew.current()?.map(text), swapped(anew, value)]),
        Err(CasError::StoreError(error)) => shown(&error),
        Ok(()) => json!("swapped at once"),
    })
}

fn swapped(cas: Cas, value: &str) -> Value {
    match atomics::swap(cas, value.as_bytes()) {
        Ok(()) => json!("swapped"),
        Err(CasError::CasFailed(_)) => json!("failed"),
        Err(CasError::StoreError(error)) => shown(&error),
    }
}

fn open_times(bucket: &str, times: usize) -> Value {
    let mut open: Vec<Bucket> = Vec::new();
    for _ in 0..times {
        match store::open(bucket) {
            Ok(bucket) => open.push(bucket),
            Err(error) => return json!([open.len(), shown(&error)]),
        }
    }
    json!([open.len(), null])
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

fn done((): ()) -> Value {
    json!("ok")
}

fn shown(error: &Error) -> Value {
    let text = match error {
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "access denied".to_owned(),
        Error::Other(text) => format!("other: {text}"),
    };
    json!({ "error": text })
}
