//! Whether a request to a trigger comes from one of its senders.
//!
//! Before that is known nothing is told of the project: a trigger that is not there, one that is another account's and one
//! whose signature is wrong are answered alike, and the body of a signed request is looked at by nobody before its signature
//! holds. Why a request was refused is for the log.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use trellis_model::{
    manifest::{Trigger, TriggerAuth},
    signature::{Refusal, SenderSignature},
    token::Scope,
};
use trellis_operator::catalog::LoadedRevision;

use super::{
    Api, Problem,
    auth::{self, Caller},
    request::read_body,
};

/// The body of a request whose sender is known.
pub enum SentBody {
    Unread(Body),
    /// A signature was checked over these bytes.
    Read(Bytes),
}

impl SentBody {
    /// All of it, within the limit of the host.
    pub async fn bytes(self, api: &Api) -> Result<Bytes, Problem> {
        match self {
            Self::Unread(body) => read_body(body, api.config.body_bytes_max).await,
            Self::Read(bytes) => Ok(bytes),
        }
    }
}

/// Lets through what comes from a sender of the trigger.
pub async fn check(
    api: &Api,
    revision: &LoadedRevision,
    trigger: &Trigger,
    headers: &HeaderMap,
    body: Body,
) -> Result<SentBody, Problem> {
    match &trigger.http.auth {
        TriggerAuth::None => Ok(SentBody::Unread(body)),
        TriggerAuth::Token => {
            let caller = token(api, headers).await?;
            if is_own(&caller, revision) { Ok(SentBody::Unread(body)) } else { Err(not_theirs()) }
        }
        TriggerAuth::Signature(signature) => match signed(api, revision, trigger, signature, headers, body).await? {
            Ok(bytes) => Ok(SentBody::Read(bytes)),
            Err(refused) => {
                tracing::debug!(project = revision.project_name, trigger = trigger.name, %refused, "a sender is not known");
                Err(unknown(api, revision, headers).await)
            }
        },
    }
}

/// Why a signed request is not let through.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Claim(Refusal),
    #[error("the body could not be read: {0}")]
    Body(String),
    #[error("the signature is not one of this body with a secret of the trigger")]
    Mismatch,
}

/// The body, if somebody has signed it who may. First what costs least: headers, then keys, then the body.
async fn signed(
    api: &Api,
    revision: &LoadedRevision,
    trigger: &Trigger,
    signature: &SenderSignature,
    headers: &HeaderMap,
    body: Body,
) -> Result<Result<Bytes, Refused>, Problem> {
    let now_s = api.host.clock.now_ms().div_euclid(1_000);
    let claim = match signature.claim(|name| single(headers, name), now_s) {
        Ok(claim) => claim,
        Err(refusal) => return Ok(Err(Refused::Claim(refusal))),
    };
    let keys = api.signing_keys.of(revision, trigger, signature).await?;
    let body = match read_body(body, api.config.body_bytes_max).await {
        Ok(body) => body,
        Err(problem) => return Ok(Err(Refused::Body(problem.detail))),
    };
    Ok(if claim.holds(&body, &keys) { Ok(body) } else { Err(Refused::Mismatch) })
}

/// A header that must not be there twice: which of the two was signed nobody could say.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h [u8]>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(http::HeaderValue::as_bytes)),
        _ => Err(Refusal::Twice(name.to_owned())),
    }
}

/// Whether somebody may be told what a project has at an address where it takes nothing from them; none: there is no such
/// project, which is the same to all but operators as a project of somebody else.
///
/// # Errors
/// They may not; this is what they are told instead.
pub async fn may_be_told(api: &Api, revision: Option<&LoadedRevision>, headers: &HeaderMap) -> Result<(), Problem> {
    let caller = token(api, headers).await?;
    let is_theirs = match revision {
        Some(revision) => is_own(&caller, revision),
        None => caller.is_operator(),
    };
    if is_theirs { Ok(()) } else { Err(not_theirs()) }
}

/// What somebody is told whose signature does not hold: the same as where there is nothing at all.
async fn unknown(api: &Api, revision: &LoadedRevision, headers: &HeaderMap) -> Problem {
    match may_be_told(api, Some(revision), headers).await {
        // Whoever has a token knows what is here; it is no signature all the same.
        Ok(()) => nobody(),
        Err(problem) => problem,
    }
}

async fn token(api: &Api, headers: &HeaderMap) -> Result<Caller, Problem> {
    if !headers.contains_key(header::AUTHORIZATION) {
        return Err(nobody());
    }
    auth::authorize(api, headers, Scope::EventsWrite).await
}

fn is_own(caller: &Caller, revision: &LoadedRevision) -> bool {
    caller.acts_for(revision.account) && caller.may_see(revision.project)
}

fn nobody() -> Problem {
    Problem::unauthorized(
        "the sender is not known here; send the header `Authorization: Bearer trl_…`, or the signature that is agreed on",
    )
}

fn not_theirs() -> Problem {
    Problem::not_found("no such trigger is deployed for the account of this token")
}
