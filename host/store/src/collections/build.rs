//! Building and clearing away indexes, a batch at a time: whoever is stopped in between leaves what another goes on with.
//!
//! A batch holds the project's lock, like any writer of records, and so is bounded in records and bytes.

use sqlx::PgConnection;
use trellis_model::{AccountId, ProjectId, records::IndexValue};

use crate::{Database, Result, StoreError, commit::lock_project, patient_pool::answered};

/// Records that one batch puts into an index: some milliseconds.
const BATCH_RECORDS: i64 = 500;
/// Their bytes: they are held in memory all at once. A batch has one record at least.
const BATCH_BYTES: i64 = 8 * 1024 * 1024;
/// Entries of a dropped index that one batch deletes.
const BATCH_ENTRIES: i64 = 2_000;

/// An index with work to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedIndex {
    pub id: i64,
    pub account: AccountId,
    project: ProjectId,
    collection: i64,
    is_dropped: bool,
}

impl Database {
    /// The first index behind `after` (an id) that is to be built or cleared away.
    pub async fn unfinished_index(&self, after: i64) -> Result<Option<UnfinishedIndex>> {
        let row: Option<(i64, i64, i64, i64, bool)> = sqlx::query_as(
            "select i.id, i.account_id, c.project_id, i.collection_id, i.is_dropped
             from collection_index i join collection c on c.id = i.collection_id
             where (not i.is_ready or i.is_dropped) and i.id > $1 order by i.id limit 1",
        )
        .bind(after)
        .fetch_optional(&self.durable)
        .await?;
        Ok(row.map(|(id, account, project, collection, is_dropped)| UnfinishedIndex {
            id,
            account: AccountId(account),
            project: ProjectId(project),
            collection,
            is_dropped,
        }))
    }

    /// Does a part of what an index needs. Two who do it at once do no harm.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: what was done until then stays.
    pub async fn work_at_index(&self, index: UnfinishedIndex) -> Result<()> {
        if index.is_dropped { answered(self.clear_index(index)).await } else { answered(self.build_index(index)).await }
    }

    /// With the writers' turn as well: whoever writes a record deletes what it has of this index, in another order.
    async fn clear_index(&self, index: UnfinishedIndex) -> Result<()> {
        let mut transaction = self.durable.begin().await?;
        lock_project(&mut transaction, index.project).await?;
        let deleted = sqlx::query(
            "delete from record_index using (
                 select value, key from record_index where account_id = $1 and index_id = $2 order by value, key limit $3
             ) as batch
             where record_index.account_id = $1 and record_index.index_id = $2
               and record_index.value = batch.value and record_index.key = batch.key",
        )
        .bind(index.account.0)
        .bind(index.id)
        .bind(BATCH_ENTRIES)
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 {
            let gone = "delete from collection_index where id = $1 and account_id = $2 and is_dropped";
            sqlx::query(gone).bind(index.id).bind(index.account.0).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn build_index(&self, index: UnfinishedIndex) -> Result<()> {
        let mut transaction = self.durable.begin().await?;
        lock_project(&mut transaction, index.project).await?;
        // Behind the lock: another host may have gone on with it, or a deployment have dropped it.
        let state: Option<(String, Option<String>)> = sqlx::query_as(
            "select pointer, built_to from collection_index
             where id = $1 and account_id = $2 and not is_ready and not is_dropped",
        )
        .bind(index.id)
        .bind(index.account.0)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((pointer, built_to)) = state else { return Ok(()) };
        let batch = next_records(&mut transaction, index, built_to.as_deref()).await?;
        if let Some((last, _)) = batch.last() {
            let last = last.clone();
            add_entries(&mut transaction, index, &pointer, batch).await?;
            sqlx::query("update collection_index set built_to = $2 where id = $1")
                .bind(index.id)
                .bind(last)
                .execute(&mut *transaction)
                .await?;
        } else {
            let ready = "update collection_index set is_ready = true, built_to = null where id = $1";
            sqlx::query(ready).bind(index.id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Keys and JSON texts of the next records.
async fn next_records(
    connection: &mut PgConnection,
    index: UnfinishedIndex,
    after: Option<&str>,
) -> Result<Vec<(String, String)>> {
    Ok(sqlx::query_as(
        "select key, data from (
             select key, data, sum(octet_length(data)) over (order by key) - octet_length(data) as bytes_before
             from (
                 select key, data from record
                 where account_id = $1 and collection_id = $2 and key > $3 order by key limit $4
             ) as next
         ) as batch
         where bytes_before < $5 order by key",
    )
    .bind(index.account.0)
    .bind(index.collection)
    .bind(after.unwrap_or_default())
    .bind(BATCH_RECORDS)
    .bind(BATCH_BYTES)
    .fetch_all(connection)
    .await?)
}

async fn add_entries(
    connection: &mut PgConnection,
    index: UnfinishedIndex,
    pointer: &str,
    batch: Vec<(String, String)>,
) -> Result<()> {
    let (mut keys, mut values) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for (key, data) in batch {
        let data = serde_json::from_str(&data).map_err(|error| StoreError::unreadable("record", error))?;
        values.push(IndexValue::at(&data, pointer).as_bytes().to_vec());
        keys.push(key);
    }
    // Those that were written since the index was declared have an entry already. What indexes that are gone had found goes
    // with this, or records that nobody writes would keep it for ever.
    sqlx::query(
        "with entry as (
             select * from unnest($3::text[], $4::bytea[]) as entry (key, value)
         ), added as (
             update record set
                 index_ids = array(
                     select own.id from unnest(record.index_ids, record.index_values) with ordinality as own (id, value, place)
                     where own.id in (select id from collection_index where account_id = $1 and collection_id = $2 and not is_dropped)
                     order by place) || $5::bigint,
                 index_values = array(
                     select own.value from unnest(record.index_ids, record.index_values) with ordinality as own (id, value, place)
                     where own.id in (select id from collection_index where account_id = $1 and collection_id = $2 and not is_dropped)
                     order by place) || entry.value
             from entry
             where record.account_id = $1 and record.collection_id = $2 and record.key = entry.key
               and not record.index_ids @> array[$5::bigint]
             returning record.key, entry.value
         )
         insert into record_index (account_id, index_id, value, key) select $1, $5, value, key from added
         on conflict do nothing",
    )
    .bind(index.account.0)
    .bind(index.collection)
    .bind(keys)
    .bind(values)
    .bind(index.id)
    .execute(connection)
    .await?;
    Ok(())
}
