//! Components that answer HTTP requests and know nothing of Trellis: what `wasi:http/incoming-handler` takes and gives, as
//! the input port `request` and the output port `response` of a plugin.
//!
//! Translates, and drives the guest while its answer is read; limits, grants and effects are those of any other call. Knows
//! nothing of who asked, or of what becomes of the answer.

use std::{pin::pin, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header::HOST};
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use trellis_model::call_limits::CallLimits;
use wasmtime::{Store, component::Resource};
use wasmtime_wasi_http::{
    WasiHttpView,
    p2::{
        bindings::{
            ProxyPre,
            http::types::{ErrorCode, Scheme},
        },
        body::HyperOutgoingBody,
        types::HostResponseOutparam,
    },
};

use crate::{
    bindings::trellis::plugin::events::{Emission, Event, Failure, Retry},
    failure::bytes,
    guest_state::GuestState,
};

const INPUT: &str = "request";
const OUTPUT: &str = "response";
/// Whom a request was sent to that does not say so: a handler may ask.
const NO_HOST: HeaderValue = HeaderValue::from_static("localhost");

/// What a plugin of this kind says of itself: the same for all, because a handler describes nothing.
pub(crate) static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    let headers = json!({
        "type": "array",
        "items": { "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2 },
        "description": "Names and values, in order.",
    });
    let message = |required: &[&str], own: Value| {
        let mut properties = json!({
            "headers": headers,
            "body": { "type": "string", "description": "The body, if it is text." },
            "body_base64": { "type": "string", "description": "The body in Base64, if it is no text." },
        });
        for (name, schema) in own.as_object().into_iter().flatten() {
            properties[name] = schema.clone();
        }
        json!({ "type": "object", "required": required, "properties": properties })
    };
    let request = message(
        &[],
        json!({
            "method": { "type": "string", "default": "GET" },
            "path": { "type": "string", "default": "/", "description": "With the query." },
        }),
    );
    let response = message(&["status", "headers"], json!({ "status": { "type": "integer" } }));
    json!({
        "title": "HTTP handler",
        "summary": "Answers an HTTP request.",
        "inputs": { INPUT: { "schema": request } },
        "outputs": { OUTPUT: { "schema": response } },
    })
    .to_string()
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_base64: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        let headers = Vec::new();
        Self { method: "GET".to_owned(), path: "/".to_owned(), headers, body: None, body_base64: None }
    }
}

#[derive(Serialize)]
struct Response<'r> {
    status: u16,
    headers: Vec<(&'r str, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Why there is no answer of a guest that did not crash.
enum NoAnswer {
    Never,
    /// The guest said so instead.
    Error(ErrorCode),
    /// The body broke off.
    Cut(String),
    TooLarge,
}

type Answered = Result<(http::response::Parts, Bytes), NoAnswer>;

/// Hands the request to the guest and reads its answer, both at the same time: the guest is held up while nobody reads.
///
/// # Errors
/// The guest crashed, or was stopped.
pub(crate) async fn call(
    store: &mut Store<GuestState>,
    handler: &ProxyPre<GuestState>,
    event: &Event,
    limits: &CallLimits,
) -> wasmtime::Result<Result<Vec<Emission>, Failure>> {
    let request = match request(event) {
        Ok(request) => request,
        Err(reason) => return Ok(Err(Failure::InvalidInput(reason))),
    };
    let (sender, receiver) = oneshot::channel();
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let outparam = store.data_mut().http().new_response_outparam(sender)?;
    // The guest gets it; whether it has used it is looked up by its number.
    let unused = Resource::<HostResponseOutparam>::new_own(outparam.rep());
    let handler = handler.instantiate_async(&mut *store).await?;
    let mut answer = pin!(answer(receiver, limits.output_bytes));
    let early = {
        let mut handled = pin!(handler.wasi_http_incoming_handler().call_handle(&mut *store, request, outparam));
        tokio::select! {
            biased;
            answered = &mut answer => {
                // What comes after the answer belongs to the call: writes, for one.
                if answered.is_ok() {
                    handled.await?;
                }
                Some(answered)
            }
            handled = &mut handled => {
                handled?;
                None
            }
        }
    };
    let answered = match early {
        Some(answered) => answered,
        None => {
            // If it is still there, nobody can use it any more.
            drop(store.data_mut().table.delete(unused));
            answer.await
        }
    };
    Ok(emission(answered, limits))
}

/// What the event has on the input port, as a request.
fn request(event: &Event) -> Result<http::Request<Full<Bytes>>, String> {
    let input = event.inputs.iter().find(|(port, _)| port == INPUT).map(|(_, json)| json.as_str());
    let input = input.ok_or_else(|| format!("nothing is wired to the port `{INPUT}`"))?;
    let wrong = |what: &str, reason: &dyn std::fmt::Display| format!("input `{INPUT}`: {what}: {reason}");
    let input: Request = serde_json::from_str(input).map_err(|error| wrong("not a request", &error))?;
    let mut request = http::Request::new(Full::new(body(&input)?));
    *request.method_mut() = Method::from_bytes(input.method.as_bytes()).map_err(|error| wrong("`method`", &error))?;
    if !input.path.starts_with('/') {
        return Err(wrong("`path`", &format!("`{}` does not begin with a slash", input.path)));
    }
    *request.uri_mut() = input.path.parse::<Uri>().map_err(|error| wrong("`path`", &error))?;
    for (name, value) in &input.headers {
        let name = name.parse::<HeaderName>().map_err(|error| wrong(&format!("header `{name}`"), &error))?;
        let value = HeaderValue::from_str(value).map_err(|error| wrong(&format!("header `{name}`"), &error))?;
        request.headers_mut().append(name, value);
    }
    request.headers_mut().entry(HOST).or_insert(NO_HOST);
    Ok(request)
}

fn body(input: &Request) -> Result<Bytes, String> {
    match (&input.body, &input.body_base64) {
        (Some(_), Some(_)) => {
            Err(format!("input `{INPUT}`: there is a `body` and a `body_base64`; leave one of them out"))
        }
        (Some(text), None) => Ok(Bytes::from(text.clone())),
        (None, Some(text)) => BASE64_STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| format!("input `{INPUT}`: `body_base64` is no Base64: {error}")),
        (None, None) => Ok(Bytes::new()),
    }
}

/// Reads the answer as it is made, up to so many bytes.
async fn answer(
    receiver: oneshot::Receiver<Result<http::Response<HyperOutgoingBody>, ErrorCode>>,
    bytes_max: u64,
) -> Answered {
    let response = receiver.await.map_err(|_| NoAnswer::Never)?.map_err(NoAnswer::Error)?;
    let (parts, mut body) = response.into_parts();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| NoAnswer::Cut(error.to_string()))?;
        let Ok(piece) = frame.into_data() else { continue };
        if (read.len() + piece.len()) as u64 > bytes_max {
            return Err(NoAnswer::TooLarge);
        }
        read.extend_from_slice(&piece);
    }
    Ok((parts, read.into()))
}

fn emission(answered: Answered, limits: &CallLimits) -> Result<Vec<Emission>, Failure> {
    let (parts, body) = answered.map_err(|reason| match reason {
        NoAnswer::Never => Failure::Permanent("returned without an answer to the request".to_owned()),
        NoAnswer::Error(ErrorCode::InternalError(Some(reason))) => {
            retryable(format!("answered with an error: {reason}"))
        }
        NoAnswer::Error(code) => retryable(format!("answered with an error: {code:?}")),
        NoAnswer::Cut(reason) => retryable(format!("its answer broke off: {reason}")),
        NoAnswer::TooLarge => {
            Failure::Permanent(format!("answered with more than its limit of {}", bytes(limits.output_bytes)))
        }
    })?;
    let text = str::from_utf8(&body).ok();
    let response = Response {
        status: parts.status.as_u16(),
        headers: headers(&parts.headers),
        body: text.filter(|text| !text.is_empty()),
        body_base64: text.is_none().then(|| BASE64_STANDARD.encode(&body)),
    };
    let data = serde_json::to_string(&response).expect("numbers and text are JSON");
    Ok(vec![Emission { port: OUTPUT.to_owned(), data }])
}

fn headers(headers: &HeaderMap) -> Vec<(&str, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect()
}

fn retryable(message: String) -> Failure {
    Failure::Retryable(Retry { message, after_ms: None })
}

#[cfg(test)]
mod tests {
    use trellis_model::description::Description;

    use super::*;

    fn read(input: &str) -> Result<http::Request<Full<Bytes>>, String> {
        let inputs = vec![(INPUT.to_owned(), input.to_owned())];
        let none = String::new;
        let attributes = Vec::new();
        request(&Event { run: none(), node: none(), attempt: 1, idempotency_key: none(), attributes, inputs })
    }

    #[test]
    fn a_handler_has_a_port_for_the_request_and_one_for_the_answer() {
        let description = Description::parse(&DESCRIPTION).expect("valid");
        assert!(description.inputs[INPUT].required && description.outputs.contains_key(OUTPUT));
    }

    #[test]
    fn a_request_has_defaults_for_all_that_it_does_not_say() {
        let request = read("{}").expect("a request");
        assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/"));
        assert_eq!(request.headers()[HOST], "localhost");
        let named = read(r#"{"path":"/a?b=c","headers":[["host","example.com"],["x","1"],["x","2"]]}"#).expect("one");
        assert_eq!(
            (named.uri().query(), &named.headers()[HOST]),
            (Some("b=c"), &HeaderValue::from_static("example.com"))
        );
        assert_eq!(named.headers().get_all("x").iter().count(), 2);
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_reason() {
        for (input, reason) in [
            ("[", "not a request"),
            (r#"{"verb":"GET"}"#, "unknown field `verb`"),
            (r#"{"method":"a b"}"#, "`method`"),
            (r#"{"path":"http://example.com/"}"#, "does not begin with a slash"),
            (r#"{"path":"/ä b"}"#, "`path`"),
            (r#"{"headers":[["a b","c"]]}"#, "header `a b`"),
            (r#"{"headers":[["a","b\nc"]]}"#, "header `a`"),
            (r#"{"body":"a","body_base64":"YQ=="}"#, "leave one of them out"),
            (r#"{"body_base64":"?"}"#, "no Base64"),
        ] {
            let refusal = read(input).expect_err(input);
            assert!(refusal.contains(reason), "{input}: {refusal}");
        }
    }
}
