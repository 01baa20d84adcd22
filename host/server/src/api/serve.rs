//! Triggers with `serve = "plugin"`: the request as it came in is the event, and what the run has answered is the answer.
//!
//! Pages of a project stand on the host's own address, beside those of other projects and the host's console. So browsers
//! are told to keep them apart (`sandbox`), and no cookie goes either way. Knows nothing of how the run is waited for.

use std::borrow::Cow;

use axum::{
    body::{Body, to_bytes},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trellis_model::token::without_tokens;

use super::{Problem, shelter::PluginAnswer};

/// Of the request, what a plugin is not told: who is asking is for the host to know, and the rest is between two machines.
const HEADERS_KEPT_BACK: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static(PREFIX),
];
/// Tells a page what stands before its own paths in links.
const PREFIX: &str = "x-forwarded-prefix";
/// Of the answer, what reaches the client: what describes the body and where to look next, and nothing that would change
/// what a browser does with this host's other pages.
const HEADERS_LET_OUT: [HeaderName; 12] = [
    header::ALLOW,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
];
/// A page may do what pages do, as if it came from a place of its own.
const POLICY: HeaderValue =
    HeaderValue::from_static("sandbox allow-forms allow-popups allow-scripts; frame-ancestors 'none'; base-uri 'none'");

/// What a plugin is given, on its port `request`.
#[derive(Serialize)]
struct Request<'r> {
    method: &'r str,
    path: Cow<'r, str>,
    headers: Vec<(&'r str, Cow<'r, str>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// What a plugin answers, on its port `response`.
#[derive(Deserialize)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// The request as the data of an event. Its path begins where that of the trigger ends, as it would on a host that has no
/// other pages.
pub fn request_data(trigger: &str, parts: &Parts, body: &[u8]) -> Result<Box<RawValue>, Problem> {
    let headers = parts.headers.iter().filter(|(name, _)| !HEADERS_KEPT_BACK.contains(name));
    // A value that is no text cannot be said in JSON; and tokens are not for keeping, wherever a client puts them.
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), without_tokens(value.to_str().ok()?))));
    let whole = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let (before, path) = at_trigger(whole, trigger);
    let text = str::from_utf8(body).ok();
    let request = Request {
        method: parts.method.as_str(),
        path: without_tokens(&path),
        headers: headers.chain([(PREFIX, Cow::Borrowed(before))]).collect(),
        body: text.filter(|text| !text.is_empty()),
        body_base64: text.is_none().then(|| BASE64_STANDARD.encode(body)),
    };
    serde_json::value::to_raw_value(&request).map_err(|_| Problem::internal())
}

/// Steps of an address before what belongs to a project: `/hooks/{account}/{project}`.
const STEPS_OF_PROJECT: usize = 3;

/// Splits `/hooks/acme/shop/pages/a/b?c` into `/hooks/acme/shop/pages` and `/a/b?c`, for a trigger at `/pages/*`.
fn at_trigger<'p>(path_and_query: &'p str, trigger: &str) -> (&'p str, String) {
    let mount = trigger.strip_suffix("/*").unwrap_or_default();
    let steps = STEPS_OF_PROJECT + mount.split('/').skip(1).count();
    let (path, query) = match path_and_query.find('?') {
        Some(at) => path_and_query.split_at(at),
        None => (path_and_query, ""),
    };
    let at = path.match_indices('/').nth(steps).map_or(path.len(), |(at, _)| at);
    let (before, below) = path.split_at(at);
    (before, format!("{}{query}", if below.is_empty() { "/" } else { below }))
}

/// The answer of a run, as what it stands for; every other answer as it is.
pub async fn answer(response: Response) -> Result<Response, Problem> {
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    // It lies in memory as it is; how much it may be, the limit of the call has said.
    let body = to_bytes(body, usize::MAX).await.map_err(|_| Problem::internal())?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
        Problem::run_failed(format!(
            "the port `response` has something else than `{{ status, headers, body }}`: {error}"
        ))
    })?;
    let mut told = answer.into_response()?;
    // Such as the number of the run.
    for (name, value) in &parts.headers {
        if name.as_str().starts_with("trellis-") {
            told.headers_mut().insert(name, value.clone());
        }
    }
    Ok(told)
}

impl Answer {
    fn into_response(self) -> Result<Response, Problem> {
        let wrong = |what: String| Problem::run_failed(format!("the port `response` has {what}"));
        // 1xx are said between the machines, and never last.
        let status = StatusCode::from_u16(self.status).ok().filter(|status| !status.is_informational());
        let status = status.ok_or_else(|| wrong(format!("the status {}, which is none", self.status)))?;
        let body = match (self.body, self.body_base64) {
            (Some(text), _) => Body::from(text),
            (None, Some(text)) => BASE64_STANDARD
                .decode(text)
                .map(Body::from)
                .map_err(|error| wrong(format!("a `body_base64` that is none: {error}")))?,
            (None, None) => Body::empty(),
        };
        let mut response = (status, body).into_response();
        response.headers_mut().remove(header::CONTENT_TYPE);
        for (name, value) in &self.headers {
            let Ok(name) = name.parse::<HeaderName>() else { return Err(wrong(format!("a header `{name}`"))) };
            let Ok(value) = HeaderValue::from_str(value) else { return Err(wrong(format!("a value of `{name}`"))) };
            if HEADERS_LET_OUT.contains(&name) {
                response.headers_mut().append(name, value);
            }
        }
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
        response.extensions_mut().insert(PluginAnswer);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn data(trigger: &str, uri: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Value {
        let mut request = http::Request::builder().method("PUT").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        serde_json::from_str(request_data(trigger, &parts, body).expect("data").get()).expect("JSON")
    }

    async fn told(status: StatusCode, body: &str) -> Result<Response, Problem> {
        answer((status, [("trellis-run", "run_1")], body.to_owned()).into_response()).await
    }

    #[test]
    fn a_plugin_is_told_the_request_and_not_who_is_asking() {
        let headers =
            [("authorization", "Bearer x"), ("cookie", "a=b"), ("accept", "text/html"), ("connection", "close")];
        let request = data("/pages/*", "/hooks/acme/shop/pages/a%20b?c=d", &headers, b"hi");
        let expected = json!({
            "method": "PUT", "path": "/a%20b?c=d", "body": "hi",
            "headers": [["accept", "text/html"], ["x-forwarded-prefix", "/hooks/acme/shop/pages"]],
        });
        assert_eq!(request, expected);
        assert_eq!(data("/*", "/hooks/acme/shop", &[], b"\xff")["body_base64"], "/w==");
    }

    #[test]
    fn a_path_begins_where_that_of_the_trigger_ends() {
        for (trigger, path, expected) in [
            ("/*", "/hooks/acme/shop/a/b", ("/hooks/acme/shop", "/a/b")),
            ("/*", "/hooks/acme/shop?q", ("/hooks/acme/shop", "/?q")),
            ("/*", "/hooks/acme/shop/?q=/x", ("/hooks/acme/shop", "/?q=/x")),
            ("/a/b/*", "/hooks/acme/shop/a/b/c", ("/hooks/acme/shop/a/b", "/c")),
            ("/a/b/*", "/hooks/acme/shop/a/b", ("/hooks/acme/shop/a/b", "/")),
            ("/page", "/hooks/acme/shop/page", ("/hooks/acme/shop", "/page")),
        ] {
            let (before, below) = at_trigger(path, trigger);
            assert_eq!((before, below.as_str()), expected, "{trigger} {path}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_apart_from_the_hosts_own_pages() {
        let page = json!({ "status": 201, "body": "<p>", "headers": [
            ["Content-Type", "text/html"], ["set-cookie", "a=b"], ["content-security-policy", "none"], ["etag", "1"],
        ]});
        let response = told(StatusCode::OK, &page.to_string()).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::CREATED);
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!((header("content-type"), header("etag")), (Some("text/html"), Some("1")));
        assert_eq!(header("set-cookie"), None);
        assert!(header("content-security-policy").is_some_and(|policy| policy.starts_with("sandbox ")));
        assert_eq!(header("trellis-run"), Some("run_1"));
        assert_eq!(to_bytes(response.into_body(), 10).await.expect("a body"), "<p>");
    }

    #[tokio::test]
    async fn what_is_no_answer_is_a_failure_of_the_run() {
        for (body, expected) in [
            ("7", "something else than"),
            (r#"{"status":42}"#, "the status 42"),
            (r#"{"status":101}"#, "the status 101"),
            (r#"{"status":200,"headers":[["a b","c"]]}"#, "a header `a b`"),
            (r#"{"status":200,"headers":[["a","\n"]]}"#, "a value of `a`"),
            (r#"{"status":200,"body_base64":"?"}"#, "a `body_base64` that is none"),
        ] {
            let problem = told(StatusCode::OK, body).await.expect_err(body);
            assert!(problem.status == 502 && problem.detail.contains(expected), "{body}: {}", problem.detail);
        }
        let refused = told(StatusCode::ACCEPTED, "{}").await.expect("as it is");
        assert_eq!(refused.status(), StatusCode::ACCEPTED);
    }
}
