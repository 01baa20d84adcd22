//! Named stores of a project as its owner looks into them and changes them by hand, without a run.
//!
//! A write takes the same turn among the writers of its project as commits do, and gives the key a new version: a node that
//! has read the former one, and commits after it, is run again. What nodes do is [`crate::commit`]'s part.

use std::time::Duration;

use sqlx::PgConnection;
use trellis_model::{AccountId, ProjectId};

use crate::{Database, Result, keyvalue::behind_prefix, patient_pool::answered};

/// Which entry is meant.
#[derive(Clone, Copy, Debug)]
pub struct EntryName<'n> {
    pub account: AccountId,
    pub project: ProjectId,
    pub store: &'n str,
    pub key: &'n str,
}

/// What a write or a deletion expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Anything,
    Absent,
    Present,
    Version(i64),
}

impl Expected {
    fn is_met_by(self, version: Option<i64>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => version.is_none(),
            Self::Present => version.is_some(),
            Self::Version(expected) => version == Some(expected),
        }
    }
}

/// An entry without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryInfo {
    pub key: String,
    pub version: i64,
    pub value_bytes: i64,
    /// Unix milliseconds; none: it stays.
    pub expires_at_ms: Option<i64>,
}

/// An entry with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeEntry {
    pub value: Vec<u8>,
    pub version: i64,
    /// Unix milliseconds; none: it stays.
    pub expires_at_ms: Option<i64>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPut {
    Stored {
        version: i64,
        expires_at_ms: Option<i64>,
        is_new: bool,
    },
    /// Nothing was written; this version is there.
    Unexpected(Option<i64>),
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryDeleted {
    Deleted,
    /// There was none, as far as the deletion did not expect one.
    Absent,
    /// Nothing was deleted; this version is there.
    Unexpected(Option<i64>),
}

impl Database {
    /// Names of the stores that hold something, in order, behind `after`. Hops from name to name, however many keys there
    /// are under each.
    pub async fn stores(
        &self,
        account: AccountId,
        project: ProjectId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(
            "with recursive name (store) as (
                 (select store from keyvalue
                  where account_id = $1 and project_id = $2 and store > $3 and (expires_at is null or expires_at > now())
                  order by store limit 1)
                 union all
                 select (select store from keyvalue
                         where account_id = $1 and project_id = $2 and store > name.store
                           and (expires_at is null or expires_at > now())
                         order by store limit 1)
                 from name where name.store is not null
             )
             select store from name where store is not null limit $4",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.durable)
        .await?)
    }

    /// Entries whose keys have a prefix, in byte order, behind `after`.
    pub async fn entry_infos(
        &self,
        of: EntryName<'_>,
        prefix: &str,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EntryInfo>> {
        let rows: Vec<(String, i64, i64, Option<i64>)> = sqlx::query_as(
            "select key, version, octet_length(value)::bigint, (extract(epoch from expires_at) * 1000)::bigint
             from keyvalue
             where account_id = $1 and project_id = $2 and store = $3
               and key >= $4 and ($7::text is null or key < $7) and starts_with(key, $4) and key > coalesce($5, '')
               and (expires_at is null or expires_at > now())
             order by key limit $6",
        )
        .bind(of.account.0)
        .bind(of.project.0)
        .bind(of.store)
        .bind(prefix)
        .bind(after)
        .bind(limit)
        .bind(behind_prefix(prefix))
        .fetch_all(&self.durable)
        .await?;
        let read = |(key, version, value_bytes, expires_at_ms)| EntryInfo { key, version, value_bytes, expires_at_ms };
        Ok(rows.into_iter().map(read).collect())
    }

    pub async fn whole_entry(&self, of: EntryName<'_>) -> Result<Option<WholeEntry>> {
        let row: Option<(Vec<u8>, i64, Option<i64>)> = sqlx::query_as(
            "select value, version, (extract(epoch from expires_at) * 1000)::bigint from keyvalue
             where account_id = $1 and project_id = $2 and store = $3 and key = $4
               and (expires_at is null or expires_at > now())",
        )
        .bind(of.account.0)
        .bind(of.project.0)
        .bind(of.store)
        .bind(of.key)
        .fetch_optional(&self.durable)
        .await?;
        Ok(row.map(|(value, version, expires_at_ms)| WholeEntry { value, version, expires_at_ms }))
    }

    /// Writes an entry if what is there is what is expected. `ttl`: how long it lives; none: it stays.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`]: nothing was written, or the answer was lost.
    pub async fn put_entry(
        &self,
        of: EntryName<'_>,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
    ) -> Result<EntryPut> {
        answered(async {
            let mut transaction = self.durable.begin().await?;
            let found = locked_version(&mut transaction, of).await?;
            if !expected.is_met_by(found) {
                return Ok(EntryPut::Unexpected(found));
            }
            let (version, expires_at_ms): (i64, Option<i64>) = sqlx::query_as(
                "insert into keyvalue (account_id, project_id, store, key, value, version, expires_at)
                 values ($1, $2, $3, $4, $5, nextval('keyvalue_version_seq'), now() + make_interval(secs => $6 / 1000))
                 on conflict (account_id, project_id, store, key)
                 do update set value = excluded.value, version = excluded.version, expires_at = excluded.expires_at
                 returning version, (extract(epoch from expires_at) * 1000)::bigint",
            )
            .bind(of.account.0)
            .bind(of.project.0)
            .bind(of.store)
            .bind(of.key)
            .bind(value)
            .bind(ttl.map(|ttl| ttl.as_secs_f64() * 1_000.0))
            .fetch_one(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(EntryPut::Stored { version, expires_at_ms, is_new: found.is_none() })
        })
        .await
    }

    /// Deletes an entry if what is there is what is expected.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`]: nothing was deleted, or the answer was lost.
    pub async fn delete_entry(&self, of: EntryName<'_>, expected: Expected) -> Result<EntryDeleted> {
        answered(async {
            let mut transaction = self.durable.begin().await?;
            let found = locked_version(&mut transaction, of).await?;
            if !expected.is_met_by(found) {
                return Ok(EntryDeleted::Unexpected(found));
            }
            if found.is_none() {
                return Ok(EntryDeleted::Absent);
            }
            sqlx::query("delete from keyvalue where account_id = $1 and project_id = $2 and store = $3 and key = $4")
                .bind(of.account.0)
                .bind(of.project.0)
                .bind(of.store)
                .bind(of.key)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(EntryDeleted::Deleted)
        })
        .await
    }
}

/// The version that is there, once no other writer of the project is at work until the end of the transaction.
async fn locked_version(connection: &mut PgConnection, of: EntryName<'_>) -> Result<Option<i64>> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('trellis.keyvalue', $1))")
        .bind(of.project.0)
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar(
        "select version from keyvalue
         where account_id = $1 and project_id = $2 and store = $3 and key = $4
           and (expires_at is null or expires_at > now())",
    )
    .bind(of.account.0)
    .bind(of.project.0)
    .bind(of.store)
    .bind(of.key)
    .fetch_optional(connection)
    .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_goes_through_only_over_what_it_expects() {
        let cases = [
            (Expected::Anything, [true, true, true]),
            (Expected::Absent, [true, false, false]),
            (Expected::Present, [false, true, true]),
            (Expected::Version(7), [false, true, false]),
        ];
        for (expected, met) in cases {
            assert_eq!([None, Some(7), Some(8)].map(|version| expected.is_met_by(version)), met, "{expected:?}");
        }
    }
}
