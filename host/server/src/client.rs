//! The API as the command line uses it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::{api::Problem, event_stream::EventStream};

/// Why the API did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach {url}; is a host running there? `trellis dev` or `trellis serve` starts one")]
    Unreachable {
        url: Url,
        #[source]
        source: reqwest::Error,
    },
    #[error("{url} does not speak HTTPS; is it http://{} that is meant?", authority(.url))]
    NotTls { url: Url },
    /// The API refused, and said why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    #[error("{url} answered {status} with what is no answer of Trellis")]
    Foreign { url: Url, status: StatusCode },
    #[error("this machine cannot make HTTP requests")]
    Setup(#[source] reqwest::Error),
    #[error("`{0}` is no address of a host, such as http://127.0.0.1:7800")]
    Address(String),
    #[error("`{0}` is the address of an API; leave its `/v1` out")]
    AddressOfApi(String),
}

impl ClientError {
    /// Whether a run is over and not kept, rather than unknown.
    pub fn is_not_kept(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.is_not_kept())
    }

    /// Whether the same question may be answered a moment later: hosts start anew, and have others beside them.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || matches!(self.status(), Some(429 | 502..=504))
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Foreign { status, .. } => Some(status.as_u16()),
            Self::Unreachable { .. }
            | Self::NotTls { .. }
            | Self::Setup(_)
            | Self::Address(_)
            | Self::AddressOfApi(_) => None,
        }
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answered {
    pub headers: header::HeaderMap,
    pub body: Bytes,
}

/// Host and port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether the other side has answered the beginning of TLS with something else.
fn speaks_no_tls(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidMessage(_));
        }
        // An error of I/O leaves the one that it wraps out of its sources.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map(|inner| inner as _).or_else(|| error.source());
    }
    false
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A connection to a host, with a token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
    /// Which account an operator token acts for.
    account: Option<String>,
}

fn refusal(url: Url, status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice(body) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => ClientError::Foreign { url, status },
    }
}

/// How much of an upload is handed to the network at once.
const PIECE_BYTES: usize = 64 * 1_024;

/// Uploads and compilations take their time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// A stream of events lasts as long as its host lets it: a day at most.
const STREAM_TIMEOUT: Duration = Duration::from_secs(86_400);

impl Client {
    /// # Errors
    /// The address is none.
    pub fn new(base: &str, token: impl Into<String>, account: Option<String>) -> Result<Self, ClientError> {
        let invalid = || ClientError::Address(base.to_owned());
        let url = Url::parse(base).map_err(|_| invalid())?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(invalid());
        }
        if url.path().trim_end_matches('/').ends_with("/v1") {
            return Err(ClientError::AddressOfApi(base.to_owned()));
        }
        crate::tls::install_provider();
        let mut http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("trellis/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            // A proxy of the environment is not for this machine's own host.
            http = http.no_proxy();
        }
        let http = http.build().map_err(ClientError::Setup)?;
        Ok(Self { http, base: url, token: token.into(), account })
    }

    /// The token itself, for a line that a person pastes.
    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn base(&self) -> &Url {
        &self.base
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T, ClientError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.request(Method::GET, &url), url).await
    }

    /// Sends bytes as they are, and says of each piece when it goes out.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: Bytes,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<T, ClientError> {
        let (url, length) = (self.url(path), body.len());
        let pieces = (0..length).step_by(PIECE_BYTES).map(move |from| {
            let piece = body.slice(from..length.min(from + PIECE_BYTES));
            sent(piece.len() as u64);
            Ok::<_, std::convert::Infallible>(piece)
        });
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let request = self.request(Method::PUT, &url).header(header::CONTENT_TYPE, "application/wasm");
        // Known, although the body is a stream: hosts look at it before they take the first byte.
        self.answer(request.header(header::CONTENT_LENGTH, length).body(body), url).await
    }

    /// Text that is no JSON.
    pub async fn get_text(&self, path: &[&str]) -> Result<String, ClientError> {
        let url = self.url(path);
        let (status, body) = self.bytes(self.request(Method::GET, &url), &url).await?;
        String::from_utf8(body.to_vec()).map_err(|_| ClientError::Foreign { url, status })
    }

    /// Any request whose answer is looked at whole.
    pub async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answered, ClientError> {
        let mut request = self.request(method, &url).body(body);
        if headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header(header::CONTENT_TYPE, "application/octet-stream");
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        if status.is_success() { Ok(Answered { headers, body }) } else { Err(refusal(url, status, &body)) }
    }

    pub async fn put_json<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        body: &Value,
    ) -> Result<T, ClientError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.request(Method::PUT, &url).json(body), url).await
    }

    pub async fn post_json<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, ClientError> {
        let url = self.url(path);
        self.answer(self.request(Method::POST, &url).json(body), url).await
    }

    pub async fn patch_json<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, ClientError> {
        let url = self.url(path);
        self.answer(self.request(Method::PATCH, &url).json(body), url).await
    }

    /// Like [`Client::put_json`], where the answer may have no body.
    pub async fn put_optional<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<Option<T>, ClientError> {
        let url = self.url(path);
        let (status, body) = self.bytes(self.request(Method::PUT, &url).json(body), &url).await?;
        if body.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| ClientError::Foreign { url, status })
    }

    /// For what is answered without a body.
    pub async fn delete(&self, path: &[&str]) -> Result<(), ClientError> {
        self.delete_with(path, &[]).await
    }

    /// The same with query parameters.
    pub async fn delete_with(&self, path: &[&str], query: &[(&str, String)]) -> Result<(), ClientError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.bytes(self.request(Method::DELETE, &url), &url).await.map(drop)
    }

    /// Sends an event as it is: the server says what is wrong with it. With a key it is one run, however often it is sent.
    pub async fn send_event<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<T, ClientError> {
        let mut request = self.request(method, &url).header(header::CONTENT_TYPE, "application/json").body(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.answer(request, url).await
    }

    /// Follows a stream of events, from behind the event `after` on. None: that was the last.
    ///
    /// # Errors
    /// As everywhere: the host refuses, or cannot be reached.
    pub async fn events(&self, path: &[&str], after: Option<&str>) -> Result<Option<EventStream>, ClientError> {
        let url = self.url(path);
        let mut request = self.request(Method::GET, &url).timeout(STREAM_TIMEOUT);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => Ok(Some(EventStream::new(response))),
            status => {
                let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
                Err(refusal(url, status, &body))
            }
        }
    }

    /// The address of a path, each step encoded.
    pub fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("checked to be a base").pop_if_empty().extend(path);
        url
    }

    fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let request = self.http.request(method, url.clone()).bearer_auth(&self.token);
        match &self.account {
            Some(account) => request.header("trellis-account", account),
            None => request,
        }
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder, url: Url) -> Result<T, ClientError> {
        let (status, body) = self.bytes(request, &url).await?;
        serde_json::from_slice(&body).map_err(|_| ClientError::Foreign { url, status })
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        let url = self.base.clone();
        if url.scheme() == "https" && speaks_no_tls(&source) {
            return ClientError::NotTls { url };
        }
        ClientError::Unreachable { url, source }
    }

    /// The body of a success.
    async fn bytes(&self, request: RequestBuilder, url: &Url) -> Result<(StatusCode, Bytes), ClientError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        if status.is_success() {
            return Ok((status, body));
        }
        Err(refusal(url.clone(), status, &body))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn https_to_a_host_that_speaks_http_is_told_as_that() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it listens");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            // What is left unread when a connection is closed takes the answer with it.
            let mut hello = [0; 16_384];
            let _length = stream.read(&mut hello).await?;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        });
        let client = Client::new(&format!("https://{address}"), "trl_x", None).expect("an address");
        let error = client.get::<Value>(&["v1", "runs"], &[]).await.expect_err("no TLS there");
        assert!(error.to_string().contains(&format!("is it http://{address} that is meant?")), "{error}");
        assert_eq!(error.status(), None);
    }
}
