//! The host calls of the SDK as imports of the component. `fake::host` has the same functions for native tests.

use crate::{
    config, http,
    log::Level,
    outbox,
    records::{self, Condition, Misfit, Operator, RawEntry, RawPage, Selection},
    secrets,
    storage::{self, Entry, Page, WriteOptions},
};

use super::bindings::{
    trellis::plugin::{
        outbox::{self as outbox_import, OutboxError},
        progress as progress_import,
        records::{self as records_import, RecordsError},
        secrets::{self as secrets_import, SecretError},
        storage::{self as store_import, StorageError},
        web::{self, WebError},
    },
    wasi::{
        config::store as config_import,
        logging::logging::{self, Level as HostLevel},
    },
};

pub(crate) fn fetch(request: http::Request) -> Result<http::Answer, http::Error> {
    let http::Request { method, url, headers, body, timeout } = request;
    // 0 would be no time at all, and what does not fit is longer than any limit.
    let timeout_ms = timeout.map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1));
    let response =
        web::fetch(&web::Request { method, url, headers, body, timeout_ms }).map_err(|error| match error {
            WebError::Denied(rule) => http::Error::Denied(rule),
            WebError::InvalidRequest(reason) => http::Error::InvalidRequest(reason),
            WebError::Timeout => http::Error::Timeout,
            WebError::TooLarge => http::Error::TooLarge,
            WebError::Transport(reason) => http::Error::Transport(reason),
        })?;
    Ok((response.status, response.headers, response.body))
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    let level = match level {
        Level::Trace => HostLevel::Trace,
        Level::Debug => HostLevel::Debug,
        Level::Info => HostLevel::Info,
        Level::Warn => HostLevel::Warn,
        Level::Error => HostLevel::Error,
        Level::Critical => HostLevel::Critical,
    };
    logging::log(level, context, message);
}

pub(crate) fn config_get(name: &str) -> Result<Option<String>, config::Error> {
    config_import::get(name).map_err(config_error)
}

pub(crate) fn config_all() -> Result<Vec<(String, String)>, config::Error> {
    config_import::get_all().map_err(config_error)
}

fn config_error(error: config_import::Error) -> config::Error {
    match error {
        config_import::Error::Upstream(reason) | config_import::Error::Io(reason) => config::Error(reason),
    }
}

pub(crate) fn secret(name: &str) -> Result<String, secrets::Error> {
    secrets_import::get(name).map_err(|error| match error {
        SecretError::Denied(rule) => secrets::Error::Denied(rule),
        SecretError::Other(reason) => secrets::Error::Other(reason),
    })
}

pub(crate) fn storage_get(store: &str, key: &str) -> Result<Option<Entry>, storage::Error> {
    let entry = store_import::get(store, key).map_err(storage_error)?;
    Ok(entry.map(|store_import::Entry { value, revision }| Entry { value, revision }))
}

pub(crate) fn storage_set(store: &str, key: &str, value: &[u8], options: WriteOptions) -> Result<(), storage::Error> {
    let WriteOptions { if_revision, ttl_ms } = options;
    store_import::set(store, key, value, store_import::WriteOptions { if_revision, ttl_ms }).map_err(storage_error)
}

pub(crate) fn storage_delete(store: &str, key: &str) -> Result<(), storage::Error> {
    store_import::delete(store, key).map_err(storage_error)
}

pub(crate) fn storage_list(store: &str, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, storage::Error> {
    let store_import::Page { keys, next } = store_import::list(store, prefix, after, limit).map_err(storage_error)?;
    Ok(Page { keys, next })
}

pub(crate) fn storage_add(store: &str, key: &str, delta: i64) -> Result<(), storage::Error> {
    store_import::add(store, key, delta).map_err(storage_error)
}

pub(crate) fn emit(grid: &str, json: String, attributes: Vec<(String, String)>) -> Result<(), outbox::Error> {
    outbox_import::emit(grid, &json, &outbox_import::EmitOptions { attributes }).map_err(|error| match error {
        OutboxError::Denied(rule) => outbox::Error::Denied(rule),
        OutboxError::Invalid(reason) => outbox::Error::Invalid(reason),
        OutboxError::Limit(name) => outbox::Error::Limit(name),
        OutboxError::HopLimit(reason) => outbox::Error::HopLimit(reason),
    })
}

pub(crate) fn progress(fraction: f64, text: &str) {
    progress_import::report(fraction, text);
}

fn storage_error(error: StorageError) -> storage::Error {
    match error {
        StorageError::Denied(rule) => storage::Error::Denied(rule),
        StorageError::Invalid(reason) => storage::Error::Invalid(reason),
        StorageError::Conflict => storage::Error::Conflict,
        StorageError::Limit(name) => storage::Error::Limit(name),
        StorageError::Other(reason) => storage::Error::Other(reason),
    }
}

pub(crate) fn record_get(collection: &str, key: &str) -> Result<Option<RawEntry>, records::Error> {
    Ok(records_import::get(collection, key).map_err(records_error)?.map(raw_entry))
}

pub(crate) fn record_put(
    collection: &str,
    key: &str,
    json: &str,
    if_revision: Option<u64>,
) -> Result<(), records::Error> {
    let options = records_import::WriteOptions { if_revision };
    records_import::put(collection, key, json, options).map_err(records_error)
}

pub(crate) fn record_delete(collection: &str, key: &str, if_revision: Option<u64>) -> Result<(), records::Error> {
    records_import::delete(collection, key, records_import::WriteOptions { if_revision }).map_err(records_error)
}

pub(crate) fn record_query(collection: &str, selection: &Selection) -> Result<RawPage, records::Error> {
    let Selection { filter, order, limit, after } = selection.clone();
    let order = order.map(|(index, descending)| records_import::Order { index, descending });
    let filter = filter.into_iter().map(condition).collect();
    let selection = records_import::Selection { filter, order, limit, after };
    let page = records_import::query(collection, &selection).map_err(records_error)?;
    Ok(RawPage { records: page.records.into_iter().map(raw_entry).collect(), next: page.next })
}

fn condition(condition: Condition) -> records_import::Condition {
    let Condition { index, operator, value } = condition;
    let operator = match operator {
        Operator::Equal => records_import::Operator::Equal,
        Operator::Less => records_import::Operator::Less,
        Operator::LessOrEqual => records_import::Operator::LessOrEqual,
        Operator::Greater => records_import::Operator::Greater,
        Operator::GreaterOrEqual => records_import::Operator::GreaterOrEqual,
        Operator::OneOf => records_import::Operator::OneOf,
        Operator::StartsWith => records_import::Operator::StartsWith,
    };
    records_import::Condition { index, operator, value }
}

fn raw_entry(entry: records_import::Entry) -> RawEntry {
    let records_import::Entry { key, data, revision } = entry;
    RawEntry { key, data, revision }
}

fn records_error(error: RecordsError) -> records::Error {
    match error {
        RecordsError::Denied(rule) => records::Error::Denied(rule),
        RecordsError::Invalid(reason) => records::Error::Invalid(reason),
        RecordsError::Unfit(misfits) => {
            let misfit = |records_import::Misfit { pointer, message }| Misfit { pointer, message };
            records::Error::Unfit(misfits.into_iter().map(misfit).collect())
        }
        RecordsError::Conflict => records::Error::Conflict,
        RecordsError::Limit(name) => records::Error::Limit(name),
        RecordsError::NotReady(reason) => records::Error::NotReady(reason),
        RecordsError::Other(reason) => records::Error::Other(reason),
    }
}
