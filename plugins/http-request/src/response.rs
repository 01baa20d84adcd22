//! An answer as a value of JSON.

use std::collections::BTreeMap;

use trellis_sdk::{Value, data, http, log};

/// An answer.
#[data]
#[derive(Debug, PartialEq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields by lower-case name; several of one name are joined by commas.
    pub headers: BTreeMap<String, String>,
    /// The value, if the content type is JSON; otherwise the text. Null if there is no body, or one that is neither.
    pub body: Value,
}

impl Response {
    pub(crate) fn from_http(response: &http::Response) -> Self {
        Self { status: response.status, headers: headers(response), body: body(response) }
    }
}

fn headers(response: &http::Response) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &response.headers {
        let joined = headers.entry(name.to_ascii_lowercase()).or_default();
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(value);
    }
    headers
}

fn body(response: &http::Response) -> Value {
    if response.body.is_empty() {
        return Value::Null;
    }
    if is_json(response.header("content-type").unwrap_or_default()) {
        match response.json() {
            Ok(value) => return value,
            Err(error) => log::warn!("the content type is JSON, but the body is not: {error}"),
        }
    }
    match response.text() {
        Ok(text) => Value::String(text.to_owned()),
        Err(error) => {
            log::warn!("the body is left out, {} bytes that are no text: {error}", response.body.len());
            Value::Null
        }
    }
}

/// `application/json`, `application/problem+json; charset=utf-8`, …
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}
