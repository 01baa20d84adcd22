//! Outgoing HTTP.
//!
//! ```
//! use std::time::Duration;
//! use trellis_sdk::{http, json, Result, Value};
//!
//! fn open_issue(title: &str) -> Result<u64> {
//!     let answer = http::post("https://api.example.com/issues")
//!         .header("accept", "application/json")
//!         .json(&json!({ "title": title }))?
//!         .timeout(Duration::from_secs(5))
//!         .send()?
//!         .error_for_status()?;
//!     let issue: Value = answer.json()?;
//!     Ok(issue["number"].as_u64().unwrap_or_default())
//! }
//! # trellis_sdk::fake::reset();
//! # trellis_sdk::fake::http("POST", "https://api.example.com/issues").reply_json(201, &json!({ "number": 7 }));
//! # assert_eq!(open_issue("a bug").unwrap(), 7);
//! ```
//!
//! The host sends the request, if the node's grants and the operator's policy allow it, and adds
//! an idempotency key. Redirects come back as answers. Does not know any of these rules.
//!
//! By `?` a timeout, trouble on the way and, through [`Response::error_for_status`], the statuses 408, 425, 429 and 5xx are
//! retryable, after as long as `Retry-After` says; everything else is permanent.

mod error;
mod retry_after;

use std::{fmt::Write as _, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};

use crate::host;

pub use error::{Error, StatusError};

/// What RFC 3986 calls unreserved stays as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text made fit for one segment of a path or one value of a query: everything but letters, digits, `-._~` is escaped.
///
/// ```
/// assert_eq!(trellis_sdk::http::percent_encode("a/b c"), "a%2Fb%20c");
/// ```
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A `GET` request.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("GET", "https://api.example.com/issues/7").reply(fake::answer(200));
/// assert!(http::get("https://api.example.com/issues/7").send()?.is_success());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// A `HEAD` request.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("HEAD", "https://api.example.com/issues/7").reply(fake::answer(200));
/// assert!(http::head("https://api.example.com/issues/7").send()?.is_success());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn head(url: impl Into<String>) -> Request {
    request("HEAD", url)
}

/// A `POST` request.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("POST", "https://api.example.com/issues").reply(fake::answer(201));
/// assert_eq!(http::post("https://api.example.com/issues").body("a bug").send()?.status, 201);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// A `PUT` request.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("PUT", "https://api.example.com/issues/7").reply(fake::answer(200));
/// assert!(http::put("https://api.example.com/issues/7").send()?.is_success());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn put(url: impl Into<String>) -> Request {
    request("PUT", url)
}

/// A `PATCH` request.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("PATCH", "https://api.example.com/issues/7").reply(fake::answer(200));
/// assert!(http::patch("https://api.example.com/issues/7").send()?.is_success());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn patch(url: impl Into<String>) -> Request {
    request("PATCH", url)
}

/// A `DELETE` request.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("DELETE", "https://api.example.com/issues/7").reply(fake::answer(200));
/// assert!(http::delete("https://api.example.com/issues/7").send()?.is_success());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn delete(url: impl Into<String>) -> Request {
    request("DELETE", url)
}

/// A request with any method.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("PURGE", "https://cache.example.com/a").reply(fake::answer(200));
/// assert!(http::request("PURGE", "https://cache.example.com/a").send()?.is_success());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request { method: method.into(), url: url.into(), headers: Vec::new(), body: None, timeout: None }
}

/// A request being put together; [`Request::send`] sends it. In a native test, [`crate::fake::requests`] shows what was sent.
///
/// ```
/// use trellis_sdk::http;
///
/// let request = http::get("https://example.com/").query("page", "2");
/// assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", "https://example.com/?page=2"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a request is sent by `send`"]
pub struct Request {
    /// The method, upper case.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Names and values in order.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<Vec<u8>>,
    /// The longest time to wait for the whole answer.
    pub timeout: Option<Duration>,
}

impl Request {
    /// Adds a header. A second one of the same name is added, not replaced.
    ///
    /// ```
    /// let request = trellis_sdk::http::get("https://example.com/").header("accept", "application/json");
    /// assert_eq!(request.headers, [("accept".to_owned(), "application/json".to_owned())]);
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds `Authorization: Bearer …`.
    ///
    /// ```
    /// let request = trellis_sdk::http::get("https://example.com/").bearer_token("t0ken");
    /// assert_eq!(request.headers[0].1, "Bearer t0ken");
    /// ```
    pub fn bearer_token(self, token: impl AsRef<str>) -> Self {
        self.header("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Adds `name=value` to the URL's query, both percent-encoded.
    ///
    /// ```
    /// let request = trellis_sdk::http::get("https://example.com/").query("q", "a&b").query("page", "2");
    /// assert_eq!(request.url, "https://example.com/?q=a%26b&page=2");
    /// ```
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let fragment = self.url.find('#').map(|at| self.url.split_off(at));
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let (name, value) = (percent_encode(name), percent_encode(value.as_ref()));
        write!(self.url, "{separator}{name}={value}").expect("writing to a string does not fail");
        self.url.push_str(fragment.as_deref().unwrap_or_default());
        self
    }

    /// Sets the body.
    ///
    /// ```
    /// let request = trellis_sdk::http::post("https://example.com/").body("hello");
    /// assert_eq!(request.body.as_deref(), Some(&b"hello"[..]));
    /// ```
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the body to a JSON text, and `content-type` to `application/json` unless one is set already.
    ///
    /// ```
    /// use trellis_sdk::{http, json};
    ///
    /// let request = http::post("https://example.com/").json(&json!({ "n": 1 }))?;
    /// assert_eq!(request.body.as_deref(), Some(&br#"{"n":1}"#[..]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] when the value cannot be written as JSON (a map with keys that are no strings).
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::InvalidRequest(format!("the body is no JSON: {error}")))?;
        if find(&self.headers, "content-type").is_none() {
            self = self.header("content-type", "application/json");
        }
        Ok(self.body(body))
    }

    /// The longest time to wait for the whole answer. The node's limits bound it either way.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let request = trellis_sdk::http::get("https://example.com/").timeout(Duration::from_secs(2));
    /// assert_eq!(request.timeout, Some(Duration::from_secs(2)));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends the request and waits for the whole answer, whatever its status.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(404, "nothing there");
    /// assert_eq!(http::get("https://example.com/").send()?.status, 404);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`]; a status is none of them until [`Response::error_for_status`].
    pub fn send(self) -> Result<Response, Error> {
        let name = self.name();
        let (status, headers, body) = host::fetch(self)?;
        Ok(Response { status, headers, body, request: name })
    }

    /// Method and host, for messages. Path and query may hold secrets.
    fn name(&self) -> String {
        let behind_scheme = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = behind_scheme.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{} {host}", self.method)
    }
}

/// Status, header fields and body, as the host hands them over.
pub(crate) type Answer = (u16, Vec<(String, String)>, Vec<u8>);

/// An answer.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("GET", "https://example.com/").reply_text(200, "yes");
/// let answer = http::get("https://example.com/").send()?;
/// assert_eq!((answer.status, answer.body.as_slice()), (200, &b"yes"[..]));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names and values in order.
    pub headers: Vec<(String, String)>,
    /// The decoded body.
    pub body: Vec<u8>,
    request: String,
}

impl Response {
    /// The first header of this name, upper and lower case alike.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(200, "yes");
    /// let answer = http::get("https://example.com/").send()?;
    /// assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Whether the status is 2xx.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(302, "");
    /// let answer = http::get("https://example.com/").send()?;
    /// assert!(!answer.is_success());
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(200, "yes");
    /// let answer = http::get("https://example.com/").send()?;
    /// assert_eq!(answer.text()?, "yes");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Body`] when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|error| self.body_error(&error))
    }

    /// The body decoded from JSON.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(200, "[1, 2]");
    /// let answer = http::get("https://example.com/").send()?;
    /// assert_eq!(answer.json::<Vec<u8>>()?, [1, 2]);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Body`] when it does not fit `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.body_error(&error))
    }

    /// The answer itself, if its status is below 400.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(503, "not now");
    /// let answer = http::get("https://example.com/").send()?;
    /// assert!(answer.error_for_status().unwrap_err().is_retryable());
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Status`], which is retryable for 408, 425, 429 and 5xx.
    pub fn error_for_status(self) -> Result<Self, Error> {
        if self.status < 400 { Ok(self) } else { Err(self.status_error()) }
    }

    /// An error from this answer whatever its status, for services with rules of their own.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(200, "{\"ok\":false}");
    /// let answer = http::get("https://example.com/").send()?;
    /// assert_eq!(answer.status_error().to_string(), "GET example.com answered 200: {\"ok\":false}");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn status_error(&self) -> Error {
        Error::Status(StatusError::new(self))
    }

    fn body_error(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::Body(format!("{}: {reason}", self.request))
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fake, json};

    #[test]
    fn a_query_is_encoded_and_stays_before_the_fragment() {
        let request = get("https://example.com/a#part").query("q", "x&y=z").query("page", "2");
        assert_eq!(request.url, "https://example.com/a?q=x%26y%3Dz&page=2#part");
    }

    #[test]
    fn json_sets_a_content_type_unless_there_is_one() {
        let request =
            post("https://example.com").header("Content-Type", "application/ld+json").json(&json!({})).expect("json");
        assert_eq!(request.headers, [("Content-Type".to_owned(), "application/ld+json".to_owned())]);
        let request = post("https://example.com").json(&json!({ "a": 1 })).expect("json");
        assert_eq!(request.headers, [("content-type".to_owned(), "application/json".to_owned())]);
        assert_eq!(request.body.as_deref(), Some(&br#"{"a":1}"#[..]));
    }

    #[test]
    fn messages_name_the_host_and_nothing_that_may_be_secret() {
        fake::http("GET", "https://user:hush@example.com/T0/hush?token=hush").reply_text(403, "no");
        let answer = get("https://user:hush@example.com/T0/hush?token=hush").send().expect("an answer");
        let message = answer.error_for_status().expect_err("a status error").to_string();
        assert_eq!(message, "GET example.com answered 403: no");
    }

    #[test]
    fn a_body_that_is_no_json_is_an_error_that_says_where() {
        fake::http("GET", "https://example.com/").reply_text(200, "{\"a\": x}");
        let answer = get("https://example.com/").send().expect("an answer");
        let error = answer.json::<crate::Value>().expect_err("no JSON").to_string();
        assert!(error.contains("GET example.com") && error.contains("column 7"), "{error}");
    }

    #[test]
    fn header_names_are_found_in_any_case() {
        fake::http("HEAD", "https://example.com/").reply_with(|_| Ok(fake::answer(204).header("ETag", "7")));
        let answer = head("https://example.com/").send().expect("an answer");
        assert_eq!(answer.header("etag"), Some("7"));
        assert_eq!(answer.header("age"), None);
    }
}
