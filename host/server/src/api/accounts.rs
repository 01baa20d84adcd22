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
    ids::SPREAD_MAX,
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
    /// Over how many shards its jobs are spread.
    pub spread: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AccountSettings {
    /// Replaces all limits.
    limits: Option<AccountLimits>,
    /// Changes this one of the limits alone.
    weight: Option<u32>,
    /// Changes this one of the limits alone; 0 lifts it.
    running_max: Option<u32>,
    spread: Option<u8>,
    retention: RetentionChange,
}

/// `PUT /v1/accounts/{account}`: makes the account if it is new, and changes what is given of its settings.
pub async fn put(
    State(api): State<Arc<Api>>,
    Extension(_): Extension<Caller>,
    PathOf(name): PathOf<String>,
    request: Request,
) -> Result<Json<AccountView>, Problem> {
    check_name(&name).map_err(|reason| Problem::bad_request(format!("account name `{name}` {reason}")))?;
    let body = read_body(request.into_body(), api.config.body_bytes_max).await?;
    let settings: AccountSettings = if body.is_empty() { AccountSettings::default() } else { json(&body)? };
    check_settings(&settings)?;
    let account = api.host.database.ensure_account(&name).await?;
    let limits = changed_limits(&api, account, &settings).await?;
    if let Some(limits) = limits {
        api.host.database.set_account_limits(account, limits).await?;
    }
    if let Some(spread) = settings.spread {
        api.host.database.set_spread(account, spread).await?;
    }
    if limits.is_some() || settings.spread.is_some() {
        api.host.limits_changed(account).await?;
    }
    if !settings.retention.is_empty() {
        api.host.database.set_retention(account, settings.retention).await?;
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
    AccountView { id: account.id, name: account.name, retention: account.retention, spread: account.spread }
}

/// The account's limits with what the settings change of them; none: they change nothing.
async fn changed_limits(
    api: &Api,
    account: AccountId,
    settings: &AccountSettings,
) -> Result<Option<AccountLimits>, Problem> {
    if settings.limits.is_none() && settings.weight.is_none() && settings.running_max.is_none() {
        return Ok(None);
    }
    let limits = match settings.limits {
        Some(limits) => limits,
        None => api.host.limiter.standing(account).await?.limits,
    };
    Ok(Some(AccountLimits {
        weight: settings.weight.unwrap_or(limits.weight),
        running_max: settings.running_max.map_or(limits.running_max, |most| (most > 0).then_some(most)),
        ..limits
    }))
}

fn check_settings(settings: &AccountSettings) -> Result<(), Problem> {
    settings.retention.check().map_err(|error| Problem::bad_request(error.to_string()))?;
    let weights = [settings.weight, settings.limits.map(|limits| limits.weight)];
    if let Some(weight) = weights.into_iter().flatten().find(|own| !(1..=AccountLimits::WEIGHT_MAX).contains(own)) {
        let message = format!("weight is {weight}; from 1 to {} is allowed", AccountLimits::WEIGHT_MAX);
        return Err(Problem::bad_request(message));
    }
    if let Some(spread) = settings.spread.filter(|spread| !(1..=SPREAD_MAX).contains(spread)) {
        return Err(Problem::bad_request(format!("spread is {spread}; from 1 to {SPREAD_MAX} shards are allowed")));
    }
    match settings.limits {
        Some(limits) if limits.running_max == Some(0) => {
            Err(Problem::bad_request("limits.running_max is at least 1; leave it out for no maximum"))
        }
        Some(limits) => check_limits(limits),
        None => Ok(()),
    }
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
