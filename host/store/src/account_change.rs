//! Changes of an account's settings by an operator: all that one request changes, or nothing.
//!
//! Knows nothing of what may be set, and of how hosts hear of it.

use serde_json::Value;
use sqlx::{Postgres, Transaction};
use trellis_model::{
    AccountId,
    call_limits::CallLimitsChange,
    retention::{History, RetentionChange},
    window::{AccountLimits, LimitsChange, OwnLimits},
};

use crate::{
    Database, Result, StoreError,
    accounts::{Account, AccountRow, read_account},
    call_limits::grant_call_limits,
    patient_pool::answered,
};

/// What is to change; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountChange {
    /// Replaces all limits; `weight` and `running_max` below are applied on top.
    pub limits: Option<AccountLimits>,
    /// Changes single limits, or gives them back to the host.
    pub single_limits: LimitsChange,
    /// Changes this one of the limits alone.
    pub weight: Option<u32>,
    /// Changes this one of the limits alone; 0 lifts it.
    pub running_max: Option<u32>,
    /// Over how many shards new jobs are spread; 1 to [`trellis_model::ids::SPREAD_MAX`].
    pub spread: Option<u8>,
    /// What one call may use, as far as it differs from what every account has; see [`crate::call_limits`].
    pub call_limits: CallLimitsChange,
    /// From the next commit on. What is in history already stays until its days are over.
    pub retention: RetentionChange,
}

impl AccountChange {
    /// Whether hosts have to hear of it: of retention they learn where they commit.
    pub fn concerns_limits(&self) -> bool {
        self.changes_limits() || self.spread.is_some() || !self.call_limits.is_empty()
    }

    fn changes_limits(&self) -> bool {
        self.limits.is_some() || !self.single_limits.is_empty() || self.weight.is_some() || self.running_max.is_some()
    }

    fn concerns_windows(&self) -> bool {
        self.limits.is_some() || self.single_limits.concerns_windows()
    }

    /// The names of stored limits that go.
    fn lifted(&self) -> Vec<&'static str> {
        let mut lifted = self.single_limits.lifted();
        lifted.extend((self.running_max == Some(0)).then_some("running_max"));
        lifted
    }

    /// What is written over the limits that are stored.
    fn own_limits(&self) -> serde_json::Result<Value> {
        let running_max = self.running_max.filter(|most| *most > 0);
        match self.limits {
            None => {
                let set = self.single_limits.set();
                let (weight, running_max) = (self.weight.or(set.weight), running_max.or(set.running_max));
                serde_json::to_value(OwnLimits { weight, running_max, ..set })
            }
            Some(limits) => serde_json::to_value(AccountLimits {
                weight: self.weight.unwrap_or(limits.weight),
                running_max: if self.running_max.is_some() { running_max } else { limits.running_max },
                ..limits
            }),
        }
    }
}

impl Database {
    /// Makes the account if it is new, and changes what is given of its settings; returns it as it is then.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was changed, or the answer was lost; the same change may be made again.
    pub async fn change_account(&self, name: &str, change: &AccountChange) -> Result<Account> {
        answered(async {
            let mut transaction = self.durable.begin().await?;
            let id = change_row(&mut transaction, name, change).await?;
            if change.concerns_windows() {
                lift_throttles(&mut transaction, id).await?;
            }
            if change.changes_limits() {
                merge_limits(&mut transaction, id, change).await?;
            }
            if !change.call_limits.is_empty() {
                grant_call_limits(&mut transaction, id, &change.call_limits).await?;
            }
            let row: AccountRow = sqlx::query_as(
                "select id, name, history, history_days, spread, limits, call_limits, call_limits_lowered
                 from account left join account_limit on account_id = id where id = $1",
            )
            .bind(id.0)
            .fetch_one(&mut *transaction)
            .await?;
            transaction.commit().await?;
            read_account(row)
        })
        .await
    }
}

/// Makes or changes the account's own row, and locks it: of two changes at the same time one comes after the other. The
/// lock lets everything pass that only refers to the account.
async fn change_row(
    transaction: &mut Transaction<'_, Postgres>,
    name: &str,
    change: &AccountChange,
) -> Result<AccountId> {
    sqlx::query("insert into account (name) values ($1) on conflict do nothing")
        .bind(name)
        .execute(&mut **transaction)
        .await?;
    let id = sqlx::query_scalar(
        "update account set spread = coalesce($2, spread), spread_max = greatest(spread_max, $2),
                history = coalesce($3, history), history_days = coalesce($4, history_days)
         where name = $1 returning id",
    )
    .bind(name)
    .bind(change.spread.map(i16::from))
    .bind(change.retention.history.map(History::name))
    .bind(change.retention.days.map(i32::from))
    .fetch_one(&mut **transaction)
    .await?;
    Ok(AccountId(id))
}

/// Takes back what owners have told under the former windows.
async fn lift_throttles(transaction: &mut Transaction<'_, Postgres>, account: AccountId) -> Result<()> {
    sqlx::query(
        "update limiter_snapshot set throttled_until = null where account_id = $1 and throttled_until is not null",
    )
    .bind(account.0)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// An account on defaults stays so with all that is not given.
async fn merge_limits(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    change: &AccountChange,
) -> Result<()> {
    let limits = change.own_limits().map_err(|error| StoreError::unreadable("limits", error))?;
    sqlx::query(
        "insert into account_limit as own (account_id, limits) values ($1, $2)
         on conflict (account_id) do update set
             limits = case when $3 then '{}' else coalesce(own.limits, '{}') - $4::text[] end || excluded.limits",
    )
    .bind(account.0)
    .bind(limits)
    .bind(change.limits.is_some())
    .bind(change.lifted())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
