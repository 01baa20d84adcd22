//! http triggers: a request that becomes an event, once its sender is known.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, header, request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trellis_model::{
    json,
    manifest::{OnLimit, Trigger, TriggerAuth},
    run::Event,
    signature::{Scheme, SenderSignature},
    token::without_tokens,
};
use trellis_operator::{catalog::LoadedRevision, ingest::NewEvent, limiter::Standing};

use super::{
    Api, Problem, dedupe, event_schema, events, hops,
    outcome::Waiting,
    projects, rate_limit,
    request::{PathOf, text},
    route::Route,
    senders::{self, SentBody},
    serve,
};

pub fn declared() -> Vec<Route> {
    let summary = "An http trigger of a project, with the methods and the check of the sender that its manifest says";
    let trigger = |path| {
        Route::trigger(path, summary, receive)
            .answers::<serde_json::Value>(
                200,
                "What a node of the run has emitted, if the trigger says `reply = \"result\"`",
            )
            .answers::<events::Accepted>(202, "The event is committed")
            .answers_nothing(204, "The run has succeeded, and the node has emitted nothing")
            .problems(&[405, 409, 422, 429, 502, 504, 508])
    };
    vec![trigger("/hooks/{account}/{project}"), trigger("/hooks/{account}/{project}/{*path}")]
}

/// Request headers that become attributes of the event: what senders say about an event, and nothing that identifies or
/// authorises a client.
const HEADERS_LET_THROUGH: [&str; 14] = [
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
    "x-shopify-shop-domain",
    "x-shopify-webhook-id",
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
    let current = api.host.catalog.current(account, project);
    let (revision, trigger) = match find(current.as_deref(), &hook_path, request.method()) {
        Found::Trigger(revision, trigger) => (revision, trigger),
        Found::OtherMethods { methods, is_open } => {
            if !is_open {
                senders::may_be_told(&api, current.as_deref(), request.headers()).await?;
            }
            return Ok(other_methods(&hook_path, &methods));
        }
        Found::Nothing => {
            senders::may_be_told(&api, current.as_deref(), request.headers()).await?;
            return Err(nothing_here(current.is_some(), account, project, &hook_path));
        }
    };
    let (parts, body) = request.into_parts();
    let body = senders::check(&api, revision, trigger, &parts.headers, body).await?;
    projects::servable(revision)?;
    let standing = rate_limit::standing(&api, revision.account).await?;
    let accepted = accept(&api, revision, trigger, &standing, &parts, body).await;
    Ok(rate_limit::announce(&standing, accepted.into_response()))
}

async fn accept(
    api: &Api,
    revision: &LoadedRevision,
    trigger: &Trigger,
    standing: &Standing,
    parts: &Parts,
    body: SentBody,
) -> Result<Response, Problem> {
    let admitted = match trigger.http.on_limit {
        OnLimit::Reject => rate_limit::admitted(standing),
        OnLimit::Queue => Ok(()),
    };
    if !dedupe::may_have_keys(trigger.http.dedupe.as_ref(), &parts.headers) {
        admitted.as_ref().map_err(Problem::clone)?;
    }
    let data = match trigger.http.serves {
        true => serve::request_data(&trigger.http.path, parts, &body.bytes(api).await?)?,
        false => json_data(&body.bytes(api).await?)?,
    };
    if let Some(answer) = slack_challenge(trigger, &data) {
        return Ok(answer);
    }
    let place = dedupe::Place { project: revision.project, kind: "trigger", name: &trigger.name };
    let keys = dedupe::keys(place, trigger.http.dedupe.as_ref(), &parts.headers, &data)?;
    if let Err(refusal) = admitted {
        return dedupe::repeated_or(api, revision.account, &keys, refusal).await;
    }
    if let Err(refusal) = event_schema::check(api, revision.account, trigger, &data).await {
        // Accepted when the trigger let it in, it has its run.
        return dedupe::repeated_or(api, revision.account, &keys, refusal).await;
    }
    let mut attributes = attributes(trigger, parts);
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
    let accepted = run.await?;
    let Some(reply) = revision.reply(&trigger.name) else { return Ok(events::accepted(accepted)) };
    let waiting = Waiting { api, account: revision.account, revision, grid: &trigger.grid, accepted };
    let answer = waiting.with_result(reply).await?;
    if trigger.http.serves { serve::answer(answer).await } else { Ok(answer) }
}

enum Found<'r> {
    Trigger(&'r LoadedRevision, &'r Trigger),
    /// The path is served, with these methods.
    OtherMethods {
        methods: Vec<&'r str>,
        /// For anybody.
        is_open: bool,
    },
    Nothing,
}

fn find<'r>(revision: Option<&'r LoadedRevision>, path: &str, method: &Method) -> Found<'r> {
    let Some(revision) = revision else { return Found::Nothing };
    let (mut methods, mut is_open) = (Vec::new(), false);
    let mut taking: Vec<_> =
        revision.triggers.iter().filter_map(|trigger| Some((trigger.http.takes(path)?, trigger))).collect();
    // The most particular path first.
    taking.sort_by_key(|(letters, _)| std::cmp::Reverse(*letters));
    for (_, trigger) in taking {
        // Whoever may GET may HEAD; the body is left out behind this.
        let asked = if trigger.http.serves && *method == Method::HEAD { &Method::GET } else { method };
        if trigger.http.methods.iter().any(|own| own == asked.as_str()) {
            return Found::Trigger(revision, trigger);
        }
        is_open |= trigger.http.auth == TriggerAuth::None;
        methods.extend(trigger.http.methods.iter().map(String::as_str));
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods { methods, is_open } }
}

fn nothing_here(is_project: bool, account: &str, project: &str, path: &str) -> Problem {
    Problem::not_found(if is_project {
        format!("project `{project}` has no trigger at `{path}`")
    } else {
        format!("no project `{project}` of an account `{account}` is deployed here")
    })
}

fn other_methods(path: &str, methods: &[&str]) -> Response {
    let allowed = methods.join(", ");
    let mut response = Problem::method_not_allowed(format!("the trigger at `{path}` takes {allowed}")).into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Slack sends no event to an address that has not repeated a text to it. That is no event itself.
fn slack_challenge(trigger: &Trigger, data: &RawValue) -> Option<Response> {
    #[derive(Serialize, Deserialize)]
    struct Challenge {
        challenge: String,
    }
    #[derive(Deserialize)]
    struct Kind<'d> {
        r#type: &'d str,
    }
    let TriggerAuth::Signature(SenderSignature { scheme: Scheme::Slack, .. }) = &trigger.http.auth else { return None };
    let kind: Kind<'_> = serde_json::from_str(data.get()).ok()?;
    let challenge: Challenge = serde_json::from_str(data.get()).ok()?;
    (kind.r#type == "url_verification").then(|| Json(challenge).into_response())
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
