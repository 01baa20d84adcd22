//! Answers for outgoing requests, and a record of what was asked.
//!
//! Nothing leaves the process: a request that no fake answers fails as one that the node was not granted.

use std::collections::VecDeque;

use serde::Serialize;

use crate::http::{self, Error, Request};

use super::with_state;

type Reply = Box<dyn FnMut(&Request) -> Result<Answer, Error>>;

#[derive(Default)]
pub(super) struct HttpState {
    routes: Vec<Route>,
    requests: Vec<Request>,
}

impl HttpState {
    fn take_reply(&mut self, request: &Request) -> Option<(usize, Reply)> {
        let route = self.routes.iter().position(|route| route.matches(&request.method, &request.url))?;
        Some((route, self.routes[route].replies.pop_front()?))
    }
}

struct Route {
    method: String,
    url: String,
    replies: VecDeque<Reply>,
}

impl Route {
    fn matches(&self, method: &str, url: &str) -> bool {
        let url_matches = match self.url.strip_suffix('*') {
            Some(prefix) => url.starts_with(prefix),
            None => url == self.url,
        };
        self.method == method && url_matches
    }
}

/// An answer to be given; see [`answer`].
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("GET", "https://example.com/").reply(fake::answer(304).header("etag", "7"));
/// assert_eq!(http::get("https://example.com/").send()?.header("etag"), Some("7"));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer without header fields and body.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("DELETE", "https://example.com/7").reply(fake::answer(204));
/// assert_eq!(http::delete("https://example.com/7").send()?.status, 204);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn answer(status: u16) -> Answer {
    Answer { status, headers: Vec::new(), body: Vec::new() }
}

impl Answer {
    /// Adds a header.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply(fake::answer(429).header("retry-after", "30"));
    /// assert_eq!(http::get("https://example.com/").send()?.header("retry-after"), Some("30"));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply(fake::answer(200).body("yes"));
    /// assert_eq!(http::get("https://example.com/").send()?.text()?, "yes");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a JSON text, with its content type.
    ///
    /// ```
    /// use trellis_sdk::{fake, http, json, Value};
    ///
    /// fake::http("GET", "https://example.com/").reply(fake::answer(200).json(&json!([1])));
    /// assert_eq!(http::get("https://example.com/").send()?.json::<Value>()?, json!([1]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the value cannot be written as JSON.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        let body = serde_json::to_vec(value).expect("a test's answer can be written as JSON");
        self.header("content-type", "application/json").body(body)
    }
}

/// Begins a fake for requests with this method and URL; a URL that ends with `*` stands for all that begin so.
///
/// Several replies for the same method and URL are given in order, and the last one again and again.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// let orders = || fake::http("GET", "https://example.com/orders/*");
/// orders().reply_text(503, "not now");
/// orders().reply_text(200, "seven");
/// assert_eq!(http::get("https://example.com/orders/7").send()?.status, 503);
/// assert_eq!(http::get("https://example.com/orders/7").send()?.status, 200);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn http(method: impl Into<String>, url: impl Into<String>) -> HttpFake {
    HttpFake { method: method.into(), url: url.into() }
}

/// A fake being put together; see [`http()`].
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("GET", "https://example.com/").reply_text(200, "yes");
/// assert!(http::get("https://example.com/").send()?.is_success());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fake answers after one of its `reply` functions was called"]
pub struct HttpFake {
    method: String,
    url: String,
}

impl HttpFake {
    /// Replies with a status and a JSON body.
    ///
    /// ```
    /// use trellis_sdk::{fake, http, json, Value};
    ///
    /// fake::http("GET", "https://example.com/").reply_json(200, &json!({ "n": 1 }));
    /// assert_eq!(http::get("https://example.com/").send()?.json::<Value>()?["n"], json!(1));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the value cannot be written as JSON.
    pub fn reply_json(self, status: u16, body: &(impl Serialize + ?Sized)) {
        self.reply(answer(status).json(body));
    }

    /// Replies with a status and a text.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").reply_text(200, "yes");
    /// assert_eq!(http::get("https://example.com/").send()?.text()?, "yes");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn reply_text(self, status: u16, body: impl Into<String>) {
        self.reply(answer(status).header("content-type", "text/plain; charset=utf-8").body(body.into()));
    }

    /// Replies with this answer.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("PUT", "https://example.com/").reply(fake::answer(204));
    /// assert!(http::put("https://example.com/").send()?.is_success());
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn reply(self, answer: Answer) {
        self.reply_with(move |_| Ok(answer.clone()));
    }

    /// Fails: [`Error::Timeout`], [`Error::Transport`] and so on.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/").fail(http::Error::Timeout);
    /// assert_eq!(http::get("https://example.com/").send(), Err(http::Error::Timeout));
    /// ```
    pub fn fail(self, error: Error) {
        self.reply_with(move |_| Err(error.clone()));
    }

    /// Replies with what a function makes of the request.
    ///
    /// ```
    /// use trellis_sdk::{fake, http};
    ///
    /// fake::http("GET", "https://example.com/*").reply_with(|request| Ok(fake::answer(200).body(request.url.clone())));
    /// assert_eq!(http::get("https://example.com/a").send()?.text()?, "https://example.com/a");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn reply_with(self, reply: impl FnMut(&Request) -> Result<Answer, Error> + 'static) {
        with_state(|state| {
            let routes = &mut state.http.routes;
            let known = routes.iter_mut().find(|route| route.method == self.method && route.url == self.url);
            match known {
                Some(route) => route.replies.push_back(Box::new(reply)),
                None => {
                    let replies = VecDeque::from([Box::new(reply) as Reply]);
                    routes.push(Route { method: self.method, url: self.url, replies });
                }
            }
        });
    }
}

/// The requests that were sent so far, in order.
///
/// ```
/// use trellis_sdk::{fake, http};
///
/// fake::http("POST", "https://example.com/").reply(fake::answer(201));
/// http::post("https://example.com/").body("hello").send()?;
/// assert_eq!(fake::requests()[0].body.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn requests() -> Vec<Request> {
    with_state(|state| state.http.requests.clone())
}

pub(super) fn respond(request: Request) -> Result<http::Answer, Error> {
    let (taken, request) = with_state(|state| {
        state.http.requests.push(request.clone());
        (state.http.take_reply(&request), request)
    });
    let Some((route, mut reply)) = taken else { return Err(Error::Denied(unanswered(&request))) };
    // Outside of the state: a reply may use fakes itself.
    let answer = reply(&request);
    with_state(|state| {
        // The last reply is given again and again.
        if let Some(route) = state.http.routes.get_mut(route)
            && route.replies.is_empty()
        {
            route.replies.push_back(reply);
        }
    });
    let Answer { status, headers, body } = answer?;
    Ok((status, headers, body))
}

fn unanswered(request: &Request) -> String {
    let Request { method, url, .. } = request;
    format!("no fake answers {method} {url}; add `fake::http(\"{method}\", \"{url}\").reply_…`")
}
