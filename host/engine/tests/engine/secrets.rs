//! Secrets of a call: read where that is granted, added to requests, and never seen in what is kept of the call.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::time::timeout;
use trellis_engine::{EngineConfig, FailureKind, Outbound, OutboundRequest, OutboundResponse, Secrets, SendError};
use trellis_model::{
    AccountId,
    call_limits::CallLimits,
    credential::Secret,
    grant::{CredentialGrant, Grants},
};

use crate::support::{Fixture, config, effects};

/// Has everything that needs an escape somewhere.
const SECRET: &str = "s3cret \"text\"/with ü";

fn secrets(of: &[(&str, &str)]) -> Secrets {
    let named = |(name, text): &(&str, &str)| ((*name).to_owned(), Secret::from((*text).to_owned()));
    Secrets::new(of.iter().map(named).collect::<BTreeMap<_, _>>())
}

async fn reader() -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.grants.secret = vec!["key".to_owned()];
    fixture.grants.emit = vec!["told".to_owned()];
    fixture.secrets = secrets(&[("key", SECRET), ("other", "0therwise hidden")]);
    fixture
}

fn read(name: &str, tell: Option<&str>) -> Value {
    json!({ "do": "secret", "name": name, "tell": tell })
}

/// No spelling of the secret is in a text.
fn assert_silent(text: &str) {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for spelling in ["s3cret", "with ü", "\\u0033\\u0063\\u0072", &hex, &percent] {
        assert!(!text.contains(spelling), "`{spelling}` is in {text}");
    }
}

#[tokio::test]
async fn a_secret_is_read_where_that_is_granted_and_nowhere_else() {
    let fixture = reader().await;
    assert_eq!(fixture.output(read("key", None)).await, json!(SECRET.len()));
    let denied = fixture.output(read("other", None)).await;
    assert!(denied["error"].as_str().expect("denied").contains("add \\\"other\\\" to `grants.secret`"), "{denied}");
    let denied = fixture.output(read("a\0b", None)).await;
    assert!(denied["error"].as_str().expect("denied").contains("Denied"), "{denied}");
}

#[tokio::test]
async fn a_secret_that_a_guest_tells_is_in_nothing_that_is_kept() {
    let fixture = reader().await;
    let log = fixture.call(read("key", Some("log"))).await.log;
    assert!(log.lines.len() >= 12, "{log:?}");
    assert!(log.lines.iter().all(|line| line.message.contains("[redacted]")), "{log:?}");
    assert_silent(&format!("{log:?}"));

    let emitted = effects(fixture.call(read("key", Some("emit"))).await);
    let json = emitted.emissions[0].json.get();
    let told: (Vec<String>, String, String, String, String) = serde_json::from_str(json).expect("JSON still");
    assert!(
        told.0.iter().chain([&told.1, &told.2, &told.3, &told.4]).all(|text| text.contains("[redacted]")),
        "{json}"
    );
    assert_silent(json);

    let told = effects(fixture.call(read("key", Some("outbox"))).await).events.remove(0);
    assert_eq!(told.attributes, [("told".to_owned(), "[redacted]".to_owned())]);
    assert_silent(told.data.get());

    for (way, kind) in [("fail", FailureKind::Permanent), ("panic", FailureKind::Trapped)] {
        let report = fixture.fails(read("key", Some(way)), kind, "[redacted]").await;
        assert_silent(&format!("{report:?}"));
    }
}

#[tokio::test]
async fn a_secret_at_the_limit_of_the_log_is_not_cut_into_view() {
    let mut fixture = reader().await;
    for room in 16..120 {
        fixture.limits.log_bytes = room;
        assert_silent(&format!("{:?}", fixture.call(read("key", Some("log"))).await.log));
    }
}

#[tokio::test]
async fn what_a_guest_knows_by_itself_is_left_as_it_is() {
    let fixture = reader().await;
    let told = fixture.output(json!({ "do": "echo" })).await;
    assert_eq!(told["node"], "total");
}

/// Answers with the headers that it was sent.
#[derive(Default)]
struct Mirror(Mutex<Vec<HeaderMap>>);

#[async_trait::async_trait]
impl Outbound for Mirror {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let shown = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        let body = Full::new(shown.collect::<String>().into()).map_err(|never| match never {}).boxed_unsync();
        let status = if request.url.path() == "/moved" { StatusCode::FOUND } else { StatusCode::OK };
        self.0.lock().expect("not poisoned").push(request.headers);
        let location = HeaderValue::from_static("https://elsewhere.example.com/");
        Ok(OutboundResponse { status, headers: HeaderMap::from_iter([(http::header::LOCATION, location)]), body })
    }
}

async fn sender() -> (Fixture, Arc<Mirror>) {
    let mirror = Arc::new(Mirror::default());
    let mut fixture =
        Fixture::new().await.grant(&["* https://api.example.com/*", "* https://elsewhere.example.com/*"], &[]);
    let grant = json!({ "name": "key", "host": "api.example.com", "header": "authorization: Bearer {secret}" });
    fixture.grants.credential = vec![serde_json::from_value::<CredentialGrant>(grant).expect("a grant")];
    fixture.secrets = secrets(&[("key", "s3cret-text-1")]);
    fixture.outbound = Some(Arc::clone(&mirror) as Arc<dyn Outbound>);
    (fixture, mirror)
}

fn sent(mirror: &Mirror) -> Vec<Option<String>> {
    let text = |headers: &HeaderMap| Some(headers.get("authorization")?.to_str().expect("text").to_owned());
    mirror.0.lock().expect("not poisoned").drain(..).map(|headers| text(&headers)).collect()
}

#[tokio::test]
async fn a_credential_is_added_for_its_own_host_and_never_seen_by_the_guest() {
    let (fixture, mirror) = sender().await;
    for way in ["fetch", "wasi-http"] {
        let request =
            |url: &str| json!({ "do": way, "method": "GET", "url": url, "headers": [["authorization", "mine"]] });
        let report = fixture.call(request("https://api.example.com/a")).await;
        assert!(!format!("{report:?}").contains("s3cret"), "{way}: {report:?}");
        let answer = effects(report).emissions.remove(0).json;
        // A server that echoes what it was sent tells the guest, and the guest cannot tell anybody.
        assert!(answer.get().contains("Bearer [redacted]"), "{way}: {answer}");
        fixture.output(request("https://elsewhere.example.com/a")).await;
        assert_eq!(sent(&mirror), [Some("Bearer s3cret-text-1".to_owned()), Some("mine".to_owned())], "{way}");
    }
}

#[tokio::test]
async fn a_redirect_takes_no_credential_along() {
    let (fixture, mirror) = sender().await;
    let moved = fixture.output(json!({ "do": "fetch", "method": "GET", "url": "https://api.example.com/moved" })).await;
    assert_eq!(moved["status"], 302);
    assert_eq!(sent(&mirror).len(), 1, "nobody but the guest can follow");
    fixture.output(json!({ "do": "fetch", "method": "GET", "url": "https://elsewhere.example.com/" })).await;
    assert_eq!(sent(&mirror), [None]);
}

#[tokio::test]
async fn a_request_that_is_refused_carries_nothing_anywhere() {
    let (mut fixture, mirror) = sender().await;
    fixture.grants.http.clear();
    let denied = fixture.call(json!({ "do": "fetch", "method": "GET", "url": "https://api.example.com/" })).await;
    assert!(!format!("{denied:?}").contains("s3cret"), "{denied:?}");
    assert!(sent(&mirror).is_empty());
}

#[tokio::test]
async fn a_call_with_secrets_waits_for_the_memory_that_keeping_them_out_takes() {
    let twice = EngineConfig { memory_bytes_total: 2 * CallLimits::default().memory_bytes, ..config() };
    let fixture = Fixture::with(twice).await;
    let enter = || fixture.transformer.enter(AccountId(1), &fixture.limits, &fixture.grants).now_or_never();
    let both = [enter(), enter()];
    assert!(both.iter().all(Option::is_some), "there is room for two calls without secrets");
    drop(both);
    let granted = Grants { secret: vec!["key".to_owned()], ..Grants::default() };
    let enter = || fixture.transformer.enter(AccountId(1), &fixture.limits, &granted).now_or_never();
    let first = enter();
    assert!(first.is_some() && enter().is_none(), "and for one with secrets, which takes a little more");
    drop(first);
    assert!(enter().is_some());
}

#[test]
fn looking_for_secrets_in_what_a_guest_returned_is_time_of_its_call() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut fixture = reader().await;
        let long = json!({ "do": "emit-bytes", "bytes": 200_000 });
        fixture.output(long.clone()).await;
        fixture.limits.wall_ms = 500;
        // Long outputs are looked through on a thread for that, and the only one is busy.
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || wait.recv().is_err());
        let called = timeout(
            Duration::from_secs(20),
            fixture.fails(long, FailureKind::TimedOut, "took longer than its limit of 500 ms"),
        );
        let is_ended = called.await.is_ok();
        drop(let_go);
        busy.await.expect("no panic");
        assert!(is_ended, "the call goes on past its wall time");
    });
}
