//! Access tokens: create (shown once), list, revoke.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trellis_model::{
    TokenId,
    token::{RANDOM_BYTES, Scope, TokenKind, TokenText},
};
use trellis_store::tokens::Token;

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page},
    projects,
    request::{PathOf, QueryOf, json, read_body},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    vec![
        Route::get("/v1/tokens", Scope::TokensWrite, "List tokens, without their text", list)
            .query::<TokensQuery>()
            .answers::<Page<TokenView>>(200, "A page of tokens"),
        Route::post("/v1/tokens", Scope::TokensWrite, "Make a token; its text is in this answer alone", create)
            .json::<NewToken>()
            .answers::<CreatedToken>(201, "The token"),
        Route::delete(
            "/v1/tokens/{token}",
            Scope::TokensWrite,
            "Revoke a token; no host takes it five seconds later",
            revoke,
        )
        .answers_nothing(204, "It is revoked"),
    ]
}

const NAME_BYTES_MAX: usize = 128;
const EXPIRY_SECONDS_MAX: i64 = 10 * 366 * 86_400;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What it is for.
    #[schemars(length(min = 1, max = NAME_BYTES_MAX))]
    name: String,
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    scopes: Vec<Scope>,
    /// Good for this project alone.
    project: Option<String>,
    #[schemars(range(min = 1, max = EXPIRY_SECONDS_MAX))]
    expires_in_seconds: Option<i64>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct TokenView {
    pub id: TokenId,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A new token. This is the only time its text is shown.
#[derive(Serialize, JsonSchema)]
pub struct CreatedToken {
    pub id: TokenId,
    pub token: String,
}

/// `POST /v1/tokens`
pub async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let wanted: NewToken = json(&read_body(request.into_body(), api.config.body_bytes_max).await?)?;
    check(&caller, &wanted)?;
    let project = match &wanted.project {
        Some(name) => Some(projects::find(&api, &caller, name).await?.id),
        None => caller.project,
    };
    let is_operator = wanted.scopes.contains(&Scope::Operator);
    let (account, kind) = match (is_operator, project) {
        (true, _) => (None, TokenKind::Operator),
        (false, Some(_)) => (Some(caller.account()?), TokenKind::Project),
        (false, None) => (Some(caller.account()?), TokenKind::Account),
    };
    let token = generate(kind)?;
    let expires_in = outlived_by(&caller, wanted.expires_in_seconds, api.host.clock.now_ms() / 1_000);
    let id = api
        .host
        .database
        .create_token(account, project, &wanted.name, token.digest(), &wanted.scopes, expires_in)
        .await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { id, token: token.reveal().to_owned() })))
}

/// A fresh token from the system's randomness.
pub fn generate(kind: TokenKind) -> Result<TokenText, Problem> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "the system gives no randomness");
        Problem::internal()
    })?;
    Ok(TokenText::from_random(kind, &random))
}

/// No token lives longer than the one that made it.
fn outlived_by(caller: &Caller, wanted: Option<i64>, now: i64) -> Option<i64> {
    let left = caller.expires_at.map(|expires_at| (expires_at - now).max(1));
    match (wanted, left) {
        (Some(wanted), Some(left)) => Some(wanted.min(left)),
        (wanted, left) => wanted.or(left),
    }
}

/// Nobody gives away what they do not have.
fn check(caller: &Caller, wanted: &NewToken) -> Result<(), Problem> {
    if wanted.name.is_empty() || wanted.name.len() > NAME_BYTES_MAX || wanted.name.contains('\0') {
        return Err(Problem::bad_request(format!("a token's name has 1 to {NAME_BYTES_MAX} bytes")));
    }
    if wanted.scopes.is_empty() {
        return Err(Problem::bad_request("a token without a scope is good for nothing; give it `scopes`"));
    }
    if wanted.expires_in_seconds.is_some_and(|seconds| !(1..=EXPIRY_SECONDS_MAX).contains(&seconds)) {
        return Err(Problem::bad_request(format!("expires_in_seconds is from 1 to {EXPIRY_SECONDS_MAX}")));
    }
    if wanted.scopes.contains(&Scope::Operator) && wanted.project.is_some() {
        return Err(Problem::bad_request("an operator token is not bound to a project"));
    }
    match wanted.scopes.iter().find(|scope| !caller.has(**scope)) {
        Some(scope) => Err(Problem::forbidden(format!("your own token does not have the scope `{scope}`"))),
        None => Ok(()),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensQuery {
    after: Option<TokenId>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/tokens`
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    QueryOf(query): QueryOf<TokensQuery>,
) -> Result<Json<Page<TokenView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let tokens = api.host.database.tokens(caller.account()?, query.after, limit + 1).await?;
    let page = Page::new(tokens, limit, |token: &Token| token.id.to_string());
    let is_visible = |token: &Token| caller.project.is_none() || token.project == caller.project;
    let view = |token: Token| TokenView {
        id: token.id,
        name: token.name,
        scopes: token.scopes,
        created_at: page::time(token.created_at),
        expires_at: token.expires_at.map(page::time),
    };
    Ok(Json(Page { items: page.items.into_iter().filter(is_visible).map(view).collect(), next: page.next }))
}

/// `DELETE /v1/tokens/{token}`: refused everywhere within five seconds.
pub async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(token): PathOf<TokenId>,
) -> Result<StatusCode, Problem> {
    if api.host.database.revoke_token(caller.account()?, caller.project, token).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found(format!("there is no token {token}")))
    }
}
