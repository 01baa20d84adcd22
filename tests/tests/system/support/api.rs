//! The HTTP API as a test speaks to it: every answer can be looked at, the refusals above all.

use std::sync::Once;

use bytes::Bytes;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;

/// One host, and who is asking.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    /// Whom an operator token acts for.
    acting_for: Option<String>,
}

/// What a host answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null if it is no JSON.
    pub body: Value,
    asked: String,
}

impl Api {
    pub fn new(base: &str, token: Option<&str>) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| {
            // Another part of this process may have been first.
            drop(rustls::crypto::ring::default_provider().install_default());
        });
        Self { http: reqwest::Client::new(), base: base.to_owned(), token: token.map(str::to_owned), acting_for: None }
    }

    /// The same caller at another host.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    pub fn acting_for(&self, account: &str) -> Self {
        Self { acting_for: Some(account.to_owned()), ..self.clone() }
    }

    /// What a command needs to be this caller: address and token.
    pub fn credentials(&self) -> (&str, &str) {
        (&self.base, self.token.as_deref().unwrap_or_default())
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "", Bytes::new()).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "", Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string().into()).await
    }

    /// An event with headers of its own, to a host that may be dying.
    pub async fn try_post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer, reqwest::Error> {
        self.try_send_with(Method::POST, path, "application/json", plain(headers), body.to_string().into()).await
    }

    /// An event with headers of its own.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.try_post_with(path, headers, body).await.unwrap_or_else(|error| panic!("POST {path}: {error:?}"))
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, "application/json", body.to_string().into()).await
    }

    /// Any request; one that is not answered is a failure of the test.
    pub async fn send(&self, method: Method, path: &str, content_type: &str, body: Bytes) -> Answer {
        let asked = format!("{method} {path}");
        self.try_send(method, path, content_type, body).await.unwrap_or_else(|error| panic!("{asked}: {error:?}"))
    }

    /// Any request with headers of its own and a body as it is.
    pub async fn send_with(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let asked = format!("{method} {path}");
        let sent = self.try_send_with(method, path, "application/json", plain(headers), body).await;
        sent.unwrap_or_else(|error| panic!("{asked}: {error:?}"))
    }

    /// A request whose answer is read piece by piece.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.base)).headers(plain(headers));
        let request = request.bearer_auth(self.token.as_deref().unwrap_or_default());
        request.send().await.unwrap_or_else(|error| panic!("GET {path}: {error:?}"))
    }

    /// Any request, of a host that may be dying.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Answer, reqwest::Error> {
        self.try_send_with(method, path, content_type, HeaderMap::new(), body).await
    }

    async fn try_send_with(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, reqwest::Error> {
        let asked = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base)).headers(headers).body(body);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(account) = &self.acting_for {
            request = request.header("trellis-account", account);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        Ok(Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default(), asked })
    }
}

fn plain(headers: &[(&str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().expect("a header's name"), HeaderValue::from_str(value).expect("a header's value"))
    };
    headers.iter().map(header).collect()
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {:#}", self.asked, self.body);
        self.body
    }

    /// An answer that must have one of these statuses.
    #[track_caller]
    pub fn expect_any(self, statuses: &[u16]) {
        assert!(statuses.contains(&self.status), "{}: {} {:#}", self.asked, self.status, self.body);
    }

    /// The text of a refusal, which must be a problem with this status.
    #[track_caller]
    pub fn problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {:#}", self.asked, self.body);
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{}", self.asked);
        assert_eq!(self.body["status"], status, "{}", self.asked);
        for field in ["type", "title", "detail"] {
            assert!(self.body[field].as_str().is_some_and(|text| !text.is_empty()), "{}: no {field}", self.asked);
        }
        self.body
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
