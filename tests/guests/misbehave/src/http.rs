//! Both ways out: `web.fetch` and `wasi:http`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bindings::{
    trellis::plugin::web,
    wasi::http::{
        outgoing_handler,
        types::{Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme},
    },
    wasi::io::streams::StreamError,
};

#[derive(Deserialize)]
pub struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    timeout_ms: Option<u32>,
    /// Sends without ever asking for a body, whatever the headers say of one. In `wasi:http` alone.
    #[serde(default)]
    bodiless: bool,
}

pub fn fetch(request: &Request) -> Value {
    let sent = web::fetch(&web::Request {
        method: request.method.clone(),
        url: request.url.clone(),
        headers: request.headers.clone(),
        body: request.body.clone().map(String::into_bytes),
        timeout_ms: request.timeout_ms,
    });
    match sent {
        Ok(response) => json!({
            "status": response.status,
            "headers": response.headers,
            "body": String::from_utf8_lossy(&response.body),
        }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    }
}

pub fn many_headers(url: String, count: u32) -> Value {
    let headers = (0..count).map(|number| (format!("x-{number}"), "x".to_owned())).collect();
    fetch(&Request { method: "GET".to_owned(), url, headers, body: None, timeout_ms: None, bodiless: false })
}

/// How many fields were taken, and what was said to the first that was not.
pub fn many_fields(count: u32) -> Value {
    let fields = Fields::new();
    let refusal = (0..count).find_map(|number| {
        let refused = fields.append(&format!("x-{number}"), b"x").err()?;
        Some(json!([number, format!("{refused:?}")]))
    });
    refusal.unwrap_or(json!([count, null]))
}

/// How many of these requests, none of which is given back, have taken a method of so many letters.
pub fn set_method(bytes: usize, requests: usize) -> Value {
    let method = Method::Other("X".repeat(bytes));
    let taken = (0..requests).filter(|_| {
        let request = OutgoingRequest::new(Fields::new());
        let is_taken = request.set_method(&method).is_ok();
        std::mem::forget(request);
        is_taken
    });
    json!(taken.count())
}

/// Starts the next run of a chain.
pub fn pass_on(url: String, token: &str) -> Value {
    let authorization = ("authorization".to_owned(), format!("Bearer {token}"));
    // What a guest says of its place in the chain must not count.
    let headers = vec![authorization, ("trellis-hops".to_owned(), "0".to_owned())];
    fetch(&Request {
        method: "POST".to_owned(),
        url,
        headers,
        body: Some("null".to_owned()),
        timeout_ms: None,
        bodiless: false,
    })
}

pub fn wasi_http(request: &Request) -> Value {
    start(request).and_then(|future| finish(&future)).unwrap_or_else(|error| json!({ "error": error }))
}

/// Starts all before it waits for any.
pub fn wasi_http_at_once(request: &Request, times: u32) -> Value {
    let started: Vec<_> = (0..times).map(|_| start(request)).collect();
    started
        .into_iter()
        .map(|future| future.and_then(|future| finish(&future)).unwrap_or_else(|error| json!({ "error": error })))
        .collect()
}

fn start(request: &Request) -> Result<FutureIncomingResponse, String> {
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let outgoing = OutgoingRequest::new(Fields::from_list(&headers).map_err(|error| format!("{error:?}"))?);
    let (scheme, rest) = request.url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let set = outgoing.set_method(&method(&request.method)).is_ok()
        && outgoing.set_scheme(Some(&scheme)).is_ok()
        && outgoing.set_authority(Some(authority)).is_ok()
        && outgoing.set_path_with_query(Some(path)).is_ok();
    if !set {
        return Err("the request was refused while it was made".to_owned());
    }
    if request.bodiless {
        return outgoing_handler::handle(outgoing, None).map_err(|error| format!("{error:?}"));
    }
    let body = outgoing.body().map_err(|()| "no body")?;
    let future = outgoing_handler::handle(outgoing, None).map_err(|error| format!("{error:?}"))?;
    if let Some(text) = &request.body {
        let stream = body.write().map_err(|()| "no stream")?;
        for piece in text.as_bytes().chunks(4_096) {
            stream.blocking_write_and_flush(piece).map_err(|error| format!("{error:?}"))?;
        }
    }
    OutgoingBody::finish(body, None).map_err(|error| format!("{error:?}"))?;
    Ok(future)
}

fn finish(future: &FutureIncomingResponse) -> Result<Value, String> {
    future.subscribe().block();
    let response = future.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(|error| format!("{error:?}"))?;
    let headers: Vec<_> = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body = response.consume().map_err(|()| "no body")?;
    let stream = body.stream().map_err(|()| "no stream")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(65_536) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    Ok(json!({ "status": response.status(), "headers": headers, "body": String::from_utf8_lossy(&bytes) }))
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "TRACE" => Method::Trace,
        other => Method::Other(other.to_owned()),
    }
}

/// Makes resources and never gives them back.
pub fn leak_fields(count: usize) -> Value {
    for _ in 0..count {
        std::mem::forget(Fields::new());
    }
    json!(count)
}
