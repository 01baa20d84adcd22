//! Named stores of a project by hand: list, read, write, delete. What nodes do with them is the `storage` capability's part.
//!
//! A key is what follows the store's name in the address, with its slashes. What an account's calls may write is what may be
//! written here: the same limits on key, value and time to live hold.

pub(super) mod conditions;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trellis_model::{
    call_limits::{CallLimits, STORAGE_TTL_MS_HIGHEST},
    description::{NAME_BYTES_MAX, check_name},
    token::Scope,
};
use trellis_store::stores::{EntryDeleted, EntryInfo, EntryName, EntryPut};

use self::conditions::{etag, expected, is_unchanged};
use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page, time_ms},
    projects,
    request::{PathOf, QueryOf, at_most, read_body},
    route::Route,
};

/// Unlike a request's own time it says what becomes of the entry.
const EXPIRES_AT: &str = "trellis-expires-at";

pub fn declared() -> Vec<Route> {
    const ALL: &str = "/v1/projects/{project}/stores";
    const STORE: &str = "/v1/projects/{project}/stores/{store}";
    const ONE: &str = "/v1/projects/{project}/stores/{store}/{*key}";
    let octets = "application/octet-stream";
    vec![
        Route::get(ALL, Scope::RunsRead, "List the stores of a project that hold something", list)
            .query::<StoresQuery>()
            .answers::<Page<StoreView>>(200, "A page of stores"),
        Route::get(STORE, Scope::RunsRead, "List the keys of a store, in byte order, without their values", keys)
            .query::<KeysQuery>()
            .answers::<Page<EntryView>>(200, "A page of keys"),
        Route::get(ONE, Scope::RunsRead, "Read a value; its revision is the `ETag`", get)
            .header("If-None-Match", "Answer 304 if the revision is this one still")
            .answers_bytes(200, octets, "The value")
            .answers_nothing(304, "It has not changed"),
        Route::put(ONE, Scope::ProjectsWrite, "Write a value: the body as it is", put)
            .query::<PutQuery>()
            .header("If-Match", "Write only if the revision is this one; `*`: only if there is one")
            .header("If-None-Match", "`*`: write only if the key is absent")
            .any_bytes()
            .answers::<WrittenView>(200, "It has a new value")
            .answers::<WrittenView>(201, "It is new")
            .problems(&[412]),
        Route::delete(ONE, Scope::ProjectsWrite, "Delete a key", delete)
            .header("If-Match", "Delete only if the revision is this one")
            .answers_nothing(204, "It is gone")
            .problems(&[412]),
    ]
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct StoreView {
    /// As grants name it.
    pub name: String,
}

/// An entry without its value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EntryView {
    pub key: String,
    /// Changes with every write; the `ETag` of the value.
    pub revision: i64,
    pub size_bytes: i64,
    /// Absent: it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl From<EntryInfo> for EntryView {
    fn from(EntryInfo { key, version, value_bytes, expires_at_ms }: EntryInfo) -> Self {
        Self { key, revision: version, size_bytes: value_bytes, expires_at: expires_at_ms.map(time_ms) }
    }
}

/// What a write has come to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WrittenView {
    pub key: String,
    pub revision: i64,
    /// Absent: it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StoresQuery {
    /// Stores behind this one: the `next` of the page before.
    #[schemars(length(max = NAME_BYTES_MAX))]
    after: Option<String>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/projects/{project}/stores`
async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(project): PathOf<String>,
    QueryOf(query): QueryOf<StoresQuery>,
) -> Result<Json<Page<StoreView>>, Problem> {
    let limit = page::limit(query.limit)?;
    at_most("after", query.after.as_deref(), NAME_BYTES_MAX)?;
    let project = projects::find(&api, &caller, &project).await?;
    let names = api.host.database.stores(caller.account()?, project.id, query.after.as_deref(), limit + 1).await?;
    let views = names.into_iter().map(|name| StoreView { name }).collect();
    Ok(Json(Page::new(views, limit, |view: &StoreView| view.name.clone())))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeysQuery {
    /// Keys that begin with this.
    #[serde(default)]
    #[schemars(length(max = KEY_BYTES_MAX))]
    prefix: String,
    /// Keys behind this one: the `next` of the page before.
    #[schemars(length(max = KEY_BYTES_MAX))]
    after: Option<String>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// As long as a key may be on any host.
const KEY_BYTES_MAX: usize = trellis_model::call_limits::STORAGE_KEY_BYTES_HIGHEST as usize;

/// `GET /v1/projects/{project}/stores/{store}`
async fn keys(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, store)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<KeysQuery>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let limit = page::limit(query.limit)?;
    check_store(&store)?;
    at_most("prefix", Some(&query.prefix), KEY_BYTES_MAX)?;
    at_most("after", query.after.as_deref(), KEY_BYTES_MAX)?;
    let project = projects::find(&api, &caller, &project).await?;
    let of = EntryName { account: caller.account()?, project: project.id, store: &store, key: "" };
    let found = api.host.database.entry_infos(of, &query.prefix, query.after.as_deref(), limit + 1).await?;
    let views = found.into_iter().map(EntryView::from).collect();
    Ok(Json(Page::new(views, limit, |view: &EntryView| view.key.clone())))
}

/// What an address names.
type Address = PathOf<(String, String, String)>;

/// `GET /v1/projects/{project}/stores/{store}/{key}`
async fn get(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, store, key)): Address,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let project = projects::find(&api, &caller, &project).await?;
    let of = EntryName { account: caller.account()?, project: project.id, store: &store, key: &key };
    let entry = api.host.database.whole_entry(of).await?.ok_or_else(|| absent(&store, &key))?;
    let mut response = if is_unchanged(&headers, entry.version) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // Never as what it may look like: it was written by a guest.
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))], entry.value).into_response()
    };
    response.headers_mut().insert(header::ETAG, etag(entry.version));
    if let Some(expires) = entry.expires_at_ms.and_then(|at| HeaderValue::from_str(&time_ms(at)).ok()) {
        response.headers_mut().insert(EXPIRES_AT, expires);
    }
    Ok(response)
}

fn check_store(name: &str) -> Result<(), Problem> {
    check_name(name).map_err(|reason| Problem::bad_request(format!("store name `{name}` {reason}")))
}

fn absent(store: &str, key: &str) -> Problem {
    Problem::not_found(format!("store `{store}` has no key `{key}`"))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PutQuery {
    /// The key is gone this many seconds later; without it, it stays.
    #[schemars(range(min = 1, max = STORAGE_TTL_MS_HIGHEST / 1_000))]
    ttl_seconds: Option<u64>,
}

/// `PUT /v1/projects/{project}/stores/{store}/{key}`
async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, store, key)): Address,
    QueryOf(query): QueryOf<PutQuery>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let account = caller.account()?;
    let project = projects::find(&api, &caller, &project).await?;
    // What a call of the account may write, before its node lowers it.
    let limits = api.host.budgets.of(account);
    check_store(&store)?;
    check_key(&key, &limits)?;
    let ttl = time_to_live(query.ttl_seconds, &limits)?;
    let expected = expected(&headers)?;
    // No more than any other body: what all requests together hold in memory is worked out from that.
    let bytes_max = usize::try_from(limits.storage_write_bytes).unwrap_or(usize::MAX).min(api.config.body_bytes_max);
    let value = read_body(request.into_body(), bytes_max).await?;
    let of = EntryName { account, project: project.id, store: &store, key: &key };
    match api.host.database.put_entry(of, &value, ttl, expected).await? {
        EntryPut::Unexpected(found) => Err(unexpected(&store, &key, found)),
        EntryPut::Stored { version, expires_at_ms, is_new } => {
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            let view = WrittenView { key, revision: version, expires_at: expires_at_ms.map(time_ms) };
            Ok((status, [(header::ETAG, etag(version))], Json(view)).into_response())
        }
    }
}

/// `DELETE /v1/projects/{project}/stores/{store}/{key}`
async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, store, key)): Address,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let project = projects::find(&api, &caller, &project).await?;
    let of = EntryName { account: caller.account()?, project: project.id, store: &store, key: &key };
    match api.host.database.delete_entry(of, expected(&headers)?).await? {
        EntryDeleted::Deleted => Ok(StatusCode::NO_CONTENT),
        EntryDeleted::Absent => Err(absent(&store, &key)),
        EntryDeleted::Unexpected(found) => Err(unexpected(&store, &key, found)),
    }
}

fn check_key(key: &str, limits: &CallLimits) -> Result<(), Problem> {
    at_most("the key", Some(key), limits.storage_key_bytes as usize)
}

fn time_to_live(seconds: Option<u64>, limits: &CallLimits) -> Result<Option<Duration>, Problem> {
    let longest = limits.storage_ttl_ms / 1_000;
    match seconds {
        Some(seconds) if !(1..=longest).contains(&seconds) => Err(Problem::bad_request(format!(
            "ttl_seconds={seconds} is out of range; from 1 to {longest} is allowed; leave it out for a key that stays"
        ))),
        seconds => Ok(seconds.map(Duration::from_secs)),
    }
}

fn unexpected(store: &str, key: &str, found: Option<i64>) -> Problem {
    let there = match found {
        Some(version) => format!("has the revision \"{version}\""),
        None => "is absent".to_owned(),
    };
    Problem::precondition_failed(format!("key `{key}` of store `{store}` {there}; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_may_not_write_may_not_be_written_by_hand_either() {
        let limits = CallLimits { storage_key_bytes: 4, storage_ttl_ms: 10_000, ..CallLimits::default() };
        assert!(check_key("äö", &limits).is_ok());
        assert!(check_key("äöü", &limits).expect_err("six bytes").detail.contains("at most 4"));
        assert_eq!(time_to_live(Some(10), &limits).expect("in range"), Some(Duration::from_secs(10)));
        assert_eq!(time_to_live(None, &limits).expect("it stays"), None);
        for seconds in [0, 11] {
            let refused = time_to_live(Some(seconds), &limits).expect_err("out of range");
            assert!(refused.detail.contains("from 1 to 10"), "{}", refused.detail);
        }
    }
}
