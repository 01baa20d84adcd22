//! Why a request failed, and whether another attempt can help.

use std::{fmt, time::Duration};

use super::{Response, retry_after::retry_after};

/// Characters of an unwelcome answer's body that go into the message.
const EXCERPT_CHARACTERS: usize = 200;

/// Why a request has no (welcome) answer.
///
/// ```
/// use trellis_sdk::{Error, ErrorKind, http};
///
/// assert_eq!(Error::from(http::Error::Timeout).kind(), ErrorKind::Retryable);
/// assert_eq!(Error::from(http::Error::TooLarge).kind(), ErrorKind::Permanent);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not granted to the node, or refused by the operator's policy; the text says which rule.
    #[error("request denied: {0}")]
    Denied(String),
    /// The method, URL, header or body cannot be sent.
    #[error("request is invalid: {0}")]
    InvalidRequest(String),
    /// Retryable.
    #[error("no answer in time")]
    Timeout,
    /// The answer's body is over the limit of a call.
    #[error("the answer's body is over the limit of a call")]
    TooLarge,
    /// DNS, connection or TLS trouble. Retryable.
    #[error("request failed on the way: {0}")]
    Transport(String),
    /// An unwelcome status; see [`Response::error_for_status`].
    #[error(transparent)]
    Status(StatusError),
    /// The body is not what [`Response::text`] or [`Response::json`] was asked for.
    #[error("unexpected body of {0}")]
    Body(String),
}

impl Error {
    /// Whether another attempt can help.
    ///
    /// ```
    /// assert!(trellis_sdk::http::Error::Transport("connection reset".into()).is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout | Self::Transport(_) => true,
            Self::Status(error) => error.is_retryable(),
            Self::Denied(_) | Self::InvalidRequest(_) | Self::TooLarge | Self::Body(_) => false,
        }
    }

    /// How long the answer asked to wait, if it did.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply(fake::answer(429).header("retry-after", "30"));
    /// let error = http::get("https://example.com/").send()?.error_for_status().unwrap_err();
    /// assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(30)));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(error) => error.retry_after,
            _ => None,
        }
    }
}

/// An answer with an unwelcome status.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("GET", "https://example.com/").reply_text(404, "no such order");
/// let error = http::get("https://example.com/").send()?.error_for_status().unwrap_err();
/// assert_eq!(error.to_string(), "GET example.com answered 404: no such order");
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusError {
    status: u16,
    retry_after: Option<Duration>,
    request: String,
    excerpt: String,
}

impl StatusError {
    pub(super) fn new(response: &Response) -> Self {
        Self {
            status: response.status,
            retry_after: retry_after(response),
            request: response.request.clone(),
            excerpt: excerpt(&response.body),
        }
    }

    /// The status code.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(404, "");
    /// match http::get("https://example.com/").send()?.error_for_status() {
    ///     Err(http::Error::Status(error)) => assert_eq!(error.status(), 404),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether another attempt can help: request timeout, too early, too many requests, and whatever is the server's fault.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(404, "");
    /// match http::get("https://example.com/").send()?.error_for_status() {
    ///     Err(http::Error::Status(error)) => assert!(!error.is_retryable()),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.request, self.status)?;
        if self.excerpt.is_empty() { Ok(()) } else { write!(f, ": {}", self.excerpt) }
    }
}

impl std::error::Error for StatusError {}

/// The beginning of a body, if it is text, on one line.
fn excerpt(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else { return String::new() };
    let mut line = String::new();
    for (length, character) in text.split_whitespace().flat_map(spaced).filter(|c| !c.is_control()).enumerate() {
        if length > EXCERPT_CHARACTERS {
            line.push('…');
            break;
        }
        line.push(character);
    }
    line.trim_start().to_owned()
}

fn spaced(word: &str) -> impl Iterator<Item = char> {
    std::iter::once(' ').chain(word.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &[u8]) -> StatusError {
        let response = Response { status, headers: Vec::new(), body: body.into(), request: "GET example.com".into() };
        StatusError::new(&response)
    }

    #[test]
    fn only_statuses_that_can_pass_are_retryable() {
        for (status, retryable) in
            [(400, false), (404, false), (408, true), (425, true), (429, true), (500, true), (503, true)]
        {
            assert_eq!(error(status, b"").is_retryable(), retryable, "{status}");
        }
    }

    #[test]
    fn an_excerpt_is_one_bounded_line() {
        assert_eq!(error(500, b" a\n\tb\x1b[1m ").to_string(), "GET example.com answered 500: a b[1m");
        assert_eq!(error(500, &[0xff, 0xfe]).to_string(), "GET example.com answered 500");
        let long = error(500, "é ".repeat(5_000).as_bytes()).to_string();
        assert_eq!(long.chars().count(), "GET example.com answered 500: ".len() + EXCERPT_CHARACTERS + 1);
    }
}
