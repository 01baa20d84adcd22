//! Accounts: the tenants.
//!
//! How their settings are changed is [`crate::account_change`]'s part.

use trellis_model::{AccountId, call_limits::AccountCallLimits, retention::Retention, window::OwnLimits};

use crate::{Database, Result, call_limits::read_call_limits, limits::read_limits, retention::read_retention};

#[derive(Clone, Debug)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    pub retention: Retention,
    /// On how many shards new jobs are put.
    pub spread: u8,
    pub limits: OwnLimits,
    pub call_limits: AccountCallLimits,
}

/// Id, name, history, its days, spread, limits, limits of calls: granted and lowered.
pub(crate) type AccountRow =
    (i64, String, String, i32, i16, Option<serde_json::Value>, Option<serde_json::Value>, Option<serde_json::Value>);

impl Database {
    /// Makes an account, or returns the one that has the name.
    pub async fn ensure_account(&self, name: &str) -> Result<AccountId> {
        // The no-op update makes `returning` see the row that was there.
        let id = sqlx::query_scalar(
            "insert into account (name) values ($1) on conflict (name) do update set name = excluded.name returning id",
        )
        .bind(name)
        .fetch_one(&self.durable)
        .await?;
        Ok(AccountId(id))
    }

    pub async fn account_by_name(&self, name: &str) -> Result<Option<AccountId>> {
        let id: Option<i64> = sqlx::query_scalar("select id from account where name = $1")
            .bind(name)
            .fetch_optional(&self.durable)
            .await?;
        Ok(id.map(AccountId))
    }

    pub async fn account_name(&self, account: AccountId) -> Result<Option<String>> {
        Ok(sqlx::query_scalar("select name from account where id = $1")
            .bind(account.0)
            .fetch_optional(&self.durable)
            .await?)
    }

    /// The spread of every account that is spread over more than its home shard, or of these accounts whatever it is.
    pub async fn spreads(&self, of: Option<&[AccountId]>) -> Result<Vec<(AccountId, u8)>> {
        let ids: Option<Vec<i64>> = of.map(|accounts| accounts.iter().map(|account| account.0).collect());
        let rows: Vec<(i64, i16)> =
            sqlx::query_as("select id, spread from account where case when $1::bigint[] is null then spread > 1 else id = any ($1) end")
                .bind(ids)
                .fetch_all(&self.durable)
                .await?;
        Ok(rows.into_iter().map(|(id, spread)| (AccountId(id), u8::try_from(spread).unwrap_or(1))).collect())
    }

    /// At most `limit` accounts with ids behind `after`.
    pub async fn accounts(&self, after: Option<AccountId>, limit: i64) -> Result<Vec<Account>> {
        let rows: Vec<AccountRow> = sqlx::query_as(
            "select id, name, history, history_days, spread, limits, call_limits, call_limits_lowered
             from account left join account_limit on account_id = id where id > $1 order by id limit $2",
        )
        .bind(after.map_or(0, |account| account.0))
        .bind(limit)
        .fetch_all(&self.durable)
        .await?;
        rows.into_iter().map(read_account).collect()
    }

    pub async fn account(&self, name: &str) -> Result<Option<Account>> {
        let row: Option<AccountRow> = sqlx::query_as(
            "select id, name, history, history_days, spread, limits, call_limits, call_limits_lowered
             from account left join account_limit on account_id = id where name = $1",
        )
        .bind(name)
        .fetch_optional(&self.durable)
        .await?;
        row.map(read_account).transpose()
    }
}

pub(crate) fn read_account(row: AccountRow) -> Result<Account> {
    let (id, name, history, days, spread, limits, granted, lowered) = row;
    let (retention, spread) = (read_retention(&history, days)?, u8::try_from(spread).unwrap_or(1));
    let (limits, call_limits) = (read_limits(limits)?, read_call_limits(AccountId(id), granted, lowered));
    Ok(Account { id: AccountId(id), name, retention, spread, limits, call_limits })
}
