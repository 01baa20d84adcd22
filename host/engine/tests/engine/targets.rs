//! Requests to targets with limits: what a call does while there is no room, and what it tells of its answers.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use trellis_engine::{
    Call, CallReport, FailureKind, Outbound, OutboundRequest, OutboundResponse, Outcome, Passage, Patience, SendError,
    TargetFull, TargetGate,
};
use trellis_model::call_limits::CallLimits;

use crate::support::{Fixture, effects, failure};

/// Answers every request with 429 and a time.
#[derive(Default)]
struct Target {
    sent: AtomicU32,
}

#[async_trait::async_trait]
impl Outbound for Target {
    async fn send(&self, _request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        self.sent.fetch_add(1, SeqCst);
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
        let body = Full::new("wait".into()).map_err(|never| match never {}).boxed_unsync();
        Ok(OutboundResponse { status: StatusCode::TOO_MANY_REQUESTS, headers, body })
    }
}

/// What the gate says to each request in turn; the last stays.
#[derive(Clone, Copy)]
enum Verdict {
    NoTarget,
    Go,
    GoAfter(Duration),
    Full(Duration),
}

struct Gate {
    verdicts: Mutex<VecDeque<Verdict>>,
    asked: Mutex<Vec<Patience>>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    answers: Mutex<Vec<(StatusCode, Option<HeaderValue>)>>,
    inside: AtomicU32,
}

impl Gate {
    fn new(verdicts: impl IntoIterator<Item = Verdict>) -> Arc<Self> {
        let verdicts = Mutex::new(verdicts.into_iter().collect());
        Arc::new(Self { verdicts, asked: Mutex::default(), told: Arc::default() })
    }
}

#[async_trait::async_trait]
impl TargetGate for Gate {
    async fn pass(&self, _url: &url::Url, patience: Patience) -> Result<Option<Box<dyn Passage>>, TargetFull> {
        self.asked.lock().expect("not poisoned").push(patience);
        let verdict = {
            let mut verdicts = self.verdicts.lock().expect("not poisoned");
            if verdicts.len() > 1 { verdicts.pop_front() } else { verdicts.front().copied() }
        };
        match verdict.expect("a verdict") {
            Verdict::Full(wait) => {
                return Err(TargetFull { target: "shop".to_owned(), host: "h".to_owned(), wait, until_ms: 42 });
            }
            Verdict::GoAfter(wait) => tokio::time::sleep(wait).await,
            Verdict::NoTarget => return Ok(None),
            Verdict::Go => {}
        }
        self.told.inside.fetch_add(1, SeqCst);
        Ok(Some(Box::new(Pass(Arc::clone(&self.told)))))
    }
}

struct Pass(Arc<Told>);

impl Passage for Pass {
    fn answered(&self, status: StatusCode, headers: &HeaderMap) {
        let after = headers.get(http::header::RETRY_AFTER).cloned();
        self.0.answers.lock().expect("not poisoned").push((status, after));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}

async fn call(gate: &Arc<Gate>, limits: CallLimits, action: Value) -> (CallReport, u32) {
    let target = Arc::new(Target::default());
    let fixture = Fixture { limits, ..Fixture::new().await }.grant(&["* https://api.example.com/*"], &[]);
    let call = Call {
        targets: Some(Arc::clone(gate) as Arc<dyn TargetGate>),
        outbound: Arc::clone(&target) as Arc<dyn Outbound>,
        ..fixture.call_of(&action)
    };
    let report = fixture.transformer.call(call).await;
    (report, target.sent.load(SeqCst))
}

fn request(method: &str) -> Value {
    json!({ "method": method, "url": "https://api.example.com/" })
}

fn fetch(method: &str) -> Value {
    json!({ "do": "fetch", "method": method, "url": "https://api.example.com/" })
}

#[tokio::test]
async fn a_call_that_would_wait_too_long_is_suspended_and_nothing_has_happened() {
    let wasi = json!({ "do": "wasi-http", "method": "POST", "url": "https://api.example.com/" });
    for action in [fetch("GET"), fetch("POST"), wasi] {
        let gate = Gate::new([Verdict::Full(Duration::from_secs(600))]);
        let (report, sent) = call(&gate, CallLimits::default(), action).await;
        let Outcome::Suspended(full) = &report.outcome else { panic!("{report:?}") };
        assert_eq!((full.target.as_str(), full.until_ms, full.wait), ("shop", 42, Duration::from_secs(600)));
        assert!(!report.outside_effect && sent == 0);
        assert!(gate.asked.lock().expect("not poisoned")[0].can_suspend);
    }
}

#[tokio::test]
async fn a_call_that_has_sent_what_counts_is_not_made_again_as_if_it_had_not() {
    // What changes something counts, and what took up a target's room.
    for (method, first) in [("POST", Verdict::NoTarget), ("GET", Verdict::Go)] {
        let gate = Gate::new([first, Verdict::Full(Duration::from_secs(600))]);
        let action = json!({ "do": "fetch-times", "request": request(method), "times": 2 });
        let (report, sent) = call(&gate, CallLimits::default(), action).await;
        let failure = failure(&report);
        assert_eq!((failure.kind, failure.after_ms), (FailureKind::TimedOut, Some(600_000)), "{failure}");
        assert!(failure.message.contains("target `shop` takes no request for another 600000 ms"), "{failure}");
        assert_eq!((report.outside_effect, sent), (method == "POST", 1));
        let asked = gate.asked.lock().expect("not poisoned").clone();
        assert_eq!([asked[0].can_suspend, asked[1].can_suspend], [true, false]);
        assert!(asked[1].longest <= Duration::from_millis(CallLimits::default().wall_ms));
    }
}

#[tokio::test]
async fn a_call_that_has_only_read_elsewhere_is_suspended_all_the_same() {
    let gate = Gate::new([Verdict::NoTarget, Verdict::Full(Duration::from_secs(600))]);
    let action = json!({ "do": "fetch-times", "request": request("GET"), "times": 2 });
    let (report, sent) = call(&gate, CallLimits::default(), action).await;
    assert!(matches!(report.outcome, Outcome::Suspended(_)) && sent == 1, "{report:?}");
}

#[tokio::test]
async fn waiting_for_room_is_no_time_of_the_target_but_of_the_call() {
    let gate = Gate::new([Verdict::GoAfter(Duration::from_millis(400))]);
    let mut action = fetch("GET");
    action["timeout_ms"] = json!(200);
    let (report, sent) = call(&gate, CallLimits::default(), action.clone()).await;
    assert!(report.metering.target_wait_us >= 400_000 && report.metering.wall_us >= 400_000, "{report:?}");
    assert_eq!(sent, 1);
    let output: Value = serde_json::from_str(effects(report).emissions[0].json.get()).expect("JSON");
    assert_eq!(output["status"], 429);

    let limits = CallLimits { wall_ms: 100, ..CallLimits::default() };
    let (report, sent) = call(&gate, limits, action).await;
    assert_eq!((failure(&report).kind, sent), (FailureKind::TimedOut, 0));
}

#[tokio::test]
async fn the_gate_is_told_of_answers_and_gets_every_place_back() {
    let once = |method: &str| json!({ "do": method, "method": "GET", "url": "https://api.example.com/" });
    for action in [once("fetch"), once("wasi-http")] {
        let gate = Gate::new([Verdict::Go]);
        let (report, _) = call(&gate, CallLimits::default(), action).await;
        effects(report);
        let answers = gate.told.answers.lock().expect("not poisoned").clone();
        assert_eq!(answers, [(StatusCode::TOO_MANY_REQUESTS, Some(HeaderValue::from_static("7")))]);
        assert_eq!(gate.told.inside.load(SeqCst), 0);
    }
}
