//! http triggers: a request that becomes an event.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use serde_json::value::RawValue;
use trellis_model::{
    json,
    manifest::{OnLimit, Trigger, TriggerAuth},
    run::Event,
    token::{Scope, without_tokens},
};
use trellis_operator::{catalog::LoadedRevision, ingest::NewEvent, limiter::Standing};

use super::{
    Api, Problem, auth, dedupe, events, hops, rate_limit,
    request::{PathOf, read_body, text},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    let summary = "An http trigger of a project, with the methods and the check of the sender that its manifest says";
    let trigger = |path| {
        Route::trigger(path, summary, receive)
            .answers::<events::Accepted>(202, "The event is committed")
            .problems(&[405, 409, 422, 429])
    };
    vec![trigger("/hooks/{account}/{project}"), trigger("/hooks/{account}/{project}/{*path}")]
}

/// Request headers that become attributes of the event: what senders say about an event, and nothing that identifies or
/// authorises a client.
const HEADERS_LET_THROUGH: [&str; 12] = [
    "content-type",
    "user-agent",
    "traceparent",
    "tracestate",
    "webhook-id",
    "webhook-timestamp",
    "x-github-event",
    "x-github-delivery",
    "x-gitlab-event",
    "x-shopify-topic",
    "x-request-id",
    "idempotency-key",
];
/// Longest header value or query that is let through, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 2_048;

/// `ANY /hooks/{account}/{project}/{path…}`
pub async fn receive(
    State(api): State<Arc<Api>>,
    PathOf(path): PathOf<HashMap<String, String>>,
    request: Request,
) -> Result<Response, Problem> {
    let (account, project) =
        (path.get("account").map_or("", String::as_str), path.get("project").map_or("", String::as_str));
    let hook_path = format!("/{}", path.get("path").map_or("", String::as_str));
    let revision = api.host.catalog.current(account, project);
    let found = revision.as_ref().map_or(Found::Nothing, |revision| find(revision, &hook_path, request.method()));
    let (Some(revision), Found::Trigger(trigger)) = (&revision, &found) else {
        // Only the owner is told which projects, paths and methods there are.
        check_token(&api, revision.as_deref(), request.headers()).await?;
        return Ok(match found {
            Found::OtherMethods(methods) => other_methods(&hook_path, &methods),
            _ => Problem::not_found(format!("project `{project}` has no trigger at `{hook_path}`")).into_response(),
        });
    };
    if trigger.http.auth != TriggerAuth::None {
        check_token(&api, Some(revision), request.headers()).await?;
    }
    let standing = rate_limit::standing(&api, revision.account).await?;
    let accepted = accept(&api, revision, trigger, &standing, request).await;
    Ok(rate_limit::announce(&standing, accepted.into_response()))
}

async fn accept(
    api: &Api,
    revision: &LoadedRevision,
    trigger: &Trigger,
    standing: &Standing,
    request: Request,
) -> Result<Response, Problem> {
    if trigger.http.on_limit == OnLimit::Reject {
        rate_limit::admitted(standing)?;
    }
    let (parts, body) = request.into_parts();
    let data = json_data(&read_body(body, api.config.body_bytes_max).await?)?;
    let place = dedupe::Place { project: revision.project, kind: "trigger", name: &trigger.name };
    let keys = dedupe::keys(place, trigger.http.dedupe.as_ref(), &parts.headers, &data)?;
    let mut attributes = attributes(trigger, &parts);
    attributes.extend(hops::attribute(api, revision.account, &parts.headers)?);
    let event = Event { attributes, data };
    let run = api.host.ingest.accept(NewEvent {
        account: revision.account,
        project: revision.project,
        revision: revision.id,
        grid: trigger.grid.as_str().into(),
        place: revision.place(&trigger.grid, &event),
        payload: serde_json::to_vec(&event).map_err(|_| Problem::internal())?,
        keys,
    });
    Ok(events::accepted(run.await?))
}

enum Found<'r> {
    Trigger(&'r Trigger),
    /// The path is served, with these methods.
    OtherMethods(Vec<&'r str>),
    Nothing,
}

fn find<'r>(revision: &'r LoadedRevision, path: &str, method: &Method) -> Found<'r> {
    let mut methods = Vec::new();
    for trigger in revision.triggers.iter().filter(|trigger| trigger.http.path == path) {
        if trigger.http.methods.iter().any(|own| own == method.as_str()) {
            return Found::Trigger(trigger);
        }
        methods.extend(trigger.http.methods.iter().map(String::as_str));
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
}

fn other_methods(path: &str, methods: &[&str]) -> Response {
    let allowed = methods.join(", ");
    let mut response = Problem::method_not_allowed(format!("the trigger at `{path}` takes {allowed}")).into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Whether a token may send events to a project. To all others it does not exist, whatever else is true of it.
async fn check_token(api: &Api, revision: Option<&LoadedRevision>, headers: &HeaderMap) -> Result<(), Problem> {
    let caller = auth::authorize(api, headers, Scope::EventsWrite).await?;
    let is_own = |revision: &LoadedRevision| caller.acts_for(revision.account) && caller.may_see(revision.project);
    match revision {
        Some(revision) if is_own(revision) => Ok(()),
        None if caller.is_operator() => Err(Problem::not_found("no such project is deployed")),
        _ => Err(Problem::not_found("no such trigger is deployed for the account of this token")),
    }
}

/// What the request says besides its body.
fn attributes(trigger: &Trigger, parts: &Parts) -> Vec<(String, String)> {
    let mut attributes =
        vec![("trigger".to_owned(), trigger.name.clone()), ("method".to_owned(), parts.method.to_string())];
    if let Some(query) = parts.uri.query().filter(|query| query.len() <= ATTRIBUTE_BYTES_MAX) {
        attributes.push(("query".to_owned(), without_tokens(query).into_owned()));
    }
    for name in HEADERS_LET_THROUGH {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(value) = value.filter(|value| value.len() <= ATTRIBUTE_BYTES_MAX) {
            attributes.push((name.to_owned(), without_tokens(value).into_owned()));
        }
    }
    attributes
}

/// The body as it is, once it is known to be JSON that can be read. No body is `null`.
pub fn json_data(body: &[u8]) -> Result<Box<RawValue>, Problem> {
    let body = text(body)?;
    let body = if body.trim().is_empty() { "null" } else { body };
    json::readable(body.to_owned()).map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))
}
