//! What each account keeps of its runs, and for how long.

use trellis_model::{
    AccountId,
    retention::{History, Retention},
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
}

pub(crate) fn read_retention(history: &str, days: i32) -> Result<Retention> {
    let known = History::ALL.into_iter().find(|one| one.name() == history);
    Ok(Retention {
        history: known.ok_or_else(|| StoreError::unreadable("history setting", history))?,
        days: u16::try_from(days).map_err(|error| StoreError::unreadable("history days", error))?,
    })
}
