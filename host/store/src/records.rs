//! Records of managed data: committed ones, read by key or by query, and written by those who hold the project's lock.
//!
//! What nodes have written comes through [`crate::commit`]; what people write, through [`Database::put_record`] and its kin.

pub mod query;
mod write;

use trellis_model::{AccountId, ProjectId};

use crate::{Database, Result, commit::lock_project, patient_pool::answered, stores::Expected};

pub(crate) use write::{CollectionRow, WrittenRecord, find_collections, write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// JSON text.
    pub data: String,
    /// Changes with every committed write.
    pub version: i64,
}

/// Which record is meant.
#[derive(Clone, Copy, Debug)]
pub struct RecordName<'n> {
    pub account: AccountId,
    pub project: ProjectId,
    pub collection: &'n str,
    pub key: &'n str,
}

/// What became of a write that is no node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordWritten {
    /// With the version that the record has now, 0 if it is deleted; and whether there was one before.
    Written { version: i64, existed: bool },
    /// Nothing was written; this version is there.
    Unexpected(Option<i64>),
    /// The project has no such collection, or does not declare it any more.
    NoCollection,
}

impl Database {
    pub async fn record(
        &self,
        account: AccountId,
        project: ProjectId,
        collection: &str,
        key: &str,
    ) -> Result<Option<StoredRecord>> {
        let row: Option<(String, i64)> = sqlx::query_as(
            "select data, version from record
             where account_id = $1 and key = $4
               and collection_id = (select id from collection where account_id = $1 and project_id = $2 and name = $3)",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(collection)
        .bind(key)
        .fetch_optional(&self.durable)
        .await?;
        Ok(row.map(|(data, version)| StoredRecord { data, version }))
    }

    /// Sets a record (JSON text), if what is there is what is expected.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`]: nothing is known of the outcome.
    pub async fn put_record(&self, of: RecordName<'_>, data: &str, expected: Expected) -> Result<RecordWritten> {
        answered(self.write_record(of, Some(data), expected)).await
    }

    /// Deletes a record, if what is there is what is expected.
    ///
    /// # Errors
    /// As of [`Database::put_record`].
    pub async fn delete_record(&self, of: RecordName<'_>, expected: Expected) -> Result<RecordWritten> {
        answered(self.write_record(of, None, expected)).await
    }

    async fn write_record(&self, of: RecordName<'_>, data: Option<&str>, expected: Expected) -> Result<RecordWritten> {
        let RecordName { account, project, collection, key } = of;
        let mut transaction = self.durable.begin().await?;
        lock_project(&mut transaction, project).await?;
        let found = find_collections(&mut transaction, &[(account, project, collection)]).await?;
        let Some(row) = found.get(&(account, project, collection.to_owned())) else {
            return Ok(RecordWritten::NoCollection);
        };
        if data.is_some() && !row.is_declared {
            return Ok(RecordWritten::NoCollection);
        }
        let version: Option<i64> =
            sqlx::query_scalar("select version from record where account_id = $1 and collection_id = $2 and key = $3")
                .bind(account.0)
                .bind(row.id)
                .bind(key)
                .fetch_optional(&mut *transaction)
                .await?;
        if !expected.is_met_by(version) {
            return Ok(RecordWritten::Unexpected(version));
        }
        let existed = version.is_some();
        let versions =
            write(&mut transaction, &[WrittenRecord { account, collection: row, key, data, existed }]).await?;
        transaction.commit().await?;
        Ok(RecordWritten::Written { version: versions.first().copied().unwrap_or(0), existed })
    }
}
