//! A plugin under test, with the world that its calls find.

mod replay;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use trellis_engine::{
    Call, CallReport, Event, Outbound, Outcome, ProgressSink, Secrets, Storage, TargetGate, Transformer, WallClock,
};
use trellis_model::{
    AccountId,
    call_limits::CallLimits,
    credential::Secret,
    description::Description,
    fault::did_you_mean,
    grant::{CredentialGrant, Grants, HttpGrant, StorageGrant},
};

use crate::{
    clock::FixedClock,
    component,
    http::{FakeHttp, Mock, Reply, Unanswered},
    progress::Reported,
    records::FakeRecords,
    report::Report,
    storage::FakeStorage,
    targets::{FakeTargets, FullTarget},
};

/// A plugin and what its calls will find: config, mocks, stored values, time, limits.
///
/// Each method takes the plugin and gives it back, so that a test reads as one sentence. Calls do not use it up: a second
/// call finds what the first one stored.
///
/// ```no_run
/// use std::time::Duration;
///
/// use serde_json::json;
/// use trellis_testing::{CallLimits, Plugin, Request, Response};
///
/// let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR"))
///     // What the manifest would say of the node.
///     .config(json!({ "api_url": "https://api.example.com" }))
///     .limits(CallLimits { wall_ms: 500, ..CallLimits::default() })
///     // The world: the last mock that matches answers; several answers come in turn; a function looks at the request.
///     .http_mock("*", "https://api.example.com/*", |request: &Request| Response::text(200, request.url.clone()))
///     .http_mock("GET", "https://api.example.com/down", vec![Response::status(503), Response::status(200)])
///     .full_target("*.slow.example.com", Duration::from_secs(60))
///     .credential("github", "api.example.com", "authorization: Bearer {secret}", "t0ken-of-tests")
///     .secret("signing-key", "correct horse")
///     .storage("cache", "seen", "1")
///     .store("results")
///     .grid("audit")
///     // The event.
///     .clock("2026-05-01T12:00:00Z")
///     .attribute("trigger", "tasks")
///     .attempt(2);
///
/// let report = plugin.call("task", json!({ "repository": "trellis" }));
/// assert!(report.outside_effect);
/// assert_eq!(plugin.stored("results", "trellis").as_deref(), Some(b"ok".as_slice()));
///
/// // What the manifest grants, instead of what the test mocks and stores.
/// let report = plugin.grants(&["GET https://api.example.com/public/*"], &["cache:r"]).call_with([]);
/// report.assert_logged("is not granted");
/// ```
pub struct Plugin {
    /// Its crate's, if it was built from one.
    name: Option<String>,
    transformer: Arc<Transformer>,
    event: Event,
    config: Value,
    limits: CallLimits,
    /// What the test says is granted; none: what it mocks and stores.
    grants: Option<Grants>,
    mocks: Vec<Mock>,
    storage: Arc<FakeStorage>,
    stores: Vec<StorageGrant>,
    records: FakeRecords,
    /// Grids that the plugin may emit to.
    grids: Vec<String>,
    /// Those that a host would add to requests.
    credentials: Vec<CredentialGrant>,
    /// Names of those that the plugin may read.
    readable: Vec<String>,
    secrets: BTreeMap<String, Secret>,
    clock: Option<Arc<FixedClock>>,
    full_targets: Vec<FullTarget>,
}

impl Plugin {
    /// Builds the crate in `folder` (in its own tests: `env!("CARGO_MANIFEST_DIR")`) to a component and loads it, once per
    /// test process. Panics with cargo's output when it does not build, and with all faults when it is no plugin.
    #[track_caller]
    pub fn build(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        match component::of_crate(folder) {
            Ok(built) => Self::of(built.transformer, Some(built.name)),
            Err(error) => panic!("cannot build the plugin in {}: {error}", folder.display()),
        }
    }

    /// Loads a component that was built already, in whatever language. Panics with all faults when it is no plugin.
    #[track_caller]
    pub fn from_bytes(component: impl Into<Vec<u8>>) -> Self {
        match component::load(Bytes::from(component.into()), None) {
            Ok(transformer) => Self::of(transformer, None),
            Err(error) => panic!("{error}"),
        }
    }

    fn of(transformer: Arc<Transformer>, name: Option<String>) -> Self {
        let run = "run_0000000000001".to_owned();
        let node = "node".to_owned();
        let idempotency_key = format!("{run}-{node}");
        Self {
            name,
            transformer,
            event: Event { run, node, attempt: 1, idempotency_key, attributes: Vec::new(), inputs: Vec::new() },
            config: Value::Object(serde_json::Map::new()),
            limits: CallLimits::default(),
            grants: None,
            mocks: Vec::new(),
            storage: Arc::default(),
            stores: Vec::new(),
            records: FakeRecords::default(),
            grids: Vec::new(),
            credentials: Vec::new(),
            readable: Vec::new(),
            secrets: BTreeMap::new(),
            clock: None,
            full_targets: Vec::new(),
        }
    }

    /// The node's config. Default: an empty object.
    #[must_use]
    pub fn config(mut self, config: impl Into<Value>) -> Self {
        self.config = config.into();
        self
    }

    /// Answers requests. `url` is matched as in a grant: exactly, or up to a `*` at its end; the query does not count.
    /// `method` may be several (`GET,HEAD`) or `*`. Of several mocks that match, the last one added answers.
    #[must_use]
    #[track_caller]
    pub fn http_mock(mut self, method: &str, url: &str, reply: impl Reply) -> Self {
        match format!("{method} {url}").parse::<HttpGrant>() {
            Ok(pattern) => self.mocks.push(Mock { pattern, reply: Arc::new(reply) }),
            Err(error) => panic!("{error}"),
        }
        self
    }

    /// Puts a committed value into a store.
    #[must_use]
    #[track_caller]
    pub fn storage(self, store: &str, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.storage.set(store, key, value.as_ref().to_vec());
        self.store(store)
    }

    /// Lets the plugin read and write a store, which may be empty.
    #[must_use]
    #[track_caller]
    pub fn store(mut self, store: &str) -> Self {
        match format!("{store}:rw").parse::<StorageGrant>() {
            Ok(grant) => self.stores.push(grant),
            Err(error) => panic!("{error}"),
        }
        self
    }

    /// Declares a collection of managed data, as a manifest does, and lets the plugin read and write it:
    /// `.collection("issues", json!({ "schema": "trellis:issue", "indexes": { "state": "/state" } }))`. Panics with all faults
    /// of the definition.
    #[must_use]
    #[track_caller]
    pub fn collection(mut self, name: &str, definition: impl Into<Value>) -> Self {
        if let Err(faults) = self.records.declare(name, &definition.into()) {
            panic!("{faults}");
        }
        self
    }

    /// Puts committed records, keys and JSON, into a collection that was declared. Panics if one does not fit its schema.
    #[must_use]
    #[track_caller]
    pub fn records<'a>(self, collection: &str, records: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        for (key, record) in records {
            if let Err(error) = self.records.set(collection, key, &record) {
                panic!("{error}");
            }
        }
        self
    }

    /// Lets the plugin emit events to a grid.
    #[must_use]
    pub fn grid(mut self, grid: &str) -> Self {
        self.grids.push(grid.to_owned());
        self
    }

    /// Adds a credential to requests to a host, as a manifest's `credential = { name = …, host = …, header = … }` does: the
    /// plugin does not see it, [`Report::requests`] does.
    #[must_use]
    #[track_caller]
    pub fn credential(mut self, name: &str, host: &str, header: &str, value: &str) -> Self {
        match (host.parse(), header.parse()) {
            (Ok(origin), Ok(header)) => self.credentials.push(CredentialGrant::new(name.to_owned(), origin, header)),
            (Err(error), _) | (_, Err(error)) => panic!("{error}"),
        }
        self.secrets.insert(name.to_owned(), Secret::from(value.to_owned()));
        self
    }

    /// Lets the plugin read a secret, as a manifest's `secret = [name]` does. As on a host, nothing of it gets into the
    /// report's log, emissions and failure.
    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.readable.push(name.to_owned());
        self.secrets.insert(name.to_owned(), Secret::from(value.to_owned()));
        self
    }

    /// Grants exactly this, and the grids of [`Plugin::grid`] and the credentials of the test, as a manifest would: `.grants(&["GET https://api.example.com/*"], &["cache:r"])`.
    #[must_use]
    #[track_caller]
    pub fn grants(mut self, http: &[&str], storage: &[&str]) -> Self {
        fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(texts: &[&str]) -> Result<Vec<T>, String> {
            texts.iter().map(|text| text.parse().map_err(|error: T::Err| error.to_string())).collect()
        }
        match (parse(http), parse(storage)) {
            (Ok(http), Ok(storage)) => self.grants = Some(Grants { http, storage, ..Grants::default() }),
            (Err(error), _) | (_, Err(error)) => panic!("{error}"),
        }
        self
    }

    /// The limits of each call. Default: those of a host.
    #[must_use]
    pub fn limits(mut self, limits: CallLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The time of day that the plugin sees, which stands still: RFC 3339, such as `2026-05-01T12:00:00Z`. Default: now.
    #[must_use]
    #[track_caller]
    pub fn clock(mut self, time: &str) -> Self {
        self.clock = Some(Arc::new(FixedClock::at(time)));
        self
    }

    /// Lets a target have no room for requests for so long. `hosts` is written as `host` of a target in a manifest, such as
    /// `*.example.com`. A call that meets it is suspended, as a host would do; one that has sent a request which changes
    /// something waits, if its wall time allows, or fails. No real time passes.
    #[must_use]
    #[track_caller]
    pub fn full_target(mut self, hosts: &str, wait: Duration) -> Self {
        match hosts.parse() {
            Ok(hosts) => self.full_targets.push(FullTarget { hosts, wait }),
            Err(error) => panic!("{error}"),
        }
        self
    }

    /// Adds an attribute of the event, such as `trigger`.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.event.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Which attempt each call is. Default: 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.event.attempt = attempt;
        self
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        self.transformer.description()
    }

    /// Interfaces that the plugin imports.
    pub fn imports(&self) -> &[String] {
        self.transformer.imports()
    }

    /// A committed value: one that the test stored, or a successful call.
    pub fn stored(&self, store: &str, key: &str) -> Option<Vec<u8>> {
        self.storage.value(store, key)
    }

    /// A committed record: one that the test put there, or a successful call.
    pub fn recorded(&self, collection: &str, key: &str) -> Option<Value> {
        self.records.value(collection, key)
    }

    /// Calls the plugin once with one input.
    #[track_caller]
    pub fn call(&self, port: &str, json: impl Into<Value>) -> Report {
        self.call_with([(port, json.into())])
    }

    /// Calls the plugin once with several inputs, or none. Panics if an input has no such port, or a required one is
    /// missing: a host would never call it so.
    #[track_caller]
    pub fn call_with<'a>(&self, inputs: impl IntoIterator<Item = (&'a str, Value)>) -> Report {
        let inputs: Vec<(&str, Value)> = inputs.into_iter().collect();
        self.call_once(&inputs).0
    }

    /// The report, and the requests that nothing answered.
    #[track_caller]
    fn call_once(&self, inputs: &[(&str, Value)]) -> (Report, Vec<Unanswered>) {
        self.check_inputs(inputs);
        let http = Arc::new(FakeHttp::new(self.mocks.clone()));
        let reported = Arc::new(Reported::default());
        let progress = Arc::clone(&reported) as Arc<dyn ProgressSink>;
        let call = Call { progress: Some(progress), ..self.prepare(inputs, &http) };
        let report = component::block_on(self.transformer.call(call));
        self.commit(&report);
        (Report { progress: reported.take(), ..Report::new(report, http.requests()) }, http.unanswered())
    }

    fn prepare(&self, inputs: &[(&str, Value)], http: &Arc<FakeHttp>) -> Call {
        let inputs = inputs.iter().map(|(port, value)| ((*port).to_owned(), value.to_string())).collect();
        Call {
            account: AccountId(1),
            event: Event { inputs, ..self.event.clone() },
            config: self.config.to_string().into(),
            limits: self.limits,
            grants: Arc::new(self.effective_grants()),
            secrets: Arc::new(Secrets::new(self.secrets.clone())),
            storage: Arc::clone(&self.storage) as Arc<dyn Storage>,
            records: self.records.data(),
            outbound: Arc::clone(http) as Arc<dyn Outbound>,
            targets: (!self.full_targets.is_empty())
                .then(|| Arc::new(FakeTargets(self.full_targets.clone())) as Arc<dyn TargetGate>),
            progress: None,
            clock: self.clock.clone().map(|clock| clock as Arc<dyn WallClock>),
        }
    }

    fn effective_grants(&self) -> Grants {
        let of_the_world = || Grants {
            http: self.mocks.iter().map(|mock| mock.pattern.clone()).collect(),
            storage: self.stores.clone(),
            ..Grants::default()
        };
        let given = self.grants.clone().unwrap_or_else(of_the_world);
        Grants {
            // A test declares what it grants; a recorded run has grants of its own.
            records: if given.records.is_empty() { self.records.grants() } else { given.records },
            emit: self.grids.clone(),
            credential: self.credentials.clone(),
            secret: self.readable.clone(),
            ..given
        }
    }

    #[track_caller]
    fn check_inputs(&self, inputs: &[(&str, Value)]) {
        let known = &self.description().inputs;
        for (port, _) in inputs {
            if !known.contains_key(*port) {
                let near = did_you_mean(port, known.keys().map(String::as_str));
                let hint = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                panic!("the plugin has no input `{port}`, only {:?}{hint}", known.keys().collect::<Vec<_>>());
            }
        }
        for (name, port) in known {
            let given = inputs.iter().any(|(given, _)| given == name);
            assert!(given || !port.required, "the input `{name}` is required: a host skips the node without it");
        }
    }

    #[track_caller]
    fn commit(&self, report: &CallReport) {
        if let Outcome::Emitted(effects) = &report.outcome {
            if let Err(error) = self.storage.commit(&effects.writes) {
                panic!("{error}");
            }
            self.records.commit(&effects.record_writes);
        }
    }
}
