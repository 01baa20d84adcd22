//! Access tokens: create (shown once), list, rotate, revoke.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trellis_model::{
    AccountId, ProjectId, TokenId,
    token::{RANDOM_BYTES, Scope, TokenKind, TokenText},
};
use trellis_store::tokens::{Token, TokenOwner};

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page},
    projects,
    request::{PathOf, QueryOf, json, optional_json, read_body},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    vec![
        Route::get("/v1/tokens", Scope::TokensWrite, "List tokens, without their text", list)
            .query::<TokensQuery>()
            .answers::<Page<TokenView>>(200, "A page of tokens"),
        Route::post("/v1/tokens", Scope::TokensWrite, "Make a token; its text is in this answer alone", create)
            .json::<NewToken>()
            .answers::<CreatedToken>(201, "The token")
            .problems(&[409]),
        Route::post(
            "/v1/tokens/{token}/rotate",
            Scope::TokensWrite,
            "Make a token's successor; both are good for a while",
            rotate,
        )
        .optional_json::<Rotation>()
        .answers::<CreatedToken>(201, "The new token; its text is in this answer alone")
        .problems(&[409]),
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
/// An hour: a deployment of whatever uses the token.
const OVERLAP_SECONDS_DEFAULT: i64 = 3_600;
/// A month: longer, it would be a second token and no rotation.
const OVERLAP_SECONDS_MAX: i64 = 30 * 86_400;

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
    pub kind: TokenKind,
    pub scopes: Vec<Scope>,
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Its successor, if it was rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<TokenId>,
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
    check_count(&api, if is_operator { TokenOwner::Operators } else { TokenOwner::Account(caller.account()?) }).await?;
    let (account, kind) = match (is_operator, project) {
        (true, _) => (None, TokenKind::Operator),
        (false, Some(_)) => (Some(caller.account()?), TokenKind::Project),
        (false, None) => (Some(caller.account()?), TokenKind::Account),
    };
    let token = generate(kind)?;
    let expires_in = outlived_by(&caller, wanted.expires_in_seconds, api.host.clock.now_ms());
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

/// No token lives longer than the one that made it: a second is left out for the way to the database.
fn outlived_by(caller: &Caller, wanted: Option<i64>, now_ms: i64) -> Option<i64> {
    let left = caller.expires_at.map(|expires_at| (expires_at - now_ms.div_euclid(1_000) - 2).max(1));
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
    if (1..wanted.scopes.len()).any(|at| wanted.scopes[..at].contains(&wanted.scopes[at])) {
        return Err(Problem::bad_request("a scope is named twice in `scopes`; once is enough"));
    }
    if wanted.scopes.is_empty() {
        return Err(Problem::bad_request("a token without a scope is good for nothing; give it `scopes`"));
    }
    check_expiry(wanted.expires_in_seconds)?;
    if wanted.scopes.contains(&Scope::Operator) && wanted.project.is_some() {
        return Err(Problem::bad_request("an operator token is not bound to a project"));
    }
    check_scopes(caller, &wanted.scopes)
}

fn check_expiry(seconds: Option<i64>) -> Result<(), Problem> {
    match seconds {
        Some(seconds) if !(1..=EXPIRY_SECONDS_MAX).contains(&seconds) => Err(Problem::bad_request(format!(
            "expires_in_seconds is {seconds}; from 1 to {EXPIRY_SECONDS_MAX} is allowed"
        ))),
        _ => Ok(()),
    }
}

fn check_scopes(caller: &Caller, scopes: &[Scope]) -> Result<(), Problem> {
    match scopes.iter().find(|scope| !caller.has(**scope)) {
        Some(scope) => Err(Problem::forbidden(format!("your own token does not have the scope `{scope}`"))),
        None => Ok(()),
    }
}

/// Whether there is room for another token. Two that come at once may both find the last place; that is no harm.
async fn check_count(api: &Api, owner: TokenOwner) -> Result<(), Problem> {
    let most = api.config.account_tokens_max;
    if api.host.database.token_count(owner).await? < most {
        return Ok(());
    }
    Err(Problem::conflict(format!(
        "there are {most} valid tokens, and no more are allowed; revoke those that nobody uses, or rotate one without an overlap"
    )))
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
    // Of this owner by the statement, not behind it: a cursor must not be the id of somebody else's token.
    let tokens = api.host.database.tokens(caller.owner(), query.after, limit + 1).await?;
    let page = Page::new(tokens, limit, |token: &Token| token.id.to_string());
    Ok(Json(Page { items: page.items.into_iter().map(view).collect(), next: page.next }))
}

fn view(token: Token) -> TokenView {
    TokenView {
        id: token.id,
        name: token.name,
        kind: kind(token.account, token.project),
        scopes: token.scopes,
        created_at: page::time(token.created_at),
        expires_at: token.expires_at.map(page::time),
        replaced_by: token.replaced_by,
    }
}

fn kind(account: Option<AccountId>, project: Option<ProjectId>) -> TokenKind {
    match (account, project) {
        (None, _) => TokenKind::Operator,
        (Some(_), None) => TokenKind::Account,
        (Some(_), Some(_)) => TokenKind::Project,
    }
}

/// How a token is rotated.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    /// For how long the old token stays good; an hour if it is not given, 0 for not at all.
    #[schemars(range(min = 0, max = OVERLAP_SECONDS_MAX))]
    overlap_seconds: Option<i64>,
    /// For how long the new token is good; as long as the old one was meant to be, if it is not given.
    #[schemars(range(min = 1, max = EXPIRY_SECONDS_MAX))]
    expires_in_seconds: Option<i64>,
}

/// `POST /v1/tokens/{token}/rotate`: a new token with the same name and scopes, and a while in which both are good.
pub async fn rotate(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(id): PathOf<TokenId>,
    request: Request,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let wanted: Rotation = optional_json(&read_body(request.into_body(), api.config.body_bytes_max).await?)?;
    check_expiry(wanted.expires_in_seconds)?;
    let overlap = wanted.overlap_seconds.unwrap_or(OVERLAP_SECONDS_DEFAULT);
    if !(0..=OVERLAP_SECONDS_MAX).contains(&overlap) {
        return Err(Problem::bad_request(format!("overlap_seconds is from 0 to {OVERLAP_SECONDS_MAX}")));
    }
    let owner = caller.owner();
    let old = api.host.database.token(owner, id).await?.ok_or_else(|| unknown(id))?;
    // Its text is told to the caller: it must not be good for more than the caller's own.
    check_scopes(&caller, &old.scopes)?;
    if let Some(successor) = old.replaced_by {
        return Err(Problem::conflict(format!("token {id} was rotated already, and replaced by token {successor}")));
    }
    if overlap > 0 {
        // Both count while both are good.
        check_count(&api, old.account.map_or(TokenOwner::Operators, TokenOwner::Account)).await?;
    }
    let lifetime = wanted.expires_in_seconds.or(old.expires_at.map(|at| (at - old.created_at).max(1)));
    let expires_in = outlived_by(&caller, lifetime, api.host.clock.now_ms());
    let token = generate(kind(old.account, old.project))?;
    let made = api.host.database.rotate_token(owner, id, token.digest(), overlap, expires_in).await?;
    let made =
        made.ok_or_else(|| Problem::conflict(format!("token {id} was rotated, revoked or has expired just now")))?;
    Ok((StatusCode::CREATED, Json(CreatedToken { id: made, token: token.reveal().to_owned() })))
}

/// `DELETE /v1/tokens/{token}`: refused everywhere within five seconds.
pub async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(token): PathOf<TokenId>,
) -> Result<StatusCode, Problem> {
    if api.host.database.revoke_token(caller.owner(), token).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown(token))
    }
}

fn unknown(token: TokenId) -> Problem {
    Problem::not_found(format!("there is no token {token}"))
}
