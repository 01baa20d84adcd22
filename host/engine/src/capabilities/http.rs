//! `wasi:http`: outgoing requests of guests with an HTTP client of their own, through the egress guard.
//!
//! Only translates. What may be sent is decided by the guard; with the crate's own sender left out at compile time, this
//! is the one way out for `wasi:http`.

use std::{sync::Arc, time::Duration};

use futures_util::TryFutureExt;
use http_body_util::BodyExt;
use tokio::time::timeout;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
    p2::{
        bindings::http::types::{HostOutgoingRequest as _, Method},
        types::HostOutgoingRequest,
    },
};

use super::log::{Log, LogLevel};
use crate::{
    egress::{
        guard::{EgressGuard, PreparedRequest, URL_BYTES_MAX},
        limits::Deadlines,
        outbound::{OutboundBody, SendError},
    },
    guest_state::GuestState,
};

/// A chunk of a request's body. The host's memory holds two for each request that a guest keeps open.
const BODY_CHUNK_BYTES: usize = 16 * 1024;
/// All header fields of one message, as much as servers take.
const FIELDS_BYTES_MAX: usize = 16 * 1024;

/// A request's method. The longest that is registered has 17 letters.
const METHOD_BYTES_MAX: usize = 32;

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
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS_BYTES_MAX);
        Self { context, hooks: Hooks { guard, log } }
    }
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

impl WasiHttpHooks for Hooks {
    /// What a guest writes to a body waits in the host's memory, chunk by chunk, for every request that it holds.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_processed: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let (guard, log) = (Arc::clone(&self.guard), self.log.clone());
        let (parts, body) = request.into_parts();
        // Here and not in the future, which may be polled in any order: the guest's order numbers its requests.
        let prepared = guard.prepare(parts.method, &parts.uri.to_string(), parts.headers);
        Box::new(async move {
            let sent = async { send(&guard, prepared?, body, options.unwrap_or_default()).await };
            let response = sent.await.map_err(|error| {
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
    prepared: PreparedRequest,
    body: WasiBody,
    options: RequestOptions,
) -> Result<http::Response<WasiBody>, SendError> {
    // Waiting for room is no time of the target's: the deadline begins afterwards.
    let passed = guard.pass(prepared).await;
    let sending = guard.send(passed, outbound_body(body), deadlines(options));
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

fn deadlines(options: RequestOptions) -> Deadlines {
    let RequestOptions { connect_timeout, first_byte_timeout, between_bytes_timeout, .. } = options;
    Deadlines {
        connect: connect_timeout,
        first_byte: first_byte_timeout,
        between_bytes: between_bytes_timeout,
        exchange: None,
    }
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
        SendError::RequestTooLarge { limit } => Error::HttpRequestBodySize(Some(limit)),
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
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    bound_request_parts(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The host keeps the parts of every request that a guest holds. Only the crate's own parsers would bound them, and these
/// take a method of any length.
fn bound_request_parts(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    /// As the crate links it; guests of other versions of 0.2 get the same.
    const TYPES: &str = "wasi:http/types@0.2.12";
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, GuestState>, (request, method): (Resource<HostOutgoingRequest>, Method)| {
            if matches!(&method, Method::Other(name) if name.len() > METHOD_BYTES_MAX) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, GuestState>,
         (request, path): (Resource<HostOutgoingRequest>, Option<String>)| {
            if path.as_ref().is_some_and(|path| path.len() > URL_BYTES_MAX) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_path_with_query(request, path)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, GuestState>,
         (request, host): (Resource<HostOutgoingRequest>, Option<String>)| {
            if host.as_ref().is_some_and(|host| host.len() > URL_BYTES_MAX) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, host)?,))
        },
    )
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
