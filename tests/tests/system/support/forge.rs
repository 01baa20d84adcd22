//! A forge for tests: it lists issues and commits as GitHub does, with pages by `Link`, ETags, a limit that can be used up, and
//! gateways that fail now and then.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// Most elements of a page, whatever is asked for.
const PAGE_MAX: usize = 100;

/// What befalls a request instead of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Mishap {
    /// 403, with no requests left until so many seconds from now.
    LimitUsedUp { for_s: u64 },
    /// 502 without a word.
    BadGateway,
}

/// A forge with one repository, `acme/shop`.
pub struct Forge {
    pub url: String,
    pub address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shelf {
    url: String,
    /// By number. With `updated_at` in seconds, for the order.
    issues: BTreeMap<u64, (u64, Value)>,
    /// Newest first, each with its time in seconds.
    commits: Vec<(u64, Value)>,
    mishaps: VecDeque<Mishap>,
    /// The statuses that were answered, in order.
    answered: Vec<u16>,
}

impl Forge {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let url = format!("http://{address}");
        let shelf = Arc::new(Mutex::new(Shelf { url: url.clone(), ..Shelf::default() }));
        let router =
            Router::new().route("/repos/acme/shop/{list}", routing::get(answer)).with_state(Arc::clone(&shelf));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url, address, shelf, task }
    }

    /// Puts an issue there, or changes it. `at`: when that happens, in Unix seconds.
    pub fn issue(&self, number: u64, at: u64, change: &Value) {
        let mut issue = json!({
            "id": 1_000_000 + number, "node_id": format!("I_{number}"), "number": number, "title": format!("Issue {number}"),
            "html_url": format!("https://forge.example.com/acme/shop/issues/{number}"), "body": "It squeaks.", "state": "open",
            "user": { "login": "ada" }, "labels": [{ "name": "bug" }], "assignees": [], "milestone": null, "comments": 0,
            "created_at": time(at), "updated_at": time(at), "closed_at": null,
        });
        if let (Some(issue), Some(change)) = (issue.as_object_mut(), change.as_object()) {
            issue.extend(change.clone());
        }
        self.shelf().issues.insert(number, (at, issue));
    }

    /// Puts a commit on top of the branch. `at`: in Unix seconds.
    pub fn commit(&self, sha: &str, at: u64, message: &str) {
        let by = json!({ "name": "Ada", "email": "ada@example.com", "date": time(at) });
        let commit = json!({
            "sha": sha, "html_url": format!("https://forge.example.com/acme/shop/commit/{sha}"), "parents": [{ "sha": "p" }],
            "commit": { "message": message, "author": by, "committer": by }, "author": { "login": "ada" },
        });
        self.shelf().commits.insert(0, (at, commit));
    }

    /// What befalls the next requests, one each.
    pub fn mishaps(&self, mishaps: impl IntoIterator<Item = Mishap>) {
        self.shelf().mishaps.extend(mishaps);
    }

    /// The statuses that were answered since the last time of asking.
    pub fn answered(&self) -> Vec<u16> {
        std::mem::take(&mut self.shelf().answered)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        lock(&self.shelf)
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().expect("nobody panics while holding it")
}

/// RFC 3339, in UTC.
pub fn time(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, day + 1)
}

async fn answer(
    State(shelf): State<Arc<Mutex<Shelf>>>,
    Path(list): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut shelf = lock(&shelf);
    let response = match shelf.mishaps.pop_front() {
        Some(mishap) => mishap.into_response(),
        None => shelf.page(&list, &query, &headers),
    };
    shelf.answered.push(response.status().as_u16());
    response
}

impl IntoResponse for Mishap {
    fn into_response(self) -> Response {
        match self {
            Self::BadGateway => StatusCode::BAD_GATEWAY.into_response(),
            Self::LimitUsedUp { for_s } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
                let headers =
                    [("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", (now + for_s).to_string())];
                let body = Json(json!({ "message": "API rate limit exceeded for user ID 1." }));
                (StatusCode::FORBIDDEN, headers, body).into_response()
            }
        }
    }
}

impl Shelf {
    fn page(&self, list: &str, query: &BTreeMap<String, String>, headers: &HeaderMap) -> Response {
        let since = query.get("since").map(String::as_str).unwrap_or_default();
        let elements: Vec<&Value> = match list {
            "issues" => {
                let mut found: Vec<_> = self.issues.values().filter(|(at, _)| *time(*at) >= *since).collect();
                found.sort_by_key(|(at, _)| *at);
                found.into_iter().map(|(_, issue)| issue).collect()
            }
            "commits" => self.commits.iter().filter(|(at, _)| *time(*at) >= *since).map(|(_, commit)| commit).collect(),
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        let number = |name: &str, default: usize| query.get(name).map_or(Ok(default), |text| text.parse());
        let (Ok(size), Ok(page)) = (number("per_page", 30), number("page", 1)) else {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        };
        let (size, page) = (size.clamp(1, PAGE_MAX), page.max(1));
        let shown: Vec<&Value> = elements.iter().skip(size * (page - 1)).take(size).copied().collect();
        let body = serde_json::to_string(&shown).expect("JSON");
        let tag = format!(
            "W/\"{:x}\"",
            body.bytes().fold(17_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        );
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *tag) {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        let mut response = ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response();
        response.headers_mut().insert(header::ETAG, tag.parse().expect("a tag is a header's value"));
        if elements.len() > size * page {
            let link = format!("<{}>; rel=\"next\"", self.address(list, query, page + 1));
            response.headers_mut().insert(header::LINK, link.parse().expect("a link is a header's value"));
        }
        response
    }

    fn address(&self, list: &str, query: &BTreeMap<String, String>, page: usize) -> String {
        let mut url = format!("{}/repos/acme/shop/{list}?page={page}", self.url);
        for (name, value) in query.iter().filter(|(name, _)| *name != "page") {
            write!(url, "&{name}={}", value.replace(':', "%3A")).expect("writing to a string does not fail");
        }
        url
    }
}
