//! Named stores of a project: committed entries. Nodes write them only through [`crate::commit`].

use trellis_model::{AccountId, ProjectId};

use crate::{Database, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    /// Changes with every committed write.
    pub version: i64,
}

impl Database {
    pub async fn entry(&self, account: AccountId, project: ProjectId, store: &str, key: &str) -> Result<Option<Entry>> {
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "select value, version from keyvalue
             where account_id = $1 and project_id = $2 and store = $3 and key = $4
               and (expires_at is null or expires_at > now())",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(store)
        .bind(key)
        .fetch_optional(&self.durable)
        .await?;
        Ok(row.map(|(value, version)| Entry { value, version }))
    }

    /// Keys with a prefix, in byte order, behind `after`, with their versions.
    pub async fn keys(
        &self,
        account: AccountId,
        project: ProjectId,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<(String, i64)>> {
        Ok(sqlx::query_as(
            "select key, version from keyvalue
             where account_id = $1 and project_id = $2 and store = $3
               and key >= $4 and starts_with(key, $4) and key > coalesce($5, '')
               and (expires_at is null or expires_at > now())
             order by key limit $6",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(store)
        .bind(prefix)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.durable)
        .await?)
    }
}
