//! Sends one HTTP request, put together from the node's config and the input.
//!
//! Does not know what may be reached: that is in the node's grants, and the host's to apply.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod response;
mod template;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use trellis_sdk::*;

use template::{Place, Template};

pub use response::Response;

/// The request, and which answers are welcome. In `url`, `query`, `headers` and `body`, `{/pointer}` stands for what that
/// JSON Pointer finds in the input.
#[data]
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The URL. Values are percent-encoded; `{+/pointer}` keeps `/`, `?` and the like, for whole URLs and paths.
    pub url: String,
    /// Names and values to add to the URL's query.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Names and values of header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What to send.
    #[serde(default)]
    pub body: Body,
    /// The longest time to wait for the whole answer, in milliseconds. The node's limits bound it either way.
    #[serde(default)]
    pub timeout_ms: Option<u32>,
    /// Statuses besides 2xx whose answers are emitted, not failures.
    #[serde(default)]
    pub accept_statuses: Vec<u16>,
}

/// The methods that a node can be granted.
#[expect(missing_docs, reason = "they are HTTP's, and say so by name")]
#[data]
#[derive(Clone, Copy, Debug, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// What to send.
#[data]
#[derive(Clone, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// No body.
    #[default]
    None,
    /// The input, as JSON.
    Input,
    /// This value as JSON. A text that is nothing but one `{/pointer}` becomes the value found, whatever its type.
    Json(Value),
    /// This text.
    Text(String),
}

/// What comes back.
#[derive(Ports, Debug)]
pub enum Answer {
    /// The answer, if its status is 2xx or one of `accept_statuses`.
    Response(Response),
}

/// Sends one HTTP request.
#[transformer(title = "HTTP request")]
pub fn http_request(input: Option<Value>, config: Config) -> Result<Answer> {
    let response = request(input.as_ref(), &config)?.send()?;
    if response.is_success() || config.accept_statuses.contains(&response.status) {
        return Ok(Answer::Response(Response::from_http(&response)));
    }
    let unwelcome = response.status_error();
    if (300..400).contains(&response.status) {
        let hint =
            "redirects are not followed; use the address that it redirects to, or add the status to `accept_statuses`";
        return Err(Error::permanent(format_args!("{unwelcome}; {hint}")));
    }
    Err(unwelcome.into())
}

fn request(input: Option<&Value>, config: &Config) -> Result<http::Request> {
    let url = Template::parse("url", &config.url)?.url(input)?;
    let mut request = http::request(config.method.name(), url);
    for (name, value) in &config.query {
        let value = Template::parse(&format!("query.{name}"), value)?.text(Place::Text, input)?;
        request = request.query(name, value);
    }
    for (name, value) in &config.headers {
        let value = Template::parse(&format!("headers.{name}"), value)?.text(Place::Header, input)?;
        request = request.header(name, value);
    }
    if let Some(milliseconds) = config.timeout_ms {
        request = request.timeout(Duration::from_millis(milliseconds.into()));
    }
    match &config.body {
        Body::None => Ok(request),
        Body::Input => {
            let input = input.ok_or_else(|| Error::invalid_input("`body` is the input, but there is none"))?;
            Ok(request.json(input)?)
        }
        Body::Json(template) => Ok(request.json(&template::json("body.json", template, input)?)?),
        Body::Text(template) => {
            let text = Template::parse("body.text", template)?.text(Place::Text, input)?;
            if !config.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
                request = request.header("content-type", "text/plain; charset=utf-8");
            }
            Ok(request.body(text))
        }
    }
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}
