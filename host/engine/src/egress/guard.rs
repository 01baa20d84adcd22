//! The guard of one call: every request of its guest, whichever way it came, is checked, completed, counted and sent here.
//!
//! Knows the node's grants, the operator's policy and the call's limits; neither WIT nor how a request reaches the network.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trellis_model::{call_limits::CallLimits, grant::Grants, outbox};
use url::{Host, Url};

use super::{
    body::{CountedBody, Counter},
    departure::{BrokenOff, Departure},
    headers::{settle_length, strip},
    injection::Injection,
    limits::Deadlines,
    outbound::{Outbound, OutboundBody, OutboundRequest, OutboundResponse, SendError, WireMeter},
    policy::EgressPolicy,
    targets::{Passage, Patience, TargetGate},
};

/// Longest method of a request, in bytes. The longest that is registered has 17.
const METHOD_BYTES_MAX: usize = 32;
/// Longest URL of a request, in bytes. What most servers accept at the longest.
pub(crate) const URL_BYTES_MAX: usize = 8 * 1024;
/// Headers of one request. Servers refuse more than about a hundred.
pub(crate) const HEADERS_MAX: usize = 100;
/// Header names and values of one request together, in bytes. Servers refuse more than 8 to 64 KiB.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Why a request may not be sent: the rule, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub String);

/// What a call sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub requests: u32,
    pub request_bytes: u64,
    /// Unpacked, or as they came over the wire if that is more.
    pub response_bytes: u64,
    /// Waiting until a target had room.
    pub target_wait: Duration,
    /// Whether any request other than GET and HEAD was about to be sent.
    pub outside_effect: bool,
}

pub(crate) struct EgressGuard {
    policy: Arc<EgressPolicy>,
    grants: Arc<Grants>,
    outbound: Arc<dyn Outbound>,
    /// Who counts the requests to targets, if any have limits.
    targets: Option<Arc<dyn TargetGate>>,
    /// When the call's time is over.
    ends_at: Instant,
    requests_max: u32,
    request_bytes_max: u64,
    response_bytes_max: u64,
    injection: Injection,
    /// Emissions and requests to triggers between an event from outside and this call.
    hops: u32,
    /// Same for every attempt of the node in its run; a running number per request is put behind it.
    idempotency_key: String,
    /// Requests that wait for the head of their response.
    at_once: Arc<Semaphore>,
    requests: AtomicU32,
    /// Requests other than GET and HEAD. Counted apart, so that their numbers stay the same when a retry reads less.
    changing_requests: AtomicU32,
    pub(super) request_bytes: AtomicU64,
    /// Unpacked.
    pub(super) response_bytes: AtomicU64,
    wire: WireMeter,
    target_wait_us: AtomicU64,
    departure: Departure,
    outside_effect: AtomicBool,
}

/// A request that passed the rules.
pub(crate) struct PreparedRequest {
    method: Method,
    url: Url,
    headers: HeaderMap,
}

/// A request that may go now.
pub(crate) struct PassedRequest {
    prepared: PreparedRequest,
    at_once: OwnedSemaphorePermit,
    passage: Option<Box<dyn Passage>>,
}

impl EgressGuard {
    pub fn new(
        policy: Arc<EgressPolicy>,
        grants: Arc<Grants>,
        outbound: Arc<dyn Outbound>,
        targets: Option<Arc<dyn TargetGate>>,
        limits: &CallLimits,
        idempotency_key: String,
    ) -> Self {
        Self {
            policy,
            grants,
            outbound,
            targets,
            ends_at: Instant::now() + Duration::from_millis(limits.wall_ms),
            requests_max: limits.requests,
            request_bytes_max: limits.request_bytes,
            response_bytes_max: limits.response_bytes,
            injection: Injection::new(Arc::default(), Arc::default()),
            hops: 0,
            idempotency_key,
            at_once: Arc::new(Semaphore::new(limits.requests_at_once.max(1) as usize)),
            requests: AtomicU32::new(0),
            changing_requests: AtomicU32::new(0),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            wire: WireMeter::new(limits.response_bytes),
            target_wait_us: AtomicU64::new(0),
            departure: Departure::default(),
            outside_effect: AtomicBool::new(false),
        }
    }

    /// The same, with credentials that are added to requests.
    pub fn with_injection(self, injection: Injection) -> Self {
        Self { injection, ..self }
    }

    /// The same for a call so far from an event from outside.
    pub fn at_hop(self, hops: u32) -> Self {
        Self { hops, ..self }
    }

    /// Whether the guest may send such a request, and its URL in the one spelling in which it will be sent.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check(&self, method: &Method, url: &str) -> Result<Url, Denied> {
        if method.as_str().len() > METHOD_BYTES_MAX {
            return Err(Denied(format!("the method is longer than {METHOD_BYTES_MAX} bytes")));
        }
        // However it is spelled: what a server makes of `connect` is anybody's guess.
        if ["CONNECT", "TRACE"].iter().any(|forbidden| method.as_str().eq_ignore_ascii_case(forbidden)) {
            return Err(Denied(format!("the method {method} is not allowed; use GET, POST, PUT, PATCH or DELETE")));
        }
        if url.len() > URL_BYTES_MAX {
            return Err(Denied(format!("the URL is {} bytes long, at most {URL_BYTES_MAX} are allowed", url.len())));
        }
        let parsed = Url::parse(url).map_err(|error| Denied(format!("the address is no URL: {error}")))?;
        self.check_url(method, &parsed)?;
        Ok(parsed)
    }

    fn check_url(&self, method: &Method, url: &Url) -> Result<(), Denied> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Denied(format!("the scheme `{}` is not allowed; use http or https", shown(url.scheme()))));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Denied("a user name in the URL is not allowed; send an `authorization` header".to_owned()));
        }
        if !self.grants.allows_request(method.as_str(), url) {
            return Err(Denied(not_granted(method, url)));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(name)) => {
                return self.policy.check_host(name).map_err(|refused| Denied(refused.to_string()));
            }
            None => return Err(Denied("the URL has no host".to_owned())),
        };
        let port = url.port_or_known_default().unwrap_or_default();
        self.policy.check(SocketAddr::new(literal, port)).map_err(|refused| Denied(refused.to_string()))
    }

    /// The part of sending that must happen in the order in which the guest asks, however its requests are then run:
    /// check, number, count.
    ///
    /// # Errors
    /// Why nothing will be sent.
    pub fn prepare(&self, method: Method, url: &str, headers: HeaderMap) -> Result<PreparedRequest, SendError> {
        let url = self.check(&method, url).map_err(|denied| SendError::Denied(denied.0))?;
        let mut headers = self.complete_headers(&method, headers)?;
        self.injection.add(&url, &mut headers)?;
        self.count_request()?;
        Ok(PreparedRequest { method, url, headers })
    }

    /// Waits until a request may go: for one of the call's own requests to be answered, and for its target to have room.
    /// The time that this takes is no time of the target's, so deadlines of the guest begin afterwards.
    ///
    /// Where a target has no room for too long, and once the call is over, this never returns: see
    /// [`EgressGuard::broken_off`]. The guest must not see that its call was broken off: it could take it for an answer.
    pub async fn pass(&self, prepared: PreparedRequest) -> PassedRequest {
        let at_once = Arc::clone(&self.at_once).acquire_owned().await.expect("the semaphore is never closed");
        let passage = match &self.targets {
            Some(gate) => self.pass_target(gate.as_ref(), &prepared.url).await,
            None => None,
        };
        let changes_something = !is_reading(&prepared.method);
        if !self.departure.leave(changes_something || passage.is_some()) {
            // Whoever waits at the same target need not wait for this call's end.
            drop(passage);
            return std::future::pending().await;
        }
        self.outside_effect.fetch_or(changes_something, Relaxed);
        PassedRequest { prepared, at_once, passage }
    }

    async fn pass_target(&self, gate: &dyn TargetGate, url: &Url) -> Option<Box<dyn Passage>> {
        let began = Instant::now();
        loop {
            let can_suspend = !self.departure.is_touched();
            let longest = self.ends_at.saturating_duration_since(Instant::now());
            let full = match gate.pass(url, Patience { longest, can_suspend }).await {
                Ok(passage) => {
                    let waited = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    self.target_wait_us.fetch_add(waited, Relaxed);
                    return passage;
                }
                Err(full) => full,
            };
            if !can_suspend {
                self.departure.give_up(full);
            } else if !self.departure.suspend(full) {
                // Another request has left the call meanwhile: now only waiting is left.
                continue;
            }
            return std::future::pending().await;
        }
    }

    /// Resolves when a target has no room for longer than the call can wait.
    pub async fn broken_off(&self) -> BrokenOff {
        self.departure.broken_off().await
    }

    /// Sends what may go now, and bounds what comes back.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn send(
        self: &Arc<Self>,
        passed: PassedRequest,
        body: OutboundBody,
        deadlines: Deadlines,
    ) -> Result<OutboundResponse, SendError> {
        let PassedRequest { prepared: PreparedRequest { method, url, mut headers }, at_once, passage } = passed;
        let body = self.counted(body)?;
        settle_length(&mut headers, &body);
        let wire = self.wire.clone();
        let response = self.outbound.send(OutboundRequest { method, url, headers, body, deadlines, wire }).await?;
        drop(at_once);
        if let Some(passage) = &passage {
            passage.answered(response.status, &response.headers);
        }
        let counter = Counter::Response(Arc::clone(self));
        let body = CountedBody::new(response.body, counter, self.response_bytes_max).with_passage(passage);
        Ok(OutboundResponse { body: body.boxed_unsync(), ..response })
    }

    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Relaxed),
            request_bytes: self.request_bytes.load(Relaxed),
            response_bytes: self.response_bytes.load(Relaxed).max(self.wire.bytes()),
            target_wait: Duration::from_micros(self.target_wait_us.load(Relaxed)),
            outside_effect: self.outside_effect.load(Relaxed),
        }
    }

    fn count_request(&self) -> Result<(), SendError> {
        let max = self.requests_max;
        let within = |count: u32| (count < max).then(|| count + 1);
        match self.requests.try_update(Relaxed, Relaxed, within) {
            Ok(_) => Ok(()),
            Err(_) => Err(SendError::Denied(format!("used up its limit of {max} HTTP requests a call"))),
        }
    }

    fn complete_headers(&self, method: &Method, mut headers: HeaderMap) -> Result<HeaderMap, SendError> {
        strip(&mut headers);
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
            return Err(SendError::Invalid(format!(
                "{} headers of {bytes} bytes; at most {HEADERS_MAX} of {HEADER_BYTES_MAX} bytes are allowed",
                headers.len()
            )));
        }
        headers.insert(HOPS_HEADER, self.hops.saturating_add(1).into());
        if !is_reading(method) {
            let number = self.changing_requests.fetch_add(1, Relaxed) + 1;
            if !headers.contains_key(IDEMPOTENCY_KEY) {
                let key = format!("{}-{number}", self.idempotency_key);
                let key = HeaderValue::try_from(key).map_err(|_| {
                    SendError::Invalid("the call's idempotency key has characters that no header can carry".to_owned())
                })?;
                headers.insert(IDEMPOTENCY_KEY, key);
            }
        }
        Ok(headers)
    }

    fn counted(self: &Arc<Self>, body: OutboundBody) -> Result<OutboundBody, SendError> {
        let limit = self.request_bytes_max;
        Ok(match body {
            OutboundBody::Empty => OutboundBody::Empty,
            OutboundBody::Full(bytes) if bytes.len() as u64 > limit => {
                return Err(SendError::RequestTooLarge { limit });
            }
            OutboundBody::Full(bytes) => {
                self.request_bytes.fetch_add(bytes.len() as u64, Relaxed);
                OutboundBody::Full(bytes)
            }
            OutboundBody::Stream(stream) => {
                let counted = CountedBody::new(stream, Counter::Request(Arc::clone(self)), limit);
                OutboundBody::Stream(counted.boxed_unsync())
            }
        })
    }
}

/// Not the guest's to set: a chain of requests to one's own triggers ends by it.
const HOPS_HEADER: HeaderName = HeaderName::from_static(outbox::HOPS_HEADER);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn not_granted(method: &Method, url: &Url) -> String {
    let mut pattern = url.clone();
    pattern.set_query(None);
    pattern.set_fragment(None);
    pattern.set_path("/");
    // Without the path, which may be a secret: some services put one there.
    format!("{method} {0} is not granted; add \"{method} {0}*\" to `grants.http` of this node", shown(pattern.as_str()))
}

/// As much of a text as belongs into a message.
fn shown(text: &str) -> &str {
    const BYTES_MAX: usize = 200;
    &text[..text.floor_char_boundary(BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::StatusCode;
    use http_body_util::Full;
    use tokio::time::timeout;

    use super::*;
    use crate::TargetFull;

    /// Answers 200 with a body, and keeps what it was sent.
    #[derive(Default)]
    struct Recorder {
        sent: Mutex<Vec<OutboundRequest>>,
        answer: usize,
    }

    #[async_trait::async_trait]
    impl Outbound for Recorder {
        async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
            self.sent.lock().expect("not poisoned").push(request);
            let body = Full::new(vec![b'x'; self.answer].into()).map_err(|never| match never {}).boxed_unsync();
            Ok(OutboundResponse { status: StatusCode::OK, headers: HeaderMap::new(), body })
        }
    }

    /// Has no room for anything at one host.
    struct Closed(&'static str);

    #[async_trait::async_trait]
    impl TargetGate for Closed {
        async fn pass(&self, url: &Url, _: Patience) -> Result<Option<Box<dyn Passage>>, TargetFull> {
            if url.host_str() != Some(self.0) {
                return Ok(None);
            }
            let (target, host, wait) = ("closed".to_owned(), self.0.to_owned(), Duration::from_secs(600));
            Err(TargetFull { target, host, wait, until_ms: 42 })
        }
    }

    #[tokio::test]
    async fn a_guest_with_several_requests_does_not_see_that_one_of_them_broke_its_call_off() {
        let (guard, recorder) = guard(&ANYWHERE, CallLimits::default());
        let mut guard = Arc::into_inner(guard).expect("nobody else has it");
        guard.targets = Some(Arc::new(Closed("api.example.com")));
        let pass = |url| guard.pass(guard.prepare(Method::POST, url, HeaderMap::new()).expect("granted"));
        let moment = Duration::from_millis(20);
        assert!(timeout(moment, pass("https://api.example.com/")).await.is_err(), "it has no room");
        assert!(matches!(guard.broken_off().await, BrokenOff::Suspended(full) if full.until_ms == 42));
        assert!(timeout(moment, pass("https://1.1.1.1/")).await.is_err(), "the call is over, and nobody is told");
        assert!(recorder.sent.lock().expect("not poisoned").is_empty());
    }

    fn guard(grants: &[&str], limits: CallLimits) -> (Arc<EgressGuard>, Arc<Recorder>) {
        let http = grants.iter().map(|grant| grant.parse().expect("valid grant")).collect();
        let outbound = Arc::new(Recorder { answer: 11, ..Recorder::default() });
        let guard = EgressGuard::new(
            Arc::new(EgressPolicy::new(["127.0.0.1:8080".parse().expect("valid")])),
            Arc::new(Grants { http, ..Grants::default() }),
            Arc::clone(&outbound) as Arc<dyn Outbound>,
            None,
            &limits,
            "run_1-node".to_owned(),
        );
        (Arc::new(guard), outbound)
    }

    const ANYWHERE: [&str; 8] = [
        "* https://api.example.com/*",
        "* http://127.0.0.1:8080/*",
        "* http://127.0.0.1/*",
        "* http://169.254.169.254/*",
        "* http://[::1]/*",
        "* http://[::ffff:127.0.0.1]/*",
        "* http://10.0.0.1/*",
        "* https://1.1.1.1/*",
    ];

    #[test]
    fn a_request_needs_a_grant_and_a_public_address() {
        let (guard, _) = guard(&ANYWHERE, CallLimits::default());
        for (url, text) in [
            ("https://api.example.com/a?b=c", None),
            ("https://1.1.1.1/", None),
            ("http://127.0.0.1:8080/", None),
            (
                "https://other.example.com/secret?key=1",
                Some("add \"GET https://other.example.com/*\" to `grants.http`"),
            ),
            ("http://127.0.0.1/", Some("loopback")),
            ("http://2130706433/", Some("loopback")),
            ("http://0x7f.1/", Some("loopback")),
            ("http://127.1/", Some("loopback")),
            ("http://017700000001/", Some("loopback")),
            ("http://169.254.169.254/latest/meta-data", Some("metadata")),
            ("http://[::1]/", Some("loopback")),
            ("http://[::ffff:7f00:1]/", Some("IPv6 form")),
            ("http://10.0.0.1/", Some("private")),
            ("ftp://api.example.com/", Some("scheme `ftp`")),
            ("https://user:pass@api.example.com/", Some("user name")),
            ("no url", Some("is no URL")),
        ] {
            let checked = guard.check(&Method::GET, url);
            match (text, checked) {
                (None, Ok(_)) => {}
                (Some(text), Err(denied)) => assert!(denied.0.contains(text), "{url}: {denied}"),
                (_, checked) => panic!("{url}: {checked:?}"),
            }
        }
    }

    #[test]
    fn methods_that_open_tunnels_are_refused() {
        let (guard, _) = guard(&ANYWHERE, CallLimits::default());
        for method in [Method::CONNECT, Method::TRACE] {
            assert!(guard.check(&method, "https://api.example.com/").is_err(), "{method}");
        }
    }

    #[test]
    fn a_query_never_gets_into_a_message() {
        let (guard, _) = guard(&[], CallLimits::default());
        let denied = guard.check(&Method::GET, "https://example.com/a?token=secret").expect_err("not granted");
        assert!(!denied.0.contains("secret"), "{denied}");
    }

    async fn send(
        guard: &Arc<EgressGuard>,
        method: Method,
        headers: &[(&str, &str)],
    ) -> Result<OutboundResponse, SendError> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().expect("valid"), value.parse().expect("valid")))
            .collect();
        let passed = guard.pass(guard.prepare(method, "https://api.example.com/", headers)?).await;
        guard.send(passed, OutboundBody::Full("abc".into()), Deadlines::default()).await
    }

    #[tokio::test]
    async fn changing_requests_carry_a_key_that_a_retry_repeats() {
        let (guard, recorder) = guard(&ANYWHERE, CallLimits::default());
        send(&guard, Method::GET, &[]).await.expect("sent");
        assert!(!guard.traffic().outside_effect);
        send(&guard, Method::POST, &[]).await.expect("sent");
        send(&guard, Method::GET, &[]).await.expect("sent");
        send(&guard, Method::PUT, &[]).await.expect("sent");
        send(&guard, Method::POST, &[("Idempotency-Key", "mine")]).await.expect("sent");
        let sent = recorder.sent.lock().expect("not poisoned");
        let keys: Vec<_> = sent.iter().map(|request| request.headers.get(IDEMPOTENCY_KEY)).collect();
        let expected = [None, Some("run_1-node-1"), None, Some("run_1-node-2"), Some("mine")];
        assert_eq!(keys, expected.map(|key| key.map(HeaderValue::from_static)).each_ref().map(Option::as_ref));
        assert!(guard.traffic().outside_effect);
        assert_eq!(guard.traffic().requests, 5);
        assert_eq!(guard.traffic().request_bytes, 15);
    }

    #[tokio::test]
    async fn headers_of_the_connection_are_not_the_guests_to_set() {
        let (guard, recorder) = guard(&ANYWHERE, CallLimits::default());
        let headers = [
            ("host", "169.254.169.254"),
            ("connection", "close, x-secret-hop"),
            ("x-secret-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "x"),
            ("trellis-hops", "0"),
            ("accept", "text/html"),
        ];
        send(&guard, Method::GET, &headers).await.expect("sent");
        let sent = recorder.sent.lock().expect("not poisoned");
        let mut names: Vec<_> = sent[0].headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "trellis-hops"]);
        assert_eq!(sent[0].headers["trellis-hops"], "1", "one more than the call's own");
    }

    #[tokio::test]
    async fn a_request_without_a_body_announces_none() {
        let (guard, recorder) = guard(&ANYWHERE, CallLimits::default());
        let headers = HeaderMap::from_iter([(http::header::CONTENT_LENGTH, HeaderValue::from_static("50"))]);
        let prepared = guard.prepare(Method::POST, "https://api.example.com/", headers).expect("granted");
        let passed = guard.pass(prepared).await;
        guard.send(passed, OutboundBody::Empty, Deadlines::default()).await.expect("sent");
        assert!(!recorder.sent.lock().expect("not poisoned")[0].headers.contains_key(http::header::CONTENT_LENGTH));
    }

    #[tokio::test]
    async fn a_response_body_of_exactly_its_limit_passes() {
        let (guard, _) = guard(&ANYWHERE, CallLimits { response_bytes: 11, ..CallLimits::default() });
        let body = send(&guard, Method::GET, &[]).await.expect("sent").body;
        assert_eq!(body.collect().await.expect("within the limit").to_bytes().len(), 11);
        assert_eq!(guard.traffic().response_bytes, 11);
    }

    #[tokio::test]
    async fn requests_and_response_bytes_are_bounded() {
        let limits = CallLimits { requests: 2, response_bytes: 10, ..CallLimits::default() };
        let (guard, recorder) = guard(&ANYWHERE, limits);
        let body = send(&guard, Method::GET, &[]).await.expect("sent").body;
        assert_eq!(body.collect().await.expect_err("11 bytes"), SendError::TooLarge { limit: 10 });
        send(&guard, Method::GET, &[]).await.expect("sent");
        let denied = send(&guard, Method::GET, &[]).await.expect_err("the third");
        assert_eq!(denied, SendError::Denied("used up its limit of 2 HTTP requests a call".to_owned()));
        assert_eq!(recorder.sent.lock().expect("not poisoned").len(), 2);
    }
}
