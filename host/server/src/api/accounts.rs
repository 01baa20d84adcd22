//! Accounts, their limits and their retention, for operators.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use serde::{Deserialize, Serialize};
use trellis_model::{
    AccountId,
    description::check_name,
    retention::{Retention, RetentionChange},
    window::AccountLimits,
};
use trellis_store::accounts::Account;

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, Page},
    request::{PathOf, QueryOf, json, read_body},
};

#[derive(Debug, Serialize)]
pub struct AccountView {
    pub id: AccountId,
    pub name: String,
    pub retention: Retention,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AccountSettings {
    limits: Option<AccountLimits>,
    retention: RetentionChange,
}

/// `PUT /v1/accounts/{account}`: makes the account if it is new, and sets its limits and its retention as far as they are
/// given.
pub async fn put(
    State(api): State<Arc<Api>>,
    Extension(_): Extension<Caller>,
    PathOf(name): PathOf<String>,
    request: Request,
) -> Result<Json<AccountView>, Problem> {
    check_name(&name).map_err(|reason| Problem::bad_request(format!("account name `{name}` {reason}")))?;
    let body = read_body(request.into_body(), api.config.body_bytes_max).await?;
    let settings: AccountSettings = if body.is_empty() { AccountSettings::default() } else { json(&body)? };
    if let Some(limits) = settings.limits {
        check_limits(limits)?;
    }
    settings.retention.check().map_err(|error| Problem::bad_request(error.to_string()))?;
    let id = api.host.database.ensure_account(&name).await?;
    if let Some(limits) = settings.limits {
        api.host.database.set_account_limits(id, limits).await?;
        api.host.limits_changed(id).await?;
    }
    if !settings.retention.is_empty() {
        api.host.database.set_retention(id, settings.retention).await?;
    }
    find(&api, &name).await.map(Json)
}

/// `GET /v1/accounts/{account}`
pub async fn show(State(api): State<Arc<Api>>, PathOf(name): PathOf<String>) -> Result<Json<AccountView>, Problem> {
    find(&api, &name).await.map(Json)
}

async fn find(api: &Api, name: &str) -> Result<AccountView, Problem> {
    let account = api.host.database.account(name).await?;
    account.map(view).ok_or_else(|| Problem::not_found(format!("there is no account `{name}`")))
}

fn view(account: Account) -> AccountView {
    AccountView { id: account.id, name: account.name, retention: account.retention }
}

/// A year: a longer window would hardly ever turn.
const PERIOD_MS_MAX: i64 = 366 * 86_400_000;

fn check_limits(limits: AccountLimits) -> Result<(), Problem> {
    for (name, window) in [("burst", limits.burst), ("long", limits.long)] {
        if window.max == 0 || !(1..=PERIOD_MS_MAX).contains(&window.period_ms) {
            let message = format!("limits.{name}: `max` is at least 1, `period_ms` from 1 to {PERIOD_MS_MAX}");
            return Err(Problem::bad_request(message));
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountsQuery {
    after: Option<AccountId>,
    limit: Option<i64>,
}

/// `GET /v1/accounts`
pub async fn list(
    State(api): State<Arc<Api>>,
    QueryOf(query): QueryOf<AccountsQuery>,
) -> Result<Json<Page<AccountView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let accounts = api.host.database.accounts(query.after, limit + 1).await?;
    let views = accounts.into_iter().map(view).collect();
    Ok(Json(Page::new(views, limit, |view: &AccountView| view.id.to_string())))
}
