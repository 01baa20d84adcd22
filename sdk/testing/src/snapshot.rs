//! A report as text that is the same for the same behaviour: for snapshots that are kept in a repository.
//!
//! Leaves out what differs from call to call: times, memory, and what a host counts. Knows no snapshot library: whatever
//! takes [`std::fmt::Debug`] or [`serde::Serialize`] will do.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use trellis_engine::{Change, LogLevel, LogLine, ProgressReport, RecordWrite, Write};

use crate::{
    http::Request,
    report::{Event, Report},
};

impl Serialize for Report {
    /// Everything but the metering and the times of the log. Empty parts are left out.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        value(self).serialize(serializer)
    }
}

impl fmt::Debug for Report {
    /// The same as serialised, as JSON over several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", value(self))
    }
}

fn value(report: &Report) -> Value {
    let mut snapshot = Map::new();
    match (&report.failure, &report.suspended) {
        (Some(failure), _) => snapshot.insert("failure".to_owned(), json!(failure)),
        (None, Some(full)) => snapshot.insert("suspended".to_owned(), json!(full.to_string())),
        (None, None) => snapshot.insert("emissions".to_owned(), json!(report.emissions)),
    };
    let parts = [
        ("log", list(&report.log, line)),
        ("requests", list(&report.requests, request)),
        ("writes", list(&report.writes, write)),
        ("records", list(&report.record_writes, record)),
        ("events", list(&report.events, event)),
        ("progress", list(&report.progress, progress)),
    ];
    snapshot
        .extend(parts.into_iter().filter(|(_, part)| part != &json!([])).map(|(name, part)| (name.to_owned(), part)));
    Value::Object(snapshot)
}

fn list<T>(all: &[T], one: impl Fn(&T) -> Value) -> Value {
    all.iter().map(one).collect()
}

fn line(line: &LogLine) -> Value {
    let level = match line.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Critical => "critical",
    };
    let context = if line.context.is_empty() { String::new() } else { format!(" [{}]", line.context) };
    format!("{level}{context}: {}", line.message).into()
}

fn request(request: &Request) -> Value {
    let headers: Vec<String> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let mut snapshot = json!({ "request": format!("{} {}", request.method, request.url), "headers": headers });
    if !request.body.is_empty() {
        snapshot["body"] = bytes(&request.body);
    }
    snapshot
}

fn write(write: &Write) -> Value {
    let mut snapshot = json!({ "key": format!("{}/{}", write.store, write.key) });
    match &write.change {
        Change::Set { value, ttl_ms } => {
            snapshot["set"] = bytes(value);
            if let Some(ttl_ms) = ttl_ms {
                snapshot["ttl_ms"] = json!(ttl_ms);
            }
        }
        Change::Delete => snapshot["delete"] = json!(true),
        Change::Add { delta } => snapshot["add"] = json!(delta),
    }
    snapshot
}

fn record(write: &RecordWrite) -> Value {
    let key = format!("{}/{}", write.collection, write.key);
    match &write.json {
        Some(json) => json!({ "key": key, "put": bytes(json.as_bytes()) }),
        None => json!({ "key": key, "delete": true }),
    }
}

fn event(event: &Event) -> Value {
    let attributes: Map<String, Value> =
        event.attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut snapshot = json!({ "grid": event.grid, "data": event.data });
    if !attributes.is_empty() {
        snapshot["attributes"] = Value::Object(attributes);
    }
    snapshot
}

fn progress(report: &ProgressReport) -> Value {
    json!({ "fraction": report.fraction, "text": report.text })
}

/// JSON as a value, text as text, anything else by its length.
fn bytes(bytes: &[u8]) -> Value {
    let Ok(text) = str::from_utf8(bytes) else { return format!("{} bytes that are no text", bytes.len()).into() };
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
