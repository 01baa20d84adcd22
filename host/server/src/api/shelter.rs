//! What stands over all routes alike: a place among the requests, a time limit, panics caught, errors in one shape, and the
//! headers that tell browsers to do nothing with what they are shown.
//!
//! Knows nothing of single routes; that is [`super::gate`].

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, header};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use super::{Problem, problem::CONTENT_TYPE};

/// When somebody who was turned away may come back.
const SHED_RETRY: Duration = Duration::from_secs(1);
/// Longest text of a layer's refusal that is said again, in bytes.
const PLAIN_BYTES_MAX: usize = 4_096;

/// What every answer says that does not say it differently itself.
const SECURITY_HEADERS: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Answers of the API are data: a browser that is led to one runs, loads and frames nothing.
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "interest-cohort=()"),
    // Tokens, outcomes and limits: nothing of it is for a cache on the way.
    (header::CACHE_CONTROL, "no-store"),
];

/// The routes under the shelter. The last layer is the outermost.
pub fn over(router: Router, request_timeout: Duration, requests_max: usize) -> Router {
    let places = Arc::new(Semaphore::new(requests_max.min(Semaphore::MAX_PERMITS)));
    router
        .layer(middleware::from_fn_with_state(request_timeout, limit_time))
        .layer(middleware::from_fn(explain_plain_errors))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(middleware::from_fn_with_state(places, shed))
        .layer(middleware::from_fn(add_security_headers))
}

/// Asked for by supervisors and load balancers, answered without a place: a host that is busy is neither dead nor gone, and
/// to send its events elsewhere would only have the next one drown.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Turns requests away that find no place, instead of letting all of them wait.
async fn shed(State(places): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if HEALTH.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => Problem::unavailable("the host answers as many requests as it can", SHED_RETRY).into_response(),
    }
}

async fn limit_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail =
                format!("the request took longer than {} s; it may have been carried out or not", limit.as_secs());
            Problem::unavailable(detail, SHED_RETRY).into_response()
        }
    }
}

/// Marks an answer that a plugin gave: whatever it says stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct PluginAnswer;

/// Whatever a layer or an extractor refused in plain text is said again as a problem, with the headers that it had.
async fn explain_plain_errors(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_plain = response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != CONTENT_TYPE);
    let is_a_plugins = response.extensions().get::<PluginAnswer>().is_some();
    if !(status.is_client_error() || status.is_server_error()) || !is_plain || is_a_plugins {
        return response;
    }
    let allowed = response.headers().get(header::ALLOW).cloned();
    let detail = match axum::body::to_bytes(response.into_body(), PLAIN_BYTES_MAX).await {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    };
    let mut response = Problem::plain(status, detail).into_response();
    response.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
    response
}

async fn add_security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use http::StatusCode;
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn ask(router: &Router, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        router.clone().oneshot(request).await.expect("routers do not fail")
    }

    fn assert_problem(response: &Response, status: StatusCode) {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        for (name, value) in SECURITY_HEADERS {
            assert_eq!(response.headers()[&name], value, "{name}");
        }
    }

    #[tokio::test]
    async fn requests_without_a_place_are_turned_away_at_once_and_health_is_not() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (their_begun, their_go) = (Arc::clone(&begun), Arc::clone(&go));
        let held = move || async move {
            their_begun.notify_one();
            their_go.notified().await;
            "done"
        };
        let router = HEALTH.iter().fold(Router::new().route("/held", get(held)), |router, path| {
            router.route(path, get(|| async { "alive" }))
        });
        let router = over(router, LONG, 1);
        let first = tokio::spawn({
            let router = router.clone();
            async move { ask(&router, "/held").await.status() }
        });
        begun.notified().await;
        let second = ask(&router, "/held").await;
        assert_problem(&second, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(second.headers()[header::RETRY_AFTER], "1");
        for path in ["/healthz", "/readyz"] {
            assert_eq!(ask(&router, path).await.status(), StatusCode::OK, "{path}");
        }
        go.notify_one();
        assert_eq!(first.await.expect("no panic"), StatusCode::OK);
        go.notify_one();
        assert_eq!(ask(&router, "/held").await.status(), StatusCode::OK, "the place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_told_so() {
        let router = over(Router::new().route("/", get(std::future::pending::<()>)), LONG, 1);
        let response = ask(&router, "/").await;
        assert_problem(&response, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    async fn broken() {
        panic!("a mistake in a handler");
    }

    #[tokio::test]
    async fn panics_and_plain_refusals_are_problems_like_all_others() {
        let router = Router::new()
            .route("/broken", get(broken))
            .route("/plain", get(|| async { (StatusCode::IM_A_TEAPOT, "short and stout") }));
        let router = over(router, LONG, 1);
        assert_problem(&ask(&router, "/broken").await, StatusCode::INTERNAL_SERVER_ERROR);
        assert_problem(&ask(&router, "/plain").await, StatusCode::IM_A_TEAPOT);
        assert_problem(&ask(&router, "/nothing").await, StatusCode::NOT_FOUND);
    }
}
