//! `wasi:http`: outgoing requests of guests with an HTTP client of their own, through the egress guard.
//!
//! Only translates. What may be sent is decided by the guard; with the crate's own sender left out at compile time, this
//! is the one way out for `wasi:http`.

use std::{sync::Arc, time::Duration};

use futures_util::TryFutureExt;
use http_body_util::BodyExt;
use tokio::time::timeout;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::log::{Log, LogLevel};
use crate::{
    egress::{
        guard::EgressGuard,
        outbound::{OutboundBody, SendError},
    },
    guest_state::GuestState,
};

pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    guard: Arc<EgressGuard>,
    log: Log,
}

impl Http {
    pub fn new(guard: Arc<EgressGuard>, log: Log) -> Self {
        Self { context: WasiHttpCtx::new(), hooks: Hooks { guard, log } }
    }
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_processed: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (guard, log) = (Arc::clone(&self.guard), self.log.clone());
        Box::new(async move {
            let response = send(&guard, request, options.unwrap_or_default()).await.map_err(|error| {
                log.remark(LogLevel::Warn, &format!("HTTP request failed: {error}"));
                to_wasi(error)
            })?;
            let done: Box<dyn Future<Output = Result<()>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, done))
        })
    }
}

async fn send(
    guard: &Arc<EgressGuard>,
    request: http::Request<WasiBody>,
    options: RequestOptions,
) -> Result<http::Response<WasiBody>, SendError> {
    let (parts, body) = request.into_parts();
    let url = parts.uri.to_string();
    let sending = guard.send(parts.method, &url, parts.headers, outbound_body(body), None);
    let response = match head_deadline(options) {
        Some(deadline) => {
            timeout(deadline, sending).map_err(|_| SendError::Timeout("waiting for the response")).await??
        }
        None => sending.await?,
    };
    let body = response.body.map_err(to_wasi).boxed_unsync();
    let mut answer = http::Response::new(body);
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    Ok(answer)
}

/// Connecting and the first byte are one wait here, so their times are added up.
fn head_deadline(options: RequestOptions) -> Option<Duration> {
    let first_byte = options.first_byte_timeout?;
    Some(options.connect_timeout.unwrap_or_default().saturating_add(first_byte))
}

fn outbound_body(body: WasiBody) -> OutboundBody {
    use http_body::Body;
    if body.is_end_stream() || body.size_hint().exact() == Some(0) {
        return OutboundBody::Empty;
    }
    OutboundBody::Stream(body.map_err(|error| SendError::Transport(error.to_string())).boxed_unsync())
}

fn to_wasi(error: SendError) -> Error {
    match error {
        SendError::Denied(_) => Error::HttpRequestDenied,
        SendError::Invalid(_) => Error::HttpRequestUriInvalid,
        SendError::Timeout(_) => Error::HttpResponseTimeout,
        SendError::TooLarge { limit } => Error::HttpResponseBodySize(Some(limit)),
        SendError::Dns(_) => Error::DestinationNotFound,
        SendError::Connect(_) => Error::ConnectionRefused,
        SendError::Tls(_) => Error::TlsProtocolError,
        SendError::Transport(text) => Error::InternalError(Some(text)),
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Http { context, hooks } = &mut self.capabilities.http;
        WasiHttpCtxView { ctx: context, hooks, table: &mut self.table }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    use super::*;

    #[test]
    fn a_request_without_a_body_is_sent_without_one() {
        let empty = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        assert!(matches!(outbound_body(empty), OutboundBody::Empty));
        let full = Full::new(Bytes::from("abc")).map_err(|never| match never {}).boxed_unsync();
        assert!(matches!(outbound_body(full), OutboundBody::Stream(_)));
    }
}
