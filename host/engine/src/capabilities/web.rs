//! `trellis:plugin/web`: one-shot HTTP for guests without an HTTP client, through the same guard as `wasi:http`.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt;
use tokio::time::timeout;
use wasmtime::component::{HasSelf, Linker};

use super::log::{Log, LogLevel};
use crate::{
    bindings::web::{self as wit, Request, Response, WebError},
    egress::{
        guard::{EgressGuard, HEADERS_MAX},
        limits::Deadlines,
        outbound::{OutboundBody, SendError},
    },
    guest_state::GuestState,
};

pub(crate) struct Web {
    guard: Arc<EgressGuard>,
    log: Log,
}

impl Web {
    pub fn new(guard: Arc<EgressGuard>, log: Log) -> Self {
        Self { guard, log }
    }

    async fn exchange(&self, request: Request) -> Result<Response, SendError> {
        let method = Method::from_bytes(request.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| SendError::Invalid(format!("{} is no HTTP method", shown(&request.method))))?;
        let deadline = request.timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let headers = header_map(&request.headers)?;
        let body = match request.body {
            Some(bytes) => OutboundBody::Full(bytes.into()),
            None => OutboundBody::Empty,
        };
        let prepared = self.guard.prepare(method, &request.url, headers)?;
        // Waiting for room is no time of the target's.
        let passed = self.guard.pass(prepared).await;
        let exchange = async {
            let response =
                self.guard.send(passed, body, Deadlines { exchange: deadline, ..Deadlines::default() }).await?;
            let headers = header_list(&response.headers);
            let body = response.body.collect().await?.to_bytes();
            Ok(Response { status: response.status.as_u16(), headers, body: body.into() })
        };
        match deadline {
            Some(deadline) => {
                timeout(deadline, exchange).await.unwrap_or(Err(SendError::Timeout("waiting for the response")))
            }
            None => exchange.await,
        }
    }
}

impl wit::Host for Web {
    async fn fetch(&mut self, request: Request) -> Result<Response, WebError> {
        self.exchange(request).await.map_err(|error| {
            self.log.remark(LogLevel::Warn, &format!("HTTP request failed: {error}"));
            match error {
                SendError::Denied(rule) => WebError::Denied(rule),
                SendError::Invalid(reason) => WebError::InvalidRequest(reason),
                SendError::RequestTooLarge { .. } => WebError::InvalidRequest(error.to_string()),
                SendError::Timeout(_) => WebError::Timeout,
                SendError::TooLarge { .. } => WebError::TooLarge,
                SendError::Dns(_) | SendError::Connect(_) | SendError::Tls(_) | SendError::Transport(_) => {
                    WebError::Transport(error.to_string())
                }
            }
        })
    }
}

/// A method or a header's name as it belongs into a message: itself if it may be what was meant, else how long it is.
fn shown(name: &str) -> String {
    const BYTES_MAX: usize = 64;
    match name.len() {
        0..=BYTES_MAX => format!("`{}`", name.escape_debug()),
        bytes => format!("a text of {bytes} bytes"),
    }
}

/// The body's length is known here, so the guest's word on it is left out.
fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, SendError> {
    // The guard says which number of headers is too large; this only keeps the map from taking room for all of them.
    let mut map = HeaderMap::with_capacity(headers.len().min(HEADERS_MAX));
    for (name, value) in headers {
        let parsed = HeaderName::try_from(name.as_str())
            .map_err(|_| SendError::Invalid(format!("{} is no header name", shown(name))))?;
        let value = HeaderValue::try_from(value.as_str())
            .map_err(|_| SendError::Invalid(format!("{} has a value that no header can carry", shown(name))))?;
        if parsed != header::CONTENT_LENGTH {
            map.try_append(parsed, value).map_err(|_| SendError::Invalid("too many headers".to_owned()))?;
        }
    }
    Ok(map)
}

/// Bytes of a header value that are no UTF-8 are replaced: WIT strings cannot carry them.
fn header_list(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<Web>>(linker, |state| &mut state.capabilities.web)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_cannot_be_sent_are_named() {
        for (name, value, text) in [
            ("a b", "x", "`a b` is no header name"),
            ("x\r\ny", "x", r"`x\r\ny` is no header name"),
            ("Accept", "a\r\nhost: b", "`Accept` has a value"),
            (&" ".repeat(100_000), "x", "a text of 100000 bytes is no header name"),
            (&"x".repeat(50_000), "\n", "a text of 50000 bytes has a value"),
        ] {
            let error = header_map(&[(name.to_owned(), value.to_owned())]).expect_err("refused");
            assert!(error.to_string().contains(text), "{error}");
            assert!(error.to_string().len() < 200, "no guest has its text copied into the host");
        }
    }

    #[test]
    fn the_length_of_a_body_is_not_the_guests_to_say() {
        let headers = header_map(&[("Content-Length".to_owned(), "5".to_owned())]).expect("valid");
        assert!(headers.is_empty());
    }
}
