//! What one call of an account's plugins may use: looked at and lowered by the account. What an operator grants is
//! [`super::accounts`]' part.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trellis_model::{
    call_limits::{AccountCallLimits, CallLimits, CallLimitsChange, OwnCallLimits},
    token::Scope,
};

use super::{
    Api, Problem,
    auth::Caller,
    request::{json, read_body},
    route::Route,
};
use crate::config::show_limit;

pub fn declared() -> Vec<Route> {
    vec![
        Route::put("/v1/limits", Scope::ProjectsWrite, "Lower what calls of the account may use", lower)
            .json::<Lowering>()
            .answers::<CallLimitsView>(200, "What calls may use now"),
    ]
}

/// Names and numbers; bytes and milliseconds are in the names.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CallLimitsView {
    /// What holds for every call. A node can ask for less.
    pub effective: CallLimits,
    /// Set by an operator in place of what every account has.
    pub granted: OwnCallLimits,
    /// Set by the account itself.
    pub lowered: OwnCallLimits,
}

impl CallLimitsView {
    pub fn of(api: &Api, limits: &AccountCallLimits) -> Self {
        Self { effective: api.host.budgets.effective(limits), granted: limits.granted, lowered: limits.lowered }
    }
}

/// Refuses what is larger than it may be; `whose` says what the largest is, such as "this account has at most".
pub fn check_within(change: &CallLimitsChange, most: &CallLimits, whose: &str) -> Result<(), Problem> {
    let asked = change.applied_to(OwnCallLimits::default());
    match asked.exceeding(most).next() {
        Some((limit, value)) => {
            let (value, most) = (show_limit(limit, value), show_limit(limit, limit.of(most)));
            Err(Problem::bad_request(format!("call limit `{}` is {value}; {whose} {most}", limit.key)))
        }
        None => Ok(()),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Lowering {
    /// A number lowers a limit, null lifts that again.
    calls: CallLimitsChange,
}

/// `PUT /v1/limits`: lowers what calls of the account may use; what is not named stays as it is.
pub async fn lower(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<CallLimitsView>, Problem> {
    let account = caller.account()?;
    if caller.project.is_some() {
        return Err(Problem::forbidden("the limits of an account are not a single project's to change"));
    }
    let body = read_body(request.into_body(), api.config.body_bytes_max).await?;
    let Lowering { calls } = json(&body)?;
    let given = api.host.budgets.given(&stored(&api, account).await?);
    check_within(&calls, &given, "only an operator can give this account more than")?;
    let limits = api.host.database.lower_call_limits(account, &calls).await?;
    api.host.limits_changed(account).await;
    Ok(Json(CallLimitsView::of(&api, &limits)))
}

/// What is set of an account.
pub async fn stored(api: &Api, account: trellis_model::AccountId) -> Result<AccountCallLimits, Problem> {
    let set = api.host.database.call_limits(Some(&[account])).await?;
    Ok(set.into_iter().next().map(|(_, limits)| limits).unwrap_or_default())
}
