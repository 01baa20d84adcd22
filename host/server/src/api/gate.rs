//! What every request passes before its handler: what its route declares is held here, once for all routes.
//!
//! ```text
//! who asks (token, scope) ─► query (declared?) ─► body (its encoding, its type, its pace) ─► handler
//! ```
//!
//! Who asks is first: whoever has no right to a route learns nothing else about it. What is in queries and bodies, the
//! handlers find out.

use std::sync::Arc;

use axum::{
    body::Body as HttpBody,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use http::{HeaderMap, HeaderValue, header};
use trellis_model::token::Scope;

use super::{
    Api, Problem, auth,
    pace::PacedBody,
    route::{Access, Body, Route},
};

/// What is held against requests to one route.
#[derive(Clone)]
struct Gate {
    api: Arc<Api>,
    access: Access,
    also: Option<Scope>,
    takes_query: bool,
    body: Option<Arc<Body>>,
}

/// The handler of a route behind its gate.
pub fn guarded(api: &Arc<Api>, route: Route) -> MethodRouter<Arc<Api>> {
    let gate = Gate {
        api: Arc::clone(api),
        access: route.access,
        also: route.also,
        takes_query: route.query.is_some() || route.is_any_query,
        body: route.body.map(Arc::new),
    };
    route.handler.route_layer(middleware::from_fn_with_state(gate, pass))
}

async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    match gate.check(&mut request).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

impl Gate {
    async fn check(&self, request: &mut Request) -> Result<(), Problem> {
        if let Access::Scope(scope) = self.access {
            let mut caller = auth::authorize(&self.api, request.headers(), scope).await?;
            if let Some(also) = self.also {
                caller = auth::authorize(&self.api, request.headers(), also).await?;
            }
            request.extensions_mut().insert(caller);
        }
        if !self.takes_query && request.uri().query().is_some_and(|query| !query.is_empty()) {
            return Err(Problem::bad_request("no query parameters are taken here; leave out what follows the `?`"));
        }
        check_encoding(request.headers())?;
        if let Some(body) = &self.body {
            check_type(body, request.headers())?;
            let unpaced = std::mem::take(request.body_mut());
            *request.body_mut() = HttpBody::new(PacedBody::new(unpaced, self.api.config.body_pace));
        }
        Ok(())
    }
}

/// A packed body is refused: what it unpacks to is nowhere announced, and could be a thousand times as much.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let shown = String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect::<String>();
            return Err(Problem::unsupported_media_type(format!(
                "Content-Encoding `{shown}` is not taken here; send the body as it is"
            )));
        }
    }
    Ok(())
}

/// Whether the body is of a kind that the route takes. One that says nothing is taken for the first of them.
fn check_type(body: &Body, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE).filter(|_| !body.is_any_type) else { return Ok(()) };
    let essence = essence(kind);
    if body.kinds.iter().any(|(media, _)| media.is(&essence)) {
        return Ok(());
    }
    let known: Vec<&str> = body.kinds.iter().map(|(media, _)| media.name()).collect();
    let shown: String = essence.chars().take(80).collect();
    let known = known.join(" or ");
    Err(Problem::unsupported_media_type(format!("Content-Type `{shown}` is not taken here; send {known}")))
}

/// A media type without its parameters, in lower case.
pub fn essence(kind: &HeaderValue) -> String {
    let kind = String::from_utf8_lossy(kind.as_bytes());
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
