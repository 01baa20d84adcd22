//! Errors as RFC 9457 problem details: what is wrong, where, and how to mend it.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trellis_model::fault::Fault;
use trellis_operator::ingest::IngestError;
use trellis_store::StoreError;

use super::catalogue;

pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Where every host explains this kind of problem, such as `/problems/invalid-manifest`. Fixed, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Every mistake in what was sent, with its place and its fix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Seconds, rounded up; also in the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    pub(super) const NOT_KEPT: &'static str = "not-kept";

    /// See [`Problem::not_kept`].
    pub fn is_not_kept(&self) -> bool {
        self.kind.strip_prefix(catalogue::BEGIN) == Some(Self::NOT_KEPT)
    }

    /// A problem of a kind that is in the catalogue.
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let known = catalogue::find(kind);
        debug_assert!(known.is_some(), "`{kind}` is not in the catalogue of problems");
        Self {
            kind: format!("{}{kind}", catalogue::BEGIN),
            title: known.map_or(kind, |known| known.title).to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            faults: Vec::new(),
            retry_after: None,
        }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// A run that may have been here, and is over: what its account keeps does not include it.
    pub fn not_kept(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Self::NOT_KEPT, detail)
    }

    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// The run is not in a state in which this can be done.
    pub fn run_state(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "run-state", detail)
    }

    /// A run that cannot be replayed as it was asked for.
    pub fn not_replayable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not-replayable", detail)
    }

    /// The event comes from grids that start each other.
    pub fn loop_detected(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::LOOP_DETECTED, "loop", detail)
    }

    /// A body of a kind, or packed in a way, that is not taken.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    }

    /// The client took too long to send its body.
    pub fn too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail)
    }

    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// Faults in what was sent, of a kind that is in the catalogue.
    pub fn invalid(kind: &'static str, faults: Vec<Fault>) -> Self {
        let detail = match faults.as_slice() {
            [one] => one.to_string(),
            many => format!("{} faults, listed in `faults`", many.len()),
        };
        Self { faults, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, kind, detail) }
    }

    /// An `Idempotency-Key` names one event, and this is another one.
    pub fn key_reused() -> Self {
        let detail = "this `Idempotency-Key` was sent before with another body; send each event with a key of its own";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail)
    }

    /// An account is over its limits.
    pub fn rate_limited(wait: Duration) -> Self {
        let seconds = round_up(wait);
        let detail = format!("the account is over its rate limit; try again in {seconds} s");
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail) }
    }

    /// An account follows as many runs as it may.
    pub fn too_many_streams(detail: impl Into<String>, wait: Duration) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", detail);
        Self { retry_after: Some(round_up(wait)), ..problem }
    }

    /// The run that somebody waited for did not succeed.
    pub fn run_failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "run-failed", detail)
    }

    /// The same, for what was sent with its event.
    pub fn run_input(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "run-input", detail)
    }

    /// The same, because something took too long.
    pub fn run_timeout(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "run-timeout", detail)
    }

    pub fn unavailable(detail: impl Into<String>, wait: Duration) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self { retry_after: Some(round_up(wait)), ..problem }
    }

    /// Says nothing of the cause: that is in the log.
    pub fn internal() -> Self {
        let detail = "the host failed at this request; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// What is there is not what a header expects.
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
    }

    /// What a layer has refused in plain text.
    pub fn plain(status: StatusCode, detail: String) -> Self {
        let kind = match status {
            StatusCode::BAD_REQUEST => "bad-request",
            StatusCode::NOT_FOUND => "not-found",
            StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
            StatusCode::REQUEST_TIMEOUT => "too-slow",
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            status if status.is_server_error() => "internal",
            _ => "refused",
        };
        let reason = status.canonical_reason().unwrap_or("refused").to_lowercase();
        Self::new(status, kind, if detail.is_empty() { reason } else { detail })
    }
}

/// Whole seconds, rounded up.
pub fn round_up(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// How soon a client may try again when the database is away.
const DATABASE_RETRY: Duration = Duration::from_secs(2);

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() {
            tracing::warn!(%error, "a request was not served");
            return Self::unavailable("the database is not available", DATABASE_RETRY);
        }
        tracing::error!(%error, "a request failed");
        Self::internal()
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Unavailable(_) => Self::unavailable("the database is not available", DATABASE_RETRY),
            IngestError::Overloaded | IngestError::Stopping => {
                Self::unavailable(error.to_string(), Duration::from_secs(1))
            }
            IngestError::Unanswered(_) => {
                let fate =
                    "the event may have been accepted or not; sent again with an `Idempotency-Key` it is accepted once";
                Self::unavailable(format!("{error}: {fate}"), DATABASE_RETRY)
            }
            IngestError::KeyReused => Self::key_reused(),
            IngestError::Replayed => Self::run_state(error.to_string()),
            IngestError::Refused(reason) => {
                tracing::error!(reason, "an event was refused");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::{problem_statuses, routes};

    #[test]
    fn every_status_that_a_problem_is_made_with_is_declared_by_some_route() {
        let declared: BTreeSet<u16> = routes().iter().flat_map(problem_statuses).collect();
        let (own, _) = include_str!("problem.rs").split_once("#[cfg(test)]").expect("this is behind it");
        let name = |status: StatusCode| {
            let reason = status.canonical_reason().unwrap_or_default();
            format!("StatusCode::{},", reason.to_uppercase().replace(' ', "_"))
        };
        let all = (400..600).filter_map(|status| StatusCode::from_u16(status).ok());
        let made: BTreeSet<u16> =
            all.filter(|status| own.contains(&name(*status))).map(|status| status.as_u16()).collect();
        assert!(made.len() > 10, "{made:?}");
        assert_eq!(made.difference(&declared).collect::<Vec<_>>(), Vec::<&u16>::new());
    }
}
