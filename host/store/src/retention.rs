//! What each account keeps of its runs, and for how long.

use trellis_model::{
    AccountId,
    retention::{History, Retention, RetentionChange},
};

use crate::{Database, Result, StoreError};

impl Database {
    /// None: there is no such account.
    pub async fn retention(&self, account: AccountId) -> Result<Option<Retention>> {
        let row: Option<(String, i32)> = sqlx::query_as("select history, history_days from account where id = $1")
            .bind(account.0)
            .fetch_optional(&self.durable)
            .await?;
        row.map(|(history, days)| read_retention(&history, days)).transpose()
    }

    /// Changes what is given, from the next commit on. What is in history already stays until its days are over.
    pub async fn set_retention(&self, account: AccountId, change: RetentionChange) -> Result<()> {
        sqlx::query(
            "update account set history = coalesce($2, history), history_days = coalesce($3, history_days) where id = $1",
        )
        .bind(account.0)
        .bind(change.history.map(History::name))
        .bind(change.days.map(i32::from))
        .execute(&self.durable)
        .await?;
        Ok(())
    }
}

pub(crate) fn read_retention(history: &str, days: i32) -> Result<Retention> {
    let known = History::ALL.into_iter().find(|one| one.name() == history);
    Ok(Retention {
        history: known.ok_or_else(|| StoreError::unreadable("history setting", history))?,
        days: u16::try_from(days).map_err(|error| StoreError::unreadable("history days", error))?,
    })
}
