//! The part of a commit that is about records: check what was read, and apply what was written, run by run in memory and then
//! all of it in a few statements.
//!
//! Shares the turns of the storage part: writers of one project come one after the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use trellis_model::{AccountId, ProjectId};

use super::RunCommit;
use crate::{
    Result, fail_point,
    records::{CollectionRow, WrittenRecord, find_collections, write},
};

/// Account, project, collection, key.
type Key<'c> = (AccountId, ProjectId, &'c str, &'c str);

/// A record as this transaction sees it.
#[derive(Default)]
struct Cell<'c> {
    /// 0: there was none when the transaction began.
    version: i64,
    /// Set when an earlier run of this batch wrote it, to what it wrote: whoever had read it has read a stale version.
    written: Option<Option<&'c str>>,
}

/// Every record that any of the runs has read or written.
#[derive(Default)]
pub(super) struct Sheet<'c> {
    cells: BTreeMap<Key<'c>, Cell<'c>>,
    collections: HashMap<(AccountId, ProjectId, String), CollectionRow>,
}

impl<'c> Sheet<'c> {
    /// As it stands now.
    pub async fn load(connection: &mut PgConnection, live: &[usize], commits: &'c [RunCommit]) -> Result<Self> {
        let mut sheet = Self::default();
        for &index in live {
            let commit = &commits[index];
            let reads = commit.effects.record_reads.iter().map(|read| (read.collection.as_str(), read.key.as_str()));
            let writes =
                commit.effects.record_writes.iter().map(|write| (write.collection.as_str(), write.key.as_str()));
            for (collection, key) in reads.chain(writes) {
                sheet.cells.entry((commit.account, commit.project, collection, key)).or_default();
            }
        }
        if sheet.cells.is_empty() {
            return Ok(sheet);
        }
        let wanted: BTreeSet<(AccountId, ProjectId, &str)> =
            sheet.cells.keys().map(|(account, project, collection, _)| (*account, *project, *collection)).collect();
        sheet.collections = find_collections(connection, &wanted.into_iter().collect::<Vec<_>>()).await?;
        sheet.load_versions(connection).await?;
        Ok(sheet)
    }

    async fn load_versions(&mut self, connection: &mut PgConnection) -> Result<()> {
        let (mut accounts, mut collections, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for (account, project, collection, key) in self.cells.keys() {
            if let Some(row) = self.collections.get(&(*account, *project, (*collection).to_owned())) {
                accounts.push(account.0);
                collections.push(row.id);
                keys.push(*key);
            }
        }
        let rows: Vec<(i64, String, i64)> = sqlx::query_as(
            "select collection_id, key, version
             from record join unnest($1::bigint[], $2::bigint[], $3::text[]) as wanted (account_id, collection_id, key)
                  using (account_id, collection_id, key)",
        )
        .bind(accounts)
        .bind(collections)
        .bind(keys)
        .fetch_all(connection)
        .await?;
        let versions: HashMap<(i64, String), i64> =
            rows.into_iter().map(|(collection, key, version)| ((collection, key), version)).collect();
        for ((account, project, collection, key), cell) in &mut self.cells {
            let row = self.collections.get(&(*account, *project, (*collection).to_owned()));
            let version = row.and_then(|row| versions.get(&(row.id, (*key).to_owned())));
            cell.version = version.copied().unwrap_or(0);
        }
        Ok(())
    }

    /// Whether no record that the run has read was changed since.
    pub fn is_current(&self, commit: &RunCommit) -> bool {
        fail_point!("version-check-off", true);
        commit.effects.record_reads.iter().all(|read| {
            let cell = &self.cells[&(commit.account, commit.project, read.collection.as_str(), read.key.as_str())];
            cell.written.is_none() && cell.version == read.version
        })
    }

    /// Applies one run's writes, the last of each record.
    pub fn apply(&mut self, commit: &'c RunCommit) {
        for write in &commit.effects.record_writes {
            let at = (commit.account, commit.project, write.collection.as_str(), write.key.as_str());
            if let Some(cell) = self.cells.get_mut(&at) {
                cell.written = Some(write.data.as_deref());
            }
        }
    }

    /// Writes what was applied. A collection that is no more, because its project is not, is passed over.
    pub async fn write_back(&self, connection: &mut PgConnection) -> Result<()> {
        let written = self.cells.iter().filter_map(|((account, project, collection, key), cell)| {
            let row = self.collections.get(&(*account, *project, (*collection).to_owned()))?;
            let data = cell.written?;
            Some(WrittenRecord { account: *account, collection: row, key, data, existed: cell.version != 0 })
        });
        write(connection, &written.collect::<Vec<_>>()).await.map(drop)
    }
}
