//! Collections of managed data: which a project has declared, and which indexes their records are found by.
//!
//! Does not know what records have to look like: that is the manifest's, and whoever writes a record has checked it.

mod build;

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::PgConnection;
use trellis_model::{AccountId, ProjectId};

use crate::{Database, Result, commit::lock_project};

/// A collection as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionInfo {
    pub name: String,
    /// Whether the current revision declares it.
    pub is_declared: bool,
    pub records: i64,
    pub indexes: Vec<IndexInfo>,
}

/// An index as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexInfo {
    pub name: String,
    pub pointer: String,
    /// Whether it can be asked; if not, it is being built.
    pub is_ready: bool,
}

type InfoRow = (String, bool, i64, Vec<String>, Vec<String>, Vec<bool>);

impl Database {
    /// Whether a project has this collection, or had it and keeps its records.
    pub async fn has_collection(&self, account: AccountId, project: ProjectId, name: &str) -> Result<bool> {
        let known = "select exists (select from collection where account_id = $1 and project_id = $2 and name = $3)";
        Ok(sqlx::query_scalar(known).bind(account.0).bind(project.0).bind(name).fetch_one(&self.durable).await?)
    }

    /// At most `limit` collections of a project, by name, behind `after`; those that are not declared any more included.
    pub async fn collections(
        &self,
        account: AccountId,
        project: ProjectId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<CollectionInfo>> {
        let rows: Vec<InfoRow> = sqlx::query_as(
            "select c.name, c.is_declared, c.records,
                    coalesce(array_agg(i.name order by i.name) filter (where i.id is not null), '{}'),
                    coalesce(array_agg(i.pointer order by i.name) filter (where i.id is not null), '{}'),
                    coalesce(array_agg(i.is_ready order by i.name) filter (where i.id is not null), '{}')
             from collection c
             left join collection_index i on i.account_id = c.account_id and i.collection_id = c.id and not i.is_dropped
             where c.account_id = $1 and c.project_id = $2 and c.name > $3
             group by c.id order by c.name limit $4",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.durable)
        .await?;
        let info = |(name, is_declared, records, names, pointers, ready): InfoRow| {
            let indexes = names.into_iter().zip(pointers).zip(ready);
            let index = |((name, pointer), is_ready)| IndexInfo { name, pointer, is_ready };
            CollectionInfo { name, is_declared, records, indexes: indexes.map(index).collect() }
        };
        Ok(rows.into_iter().map(info).collect())
    }
}

/// What a manifest, which was checked before, declares: collections with their indexes, name and pointer.
fn declared_in(manifest: &Value) -> BTreeMap<String, BTreeMap<String, String>> {
    let pointer = |(name, pointer): (&String, &Value)| Some((name.clone(), pointer.as_str()?.to_owned()));
    let indexes = |definition: &Value| {
        let declared = definition.get("indexes").and_then(Value::as_object);
        declared.map(|indexes| indexes.iter().filter_map(pointer).collect()).unwrap_or_default()
    };
    let collections = manifest.get("collections").and_then(Value::as_object);
    let collection = |(name, definition): (&String, &Value)| (name.clone(), indexes(definition));
    collections.map(|collections| collections.iter().map(collection).collect()).unwrap_or_default()
}

/// Makes the collections and indexes of a project those that its manifest declares. Part of a deployment.
pub(crate) async fn declare(
    connection: &mut PgConnection,
    account: AccountId,
    project: ProjectId,
    manifest: &Value,
) -> Result<()> {
    let declared = declared_in(manifest);
    let names: Vec<&str> = declared.keys().map(String::as_str).collect();
    let known = "select exists (select from collection where account_id = $1 and project_id = $2)";
    let has_any: bool = sqlx::query_scalar(known).bind(account.0).bind(project.0).fetch_one(&mut *connection).await?;
    if names.is_empty() && !has_any {
        return Ok(());
    }
    lock_project(connection, project).await?;
    sqlx::query(
        "update collection set is_declared = false
         where account_id = $1 and project_id = $2 and is_declared and name <> all ($3)",
    )
    .bind(account.0)
    .bind(project.0)
    .bind(&names)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into collection (account_id, project_id, name) select $1, $2, unnest($3::text[])
         on conflict (account_id, project_id, name) do update set is_declared = true where not collection.is_declared",
    )
    .bind(account.0)
    .bind(project.0)
    .bind(&names)
    .execute(&mut *connection)
    .await?;
    declare_indexes(connection, account, project, &declared).await
}

async fn declare_indexes(
    connection: &mut PgConnection,
    account: AccountId,
    project: ProjectId,
    declared: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<()> {
    let all = declared.iter().flat_map(|(collection, indexes)| {
        indexes.iter().map(move |(name, pointer)| (collection.as_str(), name.as_str(), pointer.as_str()))
    });
    let (collections, (names, pointers)): (Vec<&str>, (Vec<&str>, Vec<&str>)) =
        all.map(|(collection, name, pointer)| (collection, (name, pointer))).unzip();
    // Of a collection that is not declared any more the indexes go as well: what is left of it is read by key.
    sqlx::query(
        "update collection_index as old set is_dropped = true
         from collection
         where collection.account_id = $1 and collection.project_id = $2 and old.account_id = $1
           and old.collection_id = collection.id and not old.is_dropped
           and not exists (
               select from unnest($3::text[], $4::text[], $5::text[]) as declared (collection, name, pointer)
               where declared.collection = collection.name and declared.name = old.name and declared.pointer = old.pointer)",
    )
    .bind(account.0)
    .bind(project.0)
    .bind(&collections)
    .bind(&names)
    .bind(&pointers)
    .execute(&mut *connection)
    .await?;
    // Where there are no records there is nothing to be built.
    sqlx::query(
        "insert into collection_index (account_id, collection_id, name, pointer, is_ready)
         select $1, collection.id, declared.name, declared.pointer,
                not exists (select from record where record.account_id = $1 and record.collection_id = collection.id)
         from unnest($3::text[], $4::text[], $5::text[]) as declared (collection, name, pointer)
         join collection on collection.account_id = $1 and collection.project_id = $2
                        and collection.name = declared.collection
         on conflict (account_id, collection_id, name) where not is_dropped do nothing",
    )
    .bind(account.0)
    .bind(project.0)
    .bind(collections)
    .bind(names)
    .bind(pointers)
    .execute(connection)
    .await?;
    Ok(())
}
