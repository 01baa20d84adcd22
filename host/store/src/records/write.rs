//! Writing records with the entries of their indexes: one statement each for many records. Whoever calls holds the lock of
//! their projects.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sqlx::PgConnection;
use trellis_model::{AccountId, ProjectId, records::IndexValue};

use crate::{Result, StoreError};

/// A collection as it is declared while the project's lock is held.
#[derive(Clone, Debug)]
pub(crate) struct CollectionRow {
    pub id: i64,
    pub is_declared: bool,
    /// Id and pointer, of those that are not dropped.
    indexes: Vec<(i64, String)>,
}

/// A record that is set, or deleted.
pub(crate) struct WrittenRecord<'w> {
    pub account: AccountId,
    pub collection: &'w CollectionRow,
    pub key: &'w str,
    /// JSON text; none: it is deleted.
    pub data: Option<&'w str>,
    /// Whether there was one before.
    pub existed: bool,
}

/// Account, project and name.
pub(crate) type CollectionKey = (AccountId, ProjectId, String);

/// Account, project, name, id, whether it is declared, and ids and pointers of its indexes.
type FoundRow = (i64, i64, String, i64, bool, Vec<i64>, Vec<String>);

/// The collections of these names, of those that there are.
pub(crate) async fn find_collections(
    connection: &mut PgConnection,
    wanted: &[(AccountId, ProjectId, &str)],
) -> Result<HashMap<CollectionKey, CollectionRow>> {
    let accounts: Vec<i64> = wanted.iter().map(|(account, ..)| account.0).collect();
    let projects: Vec<i64> = wanted.iter().map(|(_, project, _)| project.0).collect();
    let names: Vec<&str> = wanted.iter().map(|(.., name)| *name).collect();
    let rows: Vec<FoundRow> = sqlx::query_as(
        "select c.account_id, c.project_id, c.name, c.id, c.is_declared,
                coalesce(array_agg(i.id order by i.id) filter (where i.id is not null), '{}'),
                coalesce(array_agg(i.pointer order by i.id) filter (where i.id is not null), '{}')
         from unnest($1::bigint[], $2::bigint[], $3::text[]) as wanted (account_id, project_id, name)
         join collection c using (account_id, project_id, name)
         left join collection_index i on i.account_id = c.account_id and i.collection_id = c.id and not i.is_dropped
         group by c.id",
    )
    .bind(accounts)
    .bind(projects)
    .bind(names)
    .fetch_all(connection)
    .await?;
    let found = rows.into_iter().map(|(account, project, name, id, is_declared, ids, pointers)| {
        let row = CollectionRow { id, is_declared, indexes: ids.into_iter().zip(pointers).collect() };
        ((AccountId(account), ProjectId(project), name), row)
    });
    Ok(found.collect())
}

/// Entries of indexes, column by column.
#[derive(Default)]
struct Entries {
    /// The record's place among those that are set.
    places: Vec<i64>,
    accounts: Vec<i64>,
    index_ids: Vec<i64>,
    values: Vec<Vec<u8>>,
    keys: Vec<String>,
}

impl Entries {
    fn of(set: &[&WrittenRecord<'_>]) -> Result<Self> {
        let mut entries = Self::default();
        for (place, written) in (1..).zip(set) {
            if written.collection.indexes.is_empty() {
                continue;
            }
            let data: Value = serde_json::from_str(written.data.unwrap_or("null"))
                .map_err(|error| StoreError::unreadable("record", error))?;
            for (id, pointer) in &written.collection.indexes {
                entries.places.push(place);
                entries.accounts.push(written.account.0);
                entries.index_ids.push(*id);
                entries.values.push(IndexValue::at(&data, pointer).as_bytes().to_vec());
                entries.keys.push(written.key.to_owned());
            }
        }
        Ok(entries)
    }
}

/// Sets and deletes records, each once. Returns the new versions of those that are set, in their order.
///
/// # Errors
/// [`StoreError::Unreadable`]: a text is no JSON.
pub(crate) async fn write(connection: &mut PgConnection, written: &[WrittenRecord<'_>]) -> Result<Vec<i64>> {
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let set: Vec<&WrittenRecord<'_>> = written.iter().filter(|written| written.data.is_some()).collect();
    let gone: Vec<&WrittenRecord<'_>> = written.iter().filter(|written| written.data.is_none()).collect();
    let entries = Entries::of(&set)?;
    let before: Vec<&WrittenRecord<'_>> = written.iter().filter(|written| written.existed).collect();
    delete_entries(connection, &before, &entries).await?;
    let versions = set_records(connection, &set, &entries).await?;
    add_entries(connection, entries).await?;
    delete_records(connection, &gone).await?;
    count(connection, written).await?;
    Ok(versions)
}

fn columns<'w>(records: &[&WrittenRecord<'w>]) -> (Vec<i64>, Vec<i64>, Vec<&'w str>) {
    (
        records.iter().map(|written| written.account.0).collect(),
        records.iter().map(|written| written.collection.id).collect(),
        records.iter().map(|written| written.key).collect(),
    )
}

/// Entries of what these records were, but for those that they have again.
async fn delete_entries(connection: &mut PgConnection, before: &[&WrittenRecord<'_>], kept: &Entries) -> Result<()> {
    if before.is_empty() {
        return Ok(());
    }
    let (accounts, collections, keys) = columns(before);
    sqlx::query(
        "delete from record_index using (
             select record.account_id, entry.index_id, entry.value, record.key
             from unnest($1::bigint[], $2::bigint[], $3::text[]) as written (account_id, collection_id, key)
             join record using (account_id, collection_id, key)
             cross join lateral unnest(record.index_ids, record.index_values) as entry (index_id, value)
         ) as former
         where record_index.account_id = former.account_id and record_index.index_id = former.index_id
           and record_index.value = former.value and record_index.key = former.key
           and not exists (
               select from unnest($4::bigint[], $5::bytea[], $6::text[]) as kept (index_id, value, key)
               where kept.index_id = former.index_id and kept.value = former.value and kept.key = former.key)",
    )
    .bind(accounts)
    .bind(collections)
    .bind(keys)
    .bind(&kept.index_ids)
    .bind(&kept.values)
    .bind(&kept.keys)
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_records(connection: &mut PgConnection, set: &[&WrittenRecord<'_>], entries: &Entries) -> Result<Vec<i64>> {
    if set.is_empty() {
        return Ok(Vec::new());
    }
    let (accounts, collections, keys) = columns(set);
    let data: Vec<&str> = set.iter().filter_map(|written| written.data).collect();
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "insert into record (account_id, collection_id, key, data, version, index_ids, index_values)
         select written.account_id, written.collection_id, written.key, written.data, nextval('record_version_seq'),
                coalesce(entries.ids, '{}'), coalesce(entries.found, '{}')
         from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])
              with ordinality as written (account_id, collection_id, key, data, place)
         left join (
             select place, array_agg(index_id) as ids, array_agg(value) as found
             from unnest($5::bigint[], $6::bigint[], $7::bytea[]) as entry (place, index_id, value) group by place
         ) as entries using (place)
         where exists (select from collection where collection.id = written.collection_id)
         on conflict (account_id, collection_id, key)
         do update set data = excluded.data, version = excluded.version, index_ids = excluded.index_ids,
                       index_values = excluded.index_values
         returning collection_id, key, version",
    )
    .bind(accounts)
    .bind(collections)
    .bind(keys)
    .bind(data)
    .bind(&entries.places)
    .bind(&entries.index_ids)
    .bind(&entries.values)
    .fetch_all(connection)
    .await?;
    let versions: HashMap<(i64, String), i64> =
        rows.into_iter().map(|(collection, key, version)| ((collection, key), version)).collect();
    let version = |written: &&WrittenRecord<'_>| {
        versions.get(&(written.collection.id, written.key.to_owned())).copied().unwrap_or(0)
    };
    Ok(set.iter().map(version).collect())
}

async fn add_entries(connection: &mut PgConnection, entries: Entries) -> Result<()> {
    if entries.keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into record_index (account_id, index_id, value, key)
         select * from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[]) on conflict do nothing",
    )
    .bind(entries.accounts)
    .bind(entries.index_ids)
    .bind(entries.values)
    .bind(entries.keys)
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete_records(connection: &mut PgConnection, gone: &[&WrittenRecord<'_>]) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let (accounts, collections, keys) = columns(gone);
    sqlx::query(
        "delete from record using unnest($1::bigint[], $2::bigint[], $3::text[]) as gone (account_id, collection_id, key)
         where record.account_id = gone.account_id and record.collection_id = gone.collection_id and record.key = gone.key",
    )
    .bind(accounts)
    .bind(collections)
    .bind(keys)
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps the number of records of each collection.
async fn count(connection: &mut PgConnection, written: &[WrittenRecord<'_>]) -> Result<()> {
    let mut changes: BTreeMap<i64, i64> = BTreeMap::new();
    for written in written {
        let change = i64::from(written.data.is_some()) - i64::from(written.existed);
        *changes.entry(written.collection.id).or_default() += change;
    }
    changes.retain(|_, change| *change != 0);
    if changes.is_empty() {
        return Ok(());
    }
    let (collections, changes): (Vec<i64>, Vec<i64>) = changes.into_iter().unzip();
    sqlx::query(
        "update collection set records = records + change
         from unnest($1::bigint[], $2::bigint[]) as changed (id, change) where collection.id = changed.id",
    )
    .bind(collections)
    .bind(changes)
    .execute(connection)
    .await?;
    Ok(())
}
