//! Fake HTTP: requests that the engine has checked are answered by mocks, and kept.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::{Serialize, de::DeserializeOwned};
use trellis_engine::{Outbound, OutboundRequest, OutboundResponse, SendError};
use trellis_model::grant::HttpGrant;

/// A request that a plugin made, as it would have gone out.
///
/// ```no_run
/// # use serde_json::{Value, json};
/// # use trellis_testing::{Plugin, Response};
/// let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR")).http_mock("POST", "https://example.com/*", Response::status(201));
/// let request = &plugin.call("in", json!(1)).requests[0];
/// assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
/// assert_eq!(request.json::<Value>(), json!({ "n": 1 }));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// The whole address, with its query.
    pub url: String,
    /// Names in lower case. With `idempotency-key` on requests that change something.
    pub headers: Vec<(String, String)>,
    /// As it would have gone out; empty for a request without one.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text. Panics if it is none.
    #[track_caller]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or_else(|error| panic!("the body of {self:?} is no text: {error}"))
    }

    /// The body as JSON. Panics if it is none, or of another shape.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body of {self:?} is not the JSON: {error}"))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)?;
        for (name, value) in &self.headers {
            write!(f, "\n  {name}: {value}")?;
        }
        if !self.body.is_empty() {
            write!(f, "\n  {}", String::from_utf8_lossy(&self.body))?;
        }
        Ok(())
    }
}

/// What a mock answers.
///
/// ```
/// use std::time::Duration;
/// use trellis_testing::Response;
///
/// let found = Response::json(200, [1, 2]).header("etag", "7");
/// let page = Response::text(200, "hello").after(Duration::from_millis(50));
/// let picture = Response::bytes(200, [0x89, b'P']);
/// let gone = Response::status(404);
/// let (away, silent) = (Response::connection_refused(), Response::timeout());
/// ```
#[derive(Clone, Debug)]
pub struct Response {
    answer: Result<Answer, SendError>,
    delay: Duration,
}

#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Response {
    /// An answer without a body. Panics if `status` is none.
    #[track_caller]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or_else(|_| panic!("{status} is no HTTP status"));
        let answer = Answer { status, headers: HeaderMap::new(), body: Bytes::new() };
        Self { answer: Ok(answer), delay: Duration::ZERO }
    }

    /// An answer with any body.
    #[track_caller]
    pub fn bytes(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let mut response = Self::status(status);
        if let Ok(answer) = &mut response.answer {
            answer.body = body.into().into();
        }
        response
    }

    /// An answer with a text. Panics if `status` is none.
    #[track_caller]
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::bytes(status, body.into()).header("content-type", "text/plain; charset=utf-8")
    }

    /// An answer with a body of JSON. Panics if `status` is none, or the body cannot be JSON.
    ///
    /// ```
    /// use trellis_testing::Response;
    ///
    /// let busy = Response::json(429, ["try again"]).header("retry-after", "30");
    /// ```
    #[track_caller]
    pub fn json(status: u16, body: impl Serialize) -> Self {
        let body = serde_json::to_vec(&body).unwrap_or_else(|error| panic!("the mock's body cannot be JSON: {error}"));
        Self::bytes(status, body).header("content-type", "application/json")
    }

    /// No answer: nobody listens there.
    pub fn connection_refused() -> Self {
        Self { answer: Err(SendError::Connect("connection refused".to_owned())), delay: Duration::ZERO }
    }

    /// No answer in time.
    pub fn timeout() -> Self {
        Self { answer: Err(SendError::Timeout("waiting for the response")), delay: Duration::ZERO }
    }

    /// Adds a header. Panics if it cannot be one.
    #[must_use]
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let (Ok(parsed), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            panic!("`{name}: {value}` is no header");
        };
        if let Ok(answer) = &mut self.answer {
            answer.headers.append(parsed, value);
        }
        self
    }

    /// Lets the answer take this long, in real time: for deadlines.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// Answers requests: one [`Response`] for all, a `Vec` of them in turn (the last one stays), or a function.
///
/// ```
/// use trellis_testing::{Reply, Request, Response};
///
/// /// The first request is told to come again, all others are answered.
/// struct Shy;
///
/// impl Reply for Shy {
///     fn reply(&self, request: &Request, earlier: usize) -> Response {
///         if earlier == 0 { Response::status(429) } else { Response::text(200, request.url.clone()) }
///     }
/// }
/// ```
pub trait Reply: Send + Sync + 'static {
    /// `earlier`: how many requests this mock has answered before.
    fn reply(&self, request: &Request, earlier: usize) -> Response;
}

impl Reply for Response {
    fn reply(&self, _request: &Request, _earlier: usize) -> Response {
        self.clone()
    }
}

impl Reply for Vec<Response> {
    fn reply(&self, _request: &Request, earlier: usize) -> Response {
        let last = self.len().checked_sub(1).expect("a mock needs at least one response");
        self[earlier.min(last)].clone()
    }
}

impl<F: Fn(&Request) -> Response + Send + Sync + 'static> Reply for F {
    fn reply(&self, request: &Request, _earlier: usize) -> Response {
        self(request)
    }
}

/// A pattern of requests, written like a grant, and its answer.
#[derive(Clone)]
pub(crate) struct Mock {
    pub pattern: HttpGrant,
    pub reply: Arc<dyn Reply>,
}

/// The network of one call.
pub(crate) struct FakeHttp {
    mocks: Vec<Mock>,
    requests: Mutex<Vec<Request>>,
    answered: Mutex<Vec<usize>>,
    unanswered: Mutex<Vec<Unanswered>>,
}

/// A request that no mock answers; the URL without its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    pub method: String,
    pub url: String,
}

impl FakeHttp {
    pub fn new(mocks: Vec<Mock>) -> Self {
        let answered = Mutex::new(vec![0; mocks.len()]);
        Self { mocks, requests: Mutex::default(), answered, unanswered: Mutex::default() }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn unanswered(&self) -> Vec<Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The mock that was added last wins, so that a test can refine what others set up.
    fn response(&self, request: &Request, url: &url::Url) -> Response {
        let matching = self.mocks.iter().enumerate().rev().find(|(_, mock)| mock.pattern.allows(&request.method, url));
        let Some((place, mock)) = matching else {
            let (method, url) = (request.method.clone(), url[..url::Position::AfterPath].to_owned());
            let text = format!("the test has no mock for {method} {url}; add `.http_mock(\"{method}\", \"{url}\", …)`");
            self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(Unanswered { method, url });
            return Response { answer: Err(SendError::Transport(text)), delay: Duration::ZERO };
        };
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = answered[place];
        answered[place] += 1;
        drop(answered);
        mock.reply.reply(request, earlier)
    }
}

#[async_trait::async_trait]
impl Outbound for FakeHttp {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let OutboundRequest { method, url, headers, body, .. } = request;
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body = body.collect().await?.to_vec();
        let request = Request { method: method.to_string(), url: url.to_string(), headers, body };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let Response { answer, delay } = self.response(&request, &url);
        tokio::time::sleep(delay).await;
        let Answer { status, headers, body } = answer?;
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        Ok(OutboundResponse { status, headers, body })
    }
}
