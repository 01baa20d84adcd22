//! The host calls of the SDK, answered by the fakes of this thread. `guest::host` has the same functions for Wasm.
#![expect(clippy::unnecessary_wraps, reason = "the real host can fail everywhere")]

use crate::{
    config, http,
    log::Level,
    outbox,
    records::{self, RawEntry, RawPage, Selection},
    secrets,
    storage::{self, Entry, Page, WriteOptions},
};

use super::{LogMessage, http::respond, progress::bounded, with_state};

pub(crate) fn fetch(request: http::Request) -> Result<http::Answer, http::Error> {
    respond(request)
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    // The test runner shows this when the test fails.
    eprintln!("[{level:?}] {context}: {message}");
    let message = LogMessage { level, context: context.into(), message: message.into() };
    with_state(|state| state.logs.push(message));
}

pub(crate) fn config_get(name: &str) -> Result<Option<String>, config::Error> {
    let value_of = |(known, value): &(String, String)| (known == name).then(|| value.clone());
    Ok(with_state(|state| state.config.iter().find_map(value_of)))
}

pub(crate) fn config_all() -> Result<Vec<(String, String)>, config::Error> {
    Ok(with_state(|state| state.config.clone()))
}

pub(crate) fn secret(name: &str) -> Result<String, secrets::Error> {
    let value_of = |(known, value): &(String, String)| (known == name).then(|| value.clone());
    let found = with_state(|state| state.secrets.iter().find_map(value_of));
    found.ok_or_else(|| secrets::Error::Denied(format!("the test has no secret `{name}`; set it with `fake::secret`")))
}

pub(crate) fn storage_get(store: &str, key: &str) -> Result<Option<Entry>, storage::Error> {
    with_state(|state| state.storage.get(store, key))
}

pub(crate) fn storage_set(store: &str, key: &str, value: &[u8], options: WriteOptions) -> Result<(), storage::Error> {
    with_state(|state| state.storage.set(store, key, value, options))
}

pub(crate) fn storage_delete(store: &str, key: &str) -> Result<(), storage::Error> {
    with_state(|state| state.storage.delete(store, key))
}

pub(crate) fn storage_list(store: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, storage::Error> {
    Ok(with_state(|state| state.storage.list(store, prefix, after, limit)))
}

pub(crate) fn storage_add(store: &str, key: &str, delta: i64) -> Result<(), storage::Error> {
    with_state(|state| state.storage.add(store, key, delta))
}

pub(crate) fn record_get(collection: &str, key: &str) -> Result<Option<RawEntry>, records::Error> {
    with_state(|state| state.records.get(collection, key))
}

pub(crate) fn record_put(
    collection: &str,
    key: &str,
    json: &str,
    if_revision: Option<u64>,
) -> Result<(), records::Error> {
    with_state(|state| state.records.put(collection, key, json, if_revision))
}

pub(crate) fn record_delete(collection: &str, key: &str, if_revision: Option<u64>) -> Result<(), records::Error> {
    with_state(|state| state.records.delete(collection, key, if_revision))
}

pub(crate) fn record_query(collection: &str, selection: &Selection) -> Result<RawPage, records::Error> {
    with_state(|state| state.records.query(collection, selection))
}

#[expect(clippy::needless_pass_by_value, reason = "the real host takes it by value")]
pub(crate) fn emit(grid: &str, json: String, attributes: Vec<(String, String)>) -> Result<(), outbox::Error> {
    with_state(|state| state.outbox.emit(grid, &json, attributes))
}

pub(crate) fn progress(fraction: f64, text: &str) {
    with_state(|state| state.progress.push(bounded(fraction, text)));
}
