//! What accounts may use in one call, where it differs from what every account has.
//!
//! Knows nothing of ceilings: whoever uses these values holds them to the host's.

use sqlx::{Postgres, Transaction};
use trellis_model::{
    AccountId,
    call_limits::{AccountCallLimits, CallLimitsChange, OwnCallLimits},
};

use crate::{Database, Result, StoreError, patient_pool::answered};

/// Account, granted, lowered.
type CallLimitsRow = (i64, Option<serde_json::Value>, Option<serde_json::Value>);

impl Database {
    /// What is set of every account, or of these. Accounts of which nothing is set are left out.
    pub async fn call_limits(&self, of: Option<&[AccountId]>) -> Result<Vec<(AccountId, AccountCallLimits)>> {
        let ids: Option<Vec<i64>> = of.map(|accounts| accounts.iter().map(|account| account.0).collect());
        let rows: Vec<CallLimitsRow> = sqlx::query_as(
            "select account_id, call_limits, call_limits_lowered from account_limit
             where (call_limits is not null or call_limits_lowered is not null)
                   and ($1::bigint[] is null or account_id = any ($1))",
        )
        .bind(ids)
        .fetch_all(&self.durable)
        .await?;
        let read = |(id, granted, lowered)| (AccountId(id), read_call_limits(AccountId(id), granted, lowered));
        Ok(rows.into_iter().map(read).collect())
    }

    /// Changes what an account has lowered its calls to; returns all that is set of it then.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: nothing was changed, or the answer was lost; the same change may be made again.
    pub async fn lower_call_limits(&self, account: AccountId, change: &CallLimitsChange) -> Result<AccountCallLimits> {
        answered(async {
            let mut transaction = self.durable.begin().await?;
            let mut limits = locked(&mut transaction, account).await?;
            limits.lowered = change.applied_to(limits.lowered);
            sqlx::query("update account_limit set call_limits_lowered = $2 where account_id = $1")
                .bind(account.0)
                .bind(stored(limits.lowered)?)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(limits)
        })
        .await
    }
}

/// Changes what an operator has granted an account.
pub(crate) async fn grant_call_limits(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    change: &CallLimitsChange,
) -> Result<()> {
    let limits = locked(transaction, account).await?;
    sqlx::query("update account_limit set call_limits = $2 where account_id = $1")
        .bind(account.0)
        .bind(stored(change.applied_to(limits.granted))?)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The account's row, made if there is none, and locked: of two changes at the same time one comes after the other.
async fn locked(transaction: &mut Transaction<'_, Postgres>, account: AccountId) -> Result<AccountCallLimits> {
    sqlx::query("insert into account_limit (account_id) values ($1) on conflict do nothing")
        .bind(account.0)
        .execute(&mut **transaction)
        .await?;
    let (granted, lowered) =
        sqlx::query_as("select call_limits, call_limits_lowered from account_limit where account_id = $1 for update")
            .bind(account.0)
            .fetch_one(&mut **transaction)
            .await?;
    Ok(read_call_limits(account, granted, lowered))
}

fn stored(own: OwnCallLimits) -> Result<Option<serde_json::Value>> {
    let value = (!own.is_empty()).then(|| serde_json::to_value(own)).transpose();
    value.map_err(|error| StoreError::unreadable("call limits", error))
}

/// What one account has stored that this version would not store must not keep a host from reading those of all.
pub(crate) fn read_call_limits(
    account: AccountId,
    granted: Option<serde_json::Value>,
    lowered: Option<serde_json::Value>,
) -> AccountCallLimits {
    let read = |value: Option<serde_json::Value>| {
        let (own, changed) = value.map(|value| OwnCallLimits::from_stored(&value)).unwrap_or_default();
        for change in changed {
            tracing::error!(%account, change, "stored call limits are not as they should be");
        }
        own
    };
    AccountCallLimits { granted: read(granted), lowered: read(lowered) }
}
