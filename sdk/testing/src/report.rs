//! What came of a call, with assertions that say what happened instead.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use trellis_engine::{
    CallReport, Change, EmittedEvent, Failure, FailureKind, LogLine, Metering, Outcome, ProgressReport, RecordWrite,
    TargetFull, Write,
};

use crate::http::Request;

/// The result of one call.
///
/// ```no_run
/// # use serde_json::json;
/// use trellis_testing::{FailureKind, Plugin};
///
/// let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR")).store("cache").grid("audit");
/// let report = plugin.call("in", json!({ "n": 1 }));
/// assert_eq!(report.emitted("out"), &json!(2));
/// assert_eq!(report.output::<u32>("out"), 2);
/// assert_eq!(report.written_text("cache", "last"), "2");
/// assert_eq!(report.emitted_to("audit"), [&json!({ "n": 2 })]);
/// assert!(report.requests.is_empty());
/// assert!(report.metering.wall_us < 1_000_000);
///
/// plugin.call("in", json!({ "n": "one" })).assert_failed(FailureKind::InvalidInput, "`n`");
/// ```
///
/// Fit for snapshots: [`Debug`](std::fmt::Debug) and [`serde::Serialize`] give emissions or failure, log, requests, writes,
/// records and events, and nothing that differs from call to call. With a snapshot library, such as `insta`:
///
/// ```text
/// insta::assert_json_snapshot!(plugin.call("in", json!({ "name": "Ada" })));
/// ```
///
/// or with a plain file, that is made where it is not there yet:
///
/// ```no_run
/// # use serde_json::json;
/// # use trellis_testing::Plugin;
/// # let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR"));
/// let seen = format!("{:?}", plugin.call("in", json!({ "name": "Ada" })));
/// let path = "tests/greets_ada.snapshot";
/// match std::fs::read_to_string(path) {
///     Ok(kept) => assert_eq!(seen, kept, "delete {path} to accept what is new"),
///     Err(_) => std::fs::write(path, seen).expect("the folder is there"),
/// }
/// ```
#[derive(Clone)]
pub struct Report {
    /// Output port and value. Empty for a call that failed.
    pub emissions: BTreeMap<String, Value>,
    /// Why the call failed, if it did.
    pub failure: Option<Failure>,
    /// The target that had no room, if the call was suspended for that: a host calls it again later.
    pub suspended: Option<TargetFull>,
    /// What the plugin logged and printed, in order.
    pub log: Vec<LogLine>,
    /// How far the plugin said that it had come, in order.
    pub progress: Vec<ProgressReport>,
    /// Requests that went out, in order. Those that were denied are not among them; the log says why.
    pub requests: Vec<Request>,
    /// What the call wrote, by store and key. Empty for a call that failed.
    pub writes: Vec<Write>,
    /// What the call wrote of managed data, by collection and key. Empty for a call that failed.
    pub record_writes: Vec<RecordWrite>,
    /// Events that the call emitted to other grids, in order. Empty for a call that failed.
    pub events: Vec<Event>,
    /// Whether any request other than GET and HEAD was about to be sent.
    pub outside_effect: bool,
    /// What the call used: time, memory, requests. Not part of snapshots.
    pub metering: Metering,
}

/// An event that was emitted to another grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The grid that it is for.
    pub grid: String,
    /// Its data.
    pub data: Value,
    /// Those that the plugin gave it; a host adds where it comes from.
    pub attributes: Vec<(String, String)>,
}

impl Report {
    pub(crate) fn new(report: CallReport, requests: Vec<Request>) -> Self {
        let CallReport { outcome, log, outside_effect, metering } = report;
        let mut suspended = None;
        let (mut emissions, mut writes, mut record_writes, mut events) = (BTreeMap::new(), vec![], vec![], vec![]);
        let mut failure = None;
        match outcome {
            Outcome::Emitted(effects) => {
                let emitted = effects.emissions.into_iter().map(|emission| {
                    let value = serde_json::from_str(emission.json.get()).expect("the engine emits only JSON");
                    (emission.port, value)
                });
                emissions = emitted.collect();
                (writes, record_writes) = (effects.writes, effects.record_writes);
                events = effects.events.into_iter().map(event).collect();
            }
            Outcome::Failed(failed) => failure = Some(failed),
            Outcome::Suspended(full) => suspended = Some(full),
        }
        Self {
            emissions,
            failure,
            suspended,
            log: log.lines,
            progress: Vec::new(),
            requests,
            writes,
            record_writes,
            events,
            outside_effect,
            metering,
        }
    }

    /// The value that was emitted to `port`. Panics if there is none.
    #[track_caller]
    pub fn emitted(&self, port: &str) -> &Value {
        match self.emissions.get(port) {
            Some(value) => value,
            None => panic!("nothing was emitted to `{port}`\n{}", self.story()),
        }
    }

    /// The value that was emitted to `port`, as a type. Panics if there is none, or of another shape.
    #[track_caller]
    pub fn output<T: DeserializeOwned>(&self, port: &str) -> T {
        let value = self.emitted(port);
        T::deserialize(value).unwrap_or_else(|error| panic!("{value} on `{port}` has another shape: {error}"))
    }

    /// Panics unless the call succeeded and left every port empty.
    #[track_caller]
    pub fn assert_emitted_nothing(&self) {
        assert!(
            self.failure.is_none() && self.suspended.is_none() && self.emissions.is_empty(),
            "something else came of the call\n{}",
            self.story()
        );
    }

    /// The failure. Panics if the call succeeded.
    #[track_caller]
    pub fn failed(&self) -> &Failure {
        match &self.failure {
            Some(failure) => failure,
            None => panic!("the call did not fail\n{}", self.story()),
        }
    }

    /// Panics unless the call failed in this way, with `text` in its message.
    #[track_caller]
    pub fn assert_failed(&self, kind: FailureKind, text: &str) {
        let failure = self.failed();
        let as_expected = failure.kind == kind && failure.message.contains(text);
        assert!(as_expected, "expected {kind:?} with `{text}` in its message\n{}", self.story());
    }

    /// Panics unless some line of the log has `text` in it.
    #[track_caller]
    pub fn assert_logged(&self, text: &str) {
        let logged = self.log.iter().any(|line| line.message.contains(text));
        assert!(logged, "`{text}` was not logged\n{}", self.story());
    }

    /// What the call did to a key, if anything.
    pub fn written(&self, store: &str, key: &str) -> Option<&Change> {
        self.writes.iter().find(|write| write.store == store && write.key == key).map(|write| &write.change)
    }

    /// The value that the call set a key to, as text. Panics if it did not.
    #[track_caller]
    pub fn written_text(&self, store: &str, key: &str) -> &str {
        match self.written(store, key) {
            Some(Change::Set { value, .. }) => match str::from_utf8(value) {
                Ok(text) => text,
                Err(error) => panic!("the value of `{key}` in store `{store}` is no text: {error}"),
            },
            other => panic!("`{key}` in store `{store}` was not set but {other:?}\n{}", self.story()),
        }
    }

    /// The record that the call has written, if it wrote one.
    pub fn put_record(&self, collection: &str, key: &str) -> Option<Value> {
        let json = self.record_write(collection, key)?.json.as_ref()?;
        Some(serde_json::from_str(json).expect("the engine takes only JSON"))
    }

    /// Whether the call has deleted this record.
    pub fn has_deleted_record(&self, collection: &str, key: &str) -> bool {
        self.record_write(collection, key).is_some_and(|write| write.json.is_none())
    }

    fn record_write(&self, collection: &str, key: &str) -> Option<&RecordWrite> {
        self.record_writes.iter().find(|write| write.collection == collection && write.key == key)
    }

    /// The data of the events that were emitted to a grid, in order.
    pub fn emitted_to(&self, grid: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event.grid == grid).map(|event| &event.data).collect()
    }

    /// All that happened, for the message of an assertion.
    fn story(&self) -> String {
        let mut story = match &self.failure {
            Some(failure) => format!("outcome: failed ({:?}): {failure}\n", failure.kind),
            None if self.suspended.is_some() => format!("outcome: suspended: {:?}\n", self.suspended),
            None => format!("outcome: emitted {}\n", serde_json::json!(self.emissions)),
        };
        for request in &self.requests {
            story.push_str(&format!("request: {request:?}\n"));
        }
        for write in &self.writes {
            story.push_str(&format!("write: {} {}: {:?}\n", write.store, write.key, write.change));
        }
        for write in &self.record_writes {
            let json = write.json.as_deref().unwrap_or("deleted");
            story.push_str(&format!("record: {} {}: {json}\n", write.collection, write.key));
        }
        for event in &self.events {
            story.push_str(&format!("event: {} {} {:?}\n", event.grid, event.data, event.attributes));
        }
        for line in &self.log {
            story.push_str(&format!("log: {:?} {} {}\n", line.level, line.context, line.message));
        }
        story
    }
}

fn event(EmittedEvent { grid, data, attributes }: EmittedEvent) -> Event {
    let data = serde_json::from_str(data.get()).expect("the engine emits only JSON");
    Event { grid, data, attributes }
}
