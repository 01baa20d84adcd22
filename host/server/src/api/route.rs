//! One declaration of a route: method, path, who may ask, what is taken, what is answered. The router, the check of the
//! scope, `/openapi.json` and the tests that try every route against every token all read it, so that none of them can
//! forget a route that another one knows.
//!
//! A route cannot be declared without saying who may ask: that is an argument, not an option. Knows nothing of what the
//! handlers do, nor of how the declaration is enforced ([`super::gate`]) or written down ([`super::openapi`]).

use std::sync::Arc;

use axum::{
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use trellis_model::token::Scope;

use super::Api;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody. Nothing is told that depends on who asks.
    Public,
    /// Whoever a trigger lets in: the handler finds that out, because the manifest says how.
    Trigger,
    /// A token with this scope; what is asked about belongs to the token's account.
    Scope(Scope),
}

impl From<Scope> for Access {
    fn from(scope: Scope) -> Self {
        Self::Scope(scope)
    }
}

/// How a type is described, by a generator of either direction.
pub type Describe = fn(&mut SchemaGenerator) -> Schema;

fn describe<T: JsonSchema>() -> Describe {
    |generator| generator.subschema_for::<T>()
}

/// What nearly everything is answered in.
pub const JSON: &str = "application/json";

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`, or any type that ends in `+json`.
    Json,
    Toml,
    /// A component's bytes.
    Wasm,
    /// Bytes of any kind.
    Bytes,
}

impl Media {
    /// The types that the document tells, the best first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Json => &[JSON],
            Self::Toml => &["application/toml"],
            Self::Wasm => &["application/wasm", "application/octet-stream"],
            Self::Bytes => &["application/octet-stream"],
        }
    }

    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// Whether a type without its parameters, in lower case, is this one.
    pub fn is(self, essence: &str) -> bool {
        let is_json = self == Self::Json && essence.starts_with("application/") && essence.ends_with("+json");
        is_json || self.names().contains(&essence)
    }
}

/// The body that a route takes.
#[derive(Clone)]
pub struct Body {
    /// Each kind with what is in it.
    pub kinds: Vec<(Media, Describe)>,
    pub is_required: bool,
    /// Whatever the sender says it is, the handler looks for itself: senders of webhooks are not ours to teach.
    pub is_any_type: bool,
}

/// One answer that is no problem.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub summary: &'static str,
    /// None: without a body.
    pub body: Option<Describe>,
    /// What the body is.
    pub media: &'static str,
}

/// A route, declared.
#[derive(Clone)]
pub struct Route {
    /// More than one where a project's manifest chooses among them.
    pub methods: Vec<Method>,
    /// As the router writes it: `/v1/runs/{run}`.
    pub path: &'static str,
    pub access: Access,
    /// Another scope that the token must have as well.
    pub also: Option<Scope>,
    /// One sentence for the document.
    pub summary: &'static str,
    /// None: it takes no query.
    pub query: Option<Describe>,
    /// A query of any kind is part of the event.
    pub is_any_query: bool,
    pub body: Option<Body>,
    pub answers: Vec<Answer>,
    /// A body as somebody would send it; none: one is made from the schema.
    pub example: Option<fn() -> serde_json::Value>,
    /// Headers of the request that it heeds, each with what it means.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The statuses of its own problems, besides those that follow from the rest of the declaration.
    pub problems: Vec<u16>,
    pub(super) handler: MethodRouter<Arc<Api>>,
}

impl Route {
    fn new<H, T>(
        methods: &[Method],
        path: &'static str,
        access: impl Into<Access>,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        let filters = methods.iter().map(|method| {
            MethodFilter::try_from(method.clone()).expect("routes are declared with the methods of the standard")
        });
        let filter = filters.reduce(MethodFilter::or).expect("a route has a method");
        Self {
            methods: methods.to_vec(),
            path,
            access: access.into(),
            also: None,
            summary,
            query: None,
            is_any_query: false,
            body: None,
            answers: Vec::new(),
            example: None,
            headers: Vec::new(),
            problems: Vec::new(),
            handler: on(filter, handler),
        }
    }

    pub fn get<H, T>(path: &'static str, access: impl Into<Access>, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(&[Method::GET], path, access, summary, handler)
    }

    pub fn post<H, T>(path: &'static str, access: impl Into<Access>, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(&[Method::POST], path, access, summary, handler)
    }

    pub fn put<H, T>(path: &'static str, access: impl Into<Access>, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(&[Method::PUT], path, access, summary, handler)
    }

    pub fn patch<H, T>(path: &'static str, access: impl Into<Access>, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(&[Method::PATCH], path, access, summary, handler)
    }

    pub fn delete<H, T>(path: &'static str, access: impl Into<Access>, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        Self::new(&[Method::DELETE], path, access, summary, handler)
    }

    /// Where a manifest's triggers listen, each with methods of its own choice.
    pub fn trigger<H, T>(path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Api>>,
        T: 'static,
    {
        let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let route = Self::new(&methods, path, Access::Trigger, summary, handler);
        let body =
            Body { kinds: vec![(Media::Json, describe::<serde_json::Value>())], is_required: false, is_any_type: true };
        Self { is_any_query: true, body: Some(body), ..route }
    }

    /// The token must have this scope as well.
    #[must_use]
    pub fn also(self, scope: Scope) -> Self {
        Self { also: Some(scope), ..self }
    }

    /// It takes these query parameters, and no others.
    #[must_use]
    pub fn query<Q: JsonSchema>(self) -> Self {
        Self { query: Some(describe::<Q>()), ..self }
    }

    #[must_use]
    pub fn json<B: JsonSchema>(self) -> Self {
        self.takes(Media::Json, describe::<B>(), true)
    }

    /// The body may be left out.
    #[must_use]
    pub fn optional_json<B: JsonSchema>(self) -> Self {
        self.takes(Media::Json, describe::<B>(), false)
    }

    /// It takes text or bytes of this kind; once more for each further kind.
    #[must_use]
    pub fn bytes(self, media: Media) -> Self {
        // Bytes have no schema, text has that of a string.
        self.takes(
            media,
            if matches!(media, Media::Wasm | Media::Bytes) {
                describe::<serde_json::Value>()
            } else {
                describe::<String>()
            },
            true,
        )
    }

    /// It takes whatever is sent, of whatever kind it is said to be; the body may be empty.
    #[must_use]
    pub fn any_bytes(self) -> Self {
        let kinds = vec![(Media::Bytes, describe::<serde_json::Value>())];
        Self { body: Some(Body { kinds, is_required: false, is_any_type: true }), ..self }
    }

    fn takes(mut self, media: Media, schema: Describe, is_required: bool) -> Self {
        let body = self.body.get_or_insert_with(|| Body { kinds: Vec::new(), is_required, is_any_type: false });
        body.kinds.push((media, schema));
        self
    }

    #[must_use]
    pub fn answers<A: JsonSchema>(self, status: u16, summary: &'static str) -> Self {
        self.answer(Answer { status, summary, body: Some(describe::<A>()), media: JSON })
    }

    /// 200, and a stream of server-sent events with data of this type.
    #[must_use]
    pub fn answers_events<A: JsonSchema>(self, summary: &'static str) -> Self {
        self.answer(Answer { status: 200, summary, body: Some(describe::<A>()), media: "text/event-stream" })
    }

    /// It answers with text of this kind.
    #[must_use]
    pub fn answers_text(self, status: u16, media: &'static str, summary: &'static str) -> Self {
        self.answer(Answer { status, summary, body: Some(describe::<String>()), media })
    }

    /// It answers with bytes of this kind, which have no schema.
    #[must_use]
    pub fn answers_bytes(self, status: u16, media: &'static str, summary: &'static str) -> Self {
        self.answer(Answer { status, summary, body: Some(describe::<serde_json::Value>()), media })
    }

    #[must_use]
    pub fn answers_nothing(self, status: u16, summary: &'static str) -> Self {
        self.answer(Answer { status, summary, body: None, media: JSON })
    }

    fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// A body as somebody would send it, where one that is made from the schema would say nothing.
    #[must_use]
    pub fn example(self, example: fn() -> serde_json::Value) -> Self {
        Self { example: Some(example), ..self }
    }

    /// It heeds this header of the request.
    #[must_use]
    pub fn header(mut self, name: &'static str, summary: &'static str) -> Self {
        self.headers.push((name, summary));
        self
    }

    /// It has problems of its own with these statuses.
    #[must_use]
    pub fn problems(mut self, statuses: &[u16]) -> Self {
        self.problems.extend_from_slice(statuses);
        self
    }

    /// The names in the path, in its order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|step| Some(step.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*')))
    }
}
