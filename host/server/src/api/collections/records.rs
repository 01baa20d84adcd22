//! Single records by hand: read, write, delete, by their revision. What an account's calls may write is what may be written
//! here: the same schema, and the same limits on key and size.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trellis_model::{json::readable, records::Misfit, token::Scope};
use trellis_store::records::{RecordName, RecordWritten};

use super::{Place, place};
use crate::api::{
    Api, Problem,
    auth::Caller,
    event_schema::fault,
    request::{PathOf, at_most, read_body, text},
    route::Route,
    stores::conditions::{etag, expected, is_unchanged},
};

pub fn declared() -> Vec<Route> {
    const ONE: &str = "/v1/projects/{project}/collections/{collection}/records/{*key}";
    vec![
        Route::get(ONE, Scope::RunsRead, "Read a record; its revision is the `ETag`", get)
            .header("If-None-Match", "Answer 304 if the revision is this one still")
            .answers::<Value>(200, "The record as it was written")
            .answers_nothing(304, "It has not changed"),
        Route::put(ONE, Scope::ProjectsWrite, "Write a record", put)
            .header("If-Match", "Write only if the revision is this one; `*`: only if there is one")
            .header("If-None-Match", "`*`: write only if there is none")
            .json::<Value>()
            .answers::<RecordWrittenView>(200, "It has a new value")
            .answers::<RecordWrittenView>(201, "It is new")
            .problems(&[412, 422]),
        Route::delete(ONE, Scope::ProjectsWrite, "Delete a record", delete)
            .header("If-Match", "Delete only if the revision is this one")
            .answers_nothing(204, "It is gone")
            .problems(&[412]),
    ]
}

/// What a write has come to.
#[derive(Debug, Serialize, JsonSchema)]
struct RecordWrittenView {
    key: String,
    revision: i64,
}

/// What an address names: project, collection and key.
type Address = PathOf<(String, String, String)>;

/// `GET /v1/projects/{project}/collections/{collection}/records/{key}`
async fn get(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, collection, key)): Address,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = place(&api, &caller, &project, &collection).await?;
    let found = api.host.database.record(place.account, place.project, &collection, &key).await?;
    let found = found.ok_or_else(|| absent(&collection, &key))?;
    let mut response = if is_unchanged(&headers, found.version) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], found.data).into_response()
    };
    response.headers_mut().insert(header::ETAG, etag(found.version));
    Ok(response)
}

/// `PUT /v1/projects/{project}/collections/{collection}/records/{key}`
async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, collection, key)): Address,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let place = place(&api, &caller, &project, &collection).await?;
    // What a call of the account may write, before its node lowers it.
    let limits = api.host.budgets.of(place.account);
    at_most("the key", Some(&key), limits.storage_key_bytes as usize)?;
    let expected = expected(&headers)?;
    let bytes_max = usize::try_from(limits.record_bytes).unwrap_or(usize::MAX).min(api.config.body_bytes_max);
    let body = read_body(request.into_body(), bytes_max).await?;
    let no_json = |error: &dyn std::fmt::Display| Problem::bad_request(format!("the body is no JSON: {error}"));
    let json = readable(text(&body)?.to_owned()).map_err(|error| no_json(&error))?;
    let data: Value = serde_json::from_str(json.get()).map_err(|error| no_json(&error))?;
    let misfits = misfits(&api, &place, &collection, data).await?;
    if !misfits.is_empty() {
        return Err(Problem::invalid("unfit-record", misfits.into_iter().map(fault).collect()));
    }
    let of = RecordName { account: place.account, project: place.project, collection: &collection, key: &key };
    match api.host.database.put_record(of, json.get(), expected).await? {
        RecordWritten::Unexpected(found) => Err(unexpected(&collection, &key, found)),
        RecordWritten::NoCollection => Err(not_declared(&collection)),
        RecordWritten::Written { version, existed } => {
            let status = if existed { StatusCode::OK } else { StatusCode::CREATED };
            let view = RecordWrittenView { key, revision: version };
            Ok((status, [(header::ETAG, etag(version))], Json(view)).into_response())
        }
    }
}

/// `DELETE /v1/projects/{project}/collections/{collection}/records/{key}`
async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, collection, key)): Address,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let place = place(&api, &caller, &project, &collection).await?;
    let of = RecordName { account: place.account, project: place.project, collection: &collection, key: &key };
    match api.host.database.delete_record(of, expected(&headers)?).await? {
        RecordWritten::Written { existed: true, .. } => Ok(StatusCode::NO_CONTENT),
        RecordWritten::Written { existed: false, .. } | RecordWritten::NoCollection => Err(absent(&collection, &key)),
        RecordWritten::Unexpected(found) => Err(unexpected(&collection, &key, found)),
    }
}

/// What of a record does not fit what the current revision declares.
async fn misfits(api: &Api, place: &Place, collection: &str, data: Value) -> Result<Vec<Misfit>, Problem> {
    let collections = Arc::clone(&place.revision.collections);
    let declared = collections.get(collection).ok_or_else(|| not_declared(collection))?;
    if declared.is_quick(&data) {
        return Ok(declared.misfits(&data));
    }
    let name = collection.to_owned();
    let check = move || collections.get(&name).map(|declared| declared.misfits(&data)).unwrap_or_default();
    api.schema_turns.work(place.account, check).await
}

fn absent(collection: &str, key: &str) -> Problem {
    Problem::not_found(format!("collection `{collection}` has no record `{key}`"))
}

fn not_declared(collection: &str) -> Problem {
    Problem::not_found(format!(
        "collection `{collection}` is not declared by the current revision; its records can be read and deleted"
    ))
}

fn unexpected(collection: &str, key: &str, found: Option<i64>) -> Problem {
    let there = match found {
        Some(version) => format!("has the revision \"{version}\""),
        None => "is absent".to_owned(),
    };
    Problem::precondition_failed(format!("record `{key}` of collection `{collection}` {there}; nothing was changed"))
}
