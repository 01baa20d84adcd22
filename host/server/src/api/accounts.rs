//! Accounts, their limits and their retention, for operators.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use trellis_model::{
    AccountId,
    call_limits::CallLimitsChange,
    description::check_name,
    ids::SPREAD_MAX,
    retention::{Retention, RetentionChange},
    token::Scope,
    window::{AccountLimits, LimitsChange, WindowLimit},
};
use trellis_store::{account_change::AccountChange, accounts::Account};

use super::{
    Api, Problem,
    auth::Caller,
    call_limits::{CallLimitsView, check_within},
    page::{self, LIMIT_MAX, Page},
    request::{PathOf, QueryOf, json, optional_json, read_body},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    const ONE: &str = "/v1/accounts/{account}";
    vec![
        Route::get("/v1/accounts", Scope::Operator, "List accounts", list)
            .query::<AccountsQuery>()
            .answers::<Page<AccountView>>(200, "A page of accounts"),
        Route::get(ONE, Scope::Operator, "Show an account", show).answers::<AccountView>(200, "The account"),
        Route::put(ONE, Scope::Operator, "Make an account if it is new, and change what is given of its settings", put)
            .optional_json::<AccountSettings>()
            .answers::<AccountView>(200, "The account as it is now"),
        Route::patch(
            ONE,
            Scope::Operator,
            "Change single settings of an account; null: as every account has it",
            patch,
        )
        .json::<AccountPatch>()
        .example(example_patch)
        .answers::<AccountView>(200, "The account as it is now"),
    ]
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct AccountView {
    pub id: AccountId,
    pub name: String,
    pub retention: Retention,
    /// Over how many shards its jobs are spread.
    pub spread: u8,
    /// What holds for it.
    pub limits: AccountLimits,
    /// Whether its windows were set for it; otherwise they are the host's, and change with its configuration.
    pub has_own_windows: bool,
    /// What one call of its plugins may use.
    pub calls: CallLimitsView,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AccountSettings {
    /// Replaces all limits.
    limits: Option<AccountLimits>,
    /// Changes this one of the limits alone.
    #[schemars(range(min = 1, max = AccountLimits::WEIGHT_MAX))]
    weight: Option<u32>,
    /// Changes this one of the limits alone; 0 lifts it.
    #[schemars(range(min = 0, max = u32::MAX))]
    running_max: Option<u32>,
    #[schemars(range(min = 1, max = SPREAD_MAX))]
    spread: Option<u8>,
    /// What one call may use: a number up to the ceiling of this host, null for what every account has.
    calls: CallLimitsChange,
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
    let settings: AccountSettings = optional_json(&body)?;
    check_settings(&settings)?;
    check_within(&settings.calls, api.host.budgets.ceilings(), "the ceiling of this host is")?;
    let AccountSettings { limits, weight, running_max, spread, calls, retention } = settings;
    let single_limits = LimitsChange::default();
    let change = AccountChange { limits, single_limits, weight, running_max, spread, call_limits: calls, retention };
    carry_out(&api, &name, &change).await
}

async fn carry_out(api: &Api, name: &str, change: &AccountChange) -> Result<Json<AccountView>, Problem> {
    let account = api.host.database.change_account(name, change).await?;
    if change.concerns_limits() {
        api.host.limits_changed(account.id).await;
    }
    Ok(Json(view(api, account)))
}

/// Settings by name; what is not named stays as it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountPatch {
    /// Each by itself; null for one of them, or for all, is what the host has for every account.
    #[serde(default, deserialize_with = "named")]
    limits: Option<Option<LimitsChange>>,
    #[schemars(range(min = 1, max = SPREAD_MAX))]
    spread: Option<u8>,
    /// What one call may use: a number up to the ceiling of this host, null for what every account has.
    #[serde(default)]
    calls: CallLimitsChange,
    #[serde(default)]
    retention: RetentionChange,
}

/// A field that is there, be it null.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<LimitsChange>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// For the document.
fn example_patch() -> serde_json::Value {
    serde_json::json!({ "limits": { "burst": { "max": 600, "period_ms": 60_000 }, "weight": 3, "long": null }, "spread": 2 })
}

/// `PATCH /v1/accounts/{account}`: changes an account that is there.
async fn patch(
    State(api): State<Arc<Api>>,
    PathOf(name): PathOf<String>,
    request: Request,
) -> Result<Json<AccountView>, Problem> {
    let body = read_body(request.into_body(), api.config.body_bytes_max).await?;
    let AccountPatch { limits, spread, calls, retention } = json(&body)?;
    let single_limits = limits.map(|limits| limits.unwrap_or_else(LimitsChange::to_defaults)).unwrap_or_default();
    check_single(&single_limits)?;
    check_settings(&AccountSettings { spread, retention, ..AccountSettings::default() })?;
    check_within(&calls, api.host.budgets.ceilings(), "the ceiling of this host is")?;
    if api.host.database.account_by_name(&name).await?.is_none() {
        return Err(unknown(&name));
    }
    let change = AccountChange { single_limits, spread, call_limits: calls, retention, ..AccountChange::default() };
    carry_out(&api, &name, &change).await
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("there is no account `{name}`"))
}

fn check_single(change: &LimitsChange) -> Result<(), Problem> {
    let set = change.set();
    let windows = [("burst", set.burst), ("long", set.long)];
    windows.into_iter().try_for_each(|(name, window)| window.map_or(Ok(()), |window| check_window(name, window)))?;
    match set.running_max {
        Some(0) => Err(Problem::bad_request("limits.running_max is at least 1; null is no maximum")),
        _ => set.weight.map_or(Ok(()), check_weight),
    }
}

/// `GET /v1/accounts/{account}`
pub async fn show(State(api): State<Arc<Api>>, PathOf(name): PathOf<String>) -> Result<Json<AccountView>, Problem> {
    let account = api.host.database.account(&name).await?;
    let account = account.ok_or_else(|| unknown(&name))?;
    Ok(Json(view(&api, account)))
}

fn view(api: &Api, account: Account) -> AccountView {
    AccountView {
        id: account.id,
        name: account.name,
        retention: account.retention,
        spread: account.spread,
        limits: account.limits.over(api.host.limiter.defaults()),
        has_own_windows: account.limits.has_windows(),
        calls: CallLimitsView::of(api, &account.call_limits),
    }
}

fn check_settings(settings: &AccountSettings) -> Result<(), Problem> {
    settings.retention.check().map_err(|error| Problem::bad_request(error.to_string()))?;
    let weights = [settings.weight, settings.limits.map(|limits| limits.weight)];
    weights.into_iter().flatten().try_for_each(check_weight)?;
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

fn check_weight(weight: u32) -> Result<(), Problem> {
    let most = AccountLimits::WEIGHT_MAX;
    if (1..=most).contains(&weight) {
        return Ok(());
    }
    Err(Problem::bad_request(format!("weight is {weight}; from 1 to {most} is allowed")))
}

fn check_limits(limits: AccountLimits) -> Result<(), Problem> {
    [("burst", limits.burst), ("long", limits.long)]
        .into_iter()
        .try_for_each(|(name, window)| check_window(name, window))
}

fn check_window(name: &str, window: WindowLimit) -> Result<(), Problem> {
    if window.max > 0 && (1..=WindowLimit::PERIOD_MS_MAX).contains(&window.period_ms) {
        return Ok(());
    }
    let most = WindowLimit::PERIOD_MS_MAX;
    Err(Problem::bad_request(format!("limits.{name}: `max` is at least 1, `period_ms` from 1 to {most}")))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountsQuery {
    after: Option<AccountId>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/accounts`
pub async fn list(
    State(api): State<Arc<Api>>,
    QueryOf(query): QueryOf<AccountsQuery>,
) -> Result<Json<Page<AccountView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let accounts = api.host.database.accounts(query.after, limit + 1).await?;
    let views = accounts.into_iter().map(|account| view(&api, account)).collect();
    Ok(Json(Page::new(views, limit, |view: &AccountView| view.id.to_string())))
}
