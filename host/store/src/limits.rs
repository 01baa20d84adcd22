//! Account limits: the operator's settings, and the limiter's snapshot of its windows.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use trellis_model::{
    AccountId,
    window::{AccountLimits, Window},
};

use crate::{Database, Result, StoreError, fail_point};

/// Both windows of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    pub burst: Window,
    pub long: Window,
}

/// What is stored of an account's limiter.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoredLimit {
    /// None: the host's defaults.
    pub limits: Option<AccountLimits>,
    pub windows: Option<Windows>,
}

impl Database {
    pub async fn account_limit(&self, account: AccountId) -> Result<StoredLimit> {
        Ok(self.account_limits(&[account]).await?.remove(&account).unwrap_or_default())
    }

    /// What is stored of several accounts; those without anything stored are left out.
    pub async fn account_limits(&self, accounts: &[AccountId]) -> Result<HashMap<AccountId, StoredLimit>> {
        let ids: Vec<i64> = accounts.iter().map(|account| account.0).collect();
        let rows: Vec<(i64, Option<serde_json::Value>, Option<serde_json::Value>)> =
            sqlx::query_as("select account_id, limits, windows from account_limit where account_id = any($1)")
                .bind(ids)
                .fetch_all(&self.durable)
                .await?;
        let read = |(account, limits, windows): (i64, _, _)| {
            let stored = read_stored(limits, windows).unwrap_or_else(|error| {
                // One account's row must not hold up all others.
                tracing::error!(account, %error, "the account gets the default limits");
                StoredLimit::default()
            });
            (AccountId(account), stored)
        };
        Ok(rows.into_iter().map(read).collect())
    }

    pub async fn set_account_limits(&self, account: AccountId, limits: AccountLimits) -> Result<()> {
        let limits = serde_json::to_value(limits).map_err(|error| StoreError::unreadable("limits", error))?;
        sqlx::query(
            "insert into account_limit (account_id, limits) values ($1, $2)
             on conflict (account_id) do update set limits = excluded.limits",
        )
        .bind(account.0)
        .bind(limits)
        .execute(&self.durable)
        .await?;
        Ok(())
    }

    /// Keeps the windows of the accounts that changed.
    pub async fn snapshot_windows(&self, snapshot: &[(AccountId, Windows)]) -> Result<()> {
        fail_point!("snapshot-before");
        let accounts: Vec<i64> = snapshot.iter().map(|(account, _)| account.0).collect();
        let windows: Result<Vec<serde_json::Value>, _> =
            snapshot.iter().map(|(_, windows)| serde_json::to_value(windows)).collect();
        // An account that was deleted meanwhile is left out.
        sqlx::query(
            "insert into account_limit (account_id, windows)
             select account.id, s.windows from unnest($1::bigint[], $2::jsonb[]) as s (account_id, windows)
             join account on account.id = s.account_id
             order by account.id
             on conflict (account_id) do update set windows = excluded.windows",
        )
        .bind(accounts)
        .bind(windows.map_err(|error| StoreError::unreadable("windows", error))?)
        .execute(&self.relaxed)
        .await?;
        fail_point!("snapshot-after");
        Ok(())
    }
}

fn read_stored(limits: Option<serde_json::Value>, windows: Option<serde_json::Value>) -> Result<StoredLimit> {
    Ok(StoredLimit {
        limits: limits.map(|value| read("limits", value)).transpose()?,
        windows: windows.map(|value| read("windows", value)).transpose()?,
    })
}

fn read<T: for<'de> Deserialize<'de>>(what: &'static str, value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| StoreError::unreadable(what, error))
}
