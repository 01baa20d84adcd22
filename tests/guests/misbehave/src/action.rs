//! The actions, as they are written in the input: `{"do": "spin"}`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    bindings::{
        exports::trellis::plugin::transformer::{Emission, Event, Failure},
        trellis::plugin::{events::Retry, progress},
    },
    hostile, http, outbox, secret, store, wasi,
};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Emits the whole event and the config.
    Echo,
    Emit {
        emissions: Vec<(String, String)>,
    },
    EmitBytes {
        bytes: usize,
    },
    Fail {
        kind: String,
        message: String,
        after_ms: Option<u64>,
    },

    Spin,
    SpinFor {
        ms: u64,
    },
    Allocate {
        mib: usize,
    },
    AllocateAndGoOn {
        mib: usize,
    },
    Recurse,
    Panic {
        message: String,
    },
    CopyForEver,
    PassString {
        bytes: usize,
    },
    LeakFields {
        count: usize,
    },
    Remember {
        secret: String,
    },
    Recall {
        secret: String,
    },

    Exit {
        code: u8,
    },
    Sleep {
        ms: u64,
    },
    PollForEver,
    Print {
        line: String,
        times: usize,
    },
    PrintError {
        line: String,
        times: usize,
    },
    Random {
        bytes: u64,
    },
    Environment,
    Clock,

    Log {
        message: String,
        times: usize,
    },
    Config,
    /// Reads a secret and emits how many bytes it has; its text too, if it is to be told.
    Secret {
        name: String,
        tell: Option<String>,
    },

    Storage {
        operations: Vec<store::Operation>,
    },
    /// Storage, then a failure: nothing may remain.
    StorageThenPanic {
        operations: Vec<store::Operation>,
    },

    /// Emits events to grids.
    Outbox {
        events: Vec<outbox::Event>,
    },
    OutboxTimes {
        event: outbox::Event,
        times: u32,
    },
    /// Events and storage, then a failure: nothing may remain.
    OutboxThenPanic {
        events: Vec<outbox::Event>,
    },
    /// Storage, then events with what storage has answered as their data.
    StorageThenOutbox {
        operations: Vec<store::Operation>,
        grids: Vec<String>,
    },

    /// Storage, then a request, then more storage: time enough to be killed in the middle.
    StorageAroundFetch {
        before: Vec<store::Operation>,
        request: http::Request,
        after: Vec<store::Operation>,
    },
    /// Storage, then a sleep.
    StorageThenSleep {
        operations: Vec<store::Operation>,
        ms: u64,
    },

    /// Reports progress, then sends a request, if there is one: time enough to look.
    Progress {
        reports: Vec<(f64, String)>,
        request: Option<http::Request>,
    },

    /// Counts this run: once under its own id, once for all.
    Count {
        key: String,
    },
    /// Moves money from one record to another, by reading both and writing both.
    Transfer {
        from: String,
        to: String,
        amount: i64,
    },
    /// Fails before the node's nth attempt, in a way that is to be tried again.
    FailUntil {
        attempt: u32,
    },

    Fetch(http::Request),
    FetchTimes {
        request: http::Request,
        times: u32,
    },
    WasiHttp(http::Request),
    WasiHttpAtOnce {
        request: http::Request,
        times: u32,
    },
    ManyHeaders {
        url: Option<String>,
        count: u32,
    },
    /// The same by `wasi:http`.
    ManyFields {
        count: u32,
    },
    /// Requests with a method of so many letters, kept.
    SetMethod {
        bytes: usize,
        requests: usize,
    },
    /// Sends the whole event to a URL.
    PassOn {
        url: String,
        token: String,
    },
}

impl Action {
    pub fn perform(self, event: &Event, config: &str) -> Result<Vec<Emission>, Failure> {
        let out = match self {
            Self::Emit { emissions } => {
                return Ok(emissions.into_iter().map(|(port, data)| Emission { port, data }).collect());
            }
            Self::EmitBytes { bytes } => Value::String("x".repeat(bytes)),
            Self::Fail { kind, message, after_ms } => return Err(failure(&kind, message, after_ms)),
            Self::Echo => echo(event, config),

            Self::Spin => hostile::spin(),
            Self::SpinFor { ms } => hostile::spin_for(ms),
            Self::Allocate { mib } => hostile::allocate(mib),
            Self::AllocateAndGoOn { mib } => hostile::allocate_and_go_on(mib),
            Self::Recurse => json!(hostile::recurse(1)),
            Self::Panic { message } => panic!("{message}"),
            Self::CopyForEver => hostile::copy_for_ever(),
            Self::PassString { bytes } => hostile::pass_string(bytes),
            Self::LeakFields { count } => http::leak_fields(count),
            Self::Remember { secret } => hostile::remember(&secret),
            Self::Recall { secret } => hostile::recall(&secret),

            Self::Exit { code } => std::process::exit(code.into()),
            Self::Sleep { ms } => wasi::sleep(ms),
            Self::PollForEver => wasi::poll_for_ever(),
            Self::Print { line, times } => wasi::print(&line, times),
            Self::PrintError { line, times } => wasi::print_error(&line, times),
            Self::Random { bytes } => wasi::random(bytes),
            Self::Environment => wasi::environment(),
            Self::Clock => wasi::clock(),

            Self::Log { message, times } => wasi::log(&message, times),
            Self::Config => wasi::config(),
            Self::Secret { name, tell } => return secret::read(&name, tell.as_deref()),

            Self::Storage { operations } => store::perform(operations),
            Self::StorageThenPanic { operations } => {
                store::perform(operations);
                panic!("after the writes")
            }

            Self::Outbox { events } => outbox::emit(&events),
            Self::OutboxTimes { event, times } => outbox::emit_times(&event, times),
            Self::OutboxThenPanic { events } => {
                outbox::emit(&events);
                panic!("after the events")
            }
            Self::StorageThenOutbox { operations, grids } => {
                let answers = store::perform(operations);
                outbox::emit_to_all(&grids, &answers);
                answers
            }
            Self::StorageAroundFetch { before, request, after } => {
                let before = store::perform(before);
                json!([before, http::fetch(&request), store::perform(after)])
            }
            Self::StorageThenSleep { operations, ms } => {
                store::perform(operations);
                wasi::sleep(ms)
            }
            Self::Progress { reports, request } => {
                reports.iter().for_each(|(fraction, text)| progress::report(*fraction, text));
                request.map_or(Value::Null, |request| http::fetch(&request))
            }
            Self::Count { key } => store::count(&event.run, &key),
            Self::Transfer { from, to, amount } => store::transfer(&event.run, [&from, &to], amount),
            Self::FailUntil { attempt } if event.attempt < attempt => {
                return Err(failure("retryable", format!("this is attempt {}", event.attempt), Some(1)));
            }
            Self::FailUntil { attempt } => json!(attempt),

            Self::Fetch(request) => http::fetch(&request),
            Self::FetchTimes { request, times } => (0..times).map(|_| http::fetch(&request)).collect(),
            Self::WasiHttp(request) => http::wasi_http(&request),
            Self::WasiHttpAtOnce { request, times } => http::wasi_http_at_once(&request, times),
            Self::ManyHeaders { url, count } => {
                http::many_headers(url.unwrap_or("https://api.example.com/".to_owned()), count)
            }
            Self::ManyFields { count } => http::many_fields(count),
            Self::SetMethod { bytes, requests } => http::set_method(bytes, requests),
            Self::PassOn { url, token } => http::pass_on(url, &token),
        };
        Ok(vec![Emission { port: "out".to_owned(), data: out.to_string() }])
    }
}

fn echo(event: &Event, config: &str) -> Value {
    json!({
        "run": event.run,
        "node": event.node,
        "attempt": event.attempt,
        "idempotency_key": event.idempotency_key,
        "attributes": event.attributes,
        "inputs": event.inputs,
        "config": config,
    })
}

fn failure(kind: &str, message: String, after_ms: Option<u64>) -> Failure {
    match kind {
        "invalid-input" => Failure::InvalidInput(message),
        "invalid-config" => Failure::InvalidConfig(message),
        "retryable" => Failure::Retryable(Retry { message, after_ms }),
        _ => Failure::Permanent(message),
    }
}
