//! The storage part of a commit: check what was read, then apply what was written, run by run in memory and key by key in
//! one statement. Records, whose part is a module of its own, are checked and applied with it: both or neither.
//!
//! Writers of one project take turns (an advisory lock for the transaction), so that between the check and the write
//! nothing can come, not even a key that did not exist.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use sqlx::PgConnection;
use trellis_model::{AccountId, ProjectId, RunId, call_limits::STORAGE_TTL_MS_HIGHEST};

use super::{CommitOutcome, Conclusion, RunCommit, WriteKind, records::Sheet};
use crate::{Result, fail_point};

/// Account, project, store, key.
type Key<'c> = (AccountId, ProjectId, &'c str, &'c str);

/// The same as the database returns it.
type StoredKey = (i64, i64, String, String);
/// Key, value and version.
type StoredRow = (i64, i64, String, String, Vec<u8>, i64);

/// Until when a written key lives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Lifetime {
    /// As long as it would have without this write: an addition changes the value alone.
    #[default]
    AsBefore,
    Endless,
    /// Milliseconds from now.
    For(f64),
}

/// A key as this transaction sees it.
#[derive(Default)]
struct Cell {
    /// 0: absent when the transaction began.
    version: i64,
    value: Option<Vec<u8>>,
    lifetime: Lifetime,
    /// An earlier run of this batch wrote it: whoever had read it has read a stale version.
    is_written: bool,
}

pub(super) async fn apply(
    connection: &mut PgConnection,
    commits: &[RunCommit],
    outcomes: &mut [CommitOutcome],
) -> Result<()> {
    let live: Vec<usize> = (0..commits.len())
        .filter(|&index| outcomes[index] == CommitOutcome::Committed && !commits[index].effects.is_empty())
        .collect();
    if live.is_empty() {
        return Ok(());
    }
    lock_projects(connection, &live, commits).await?;
    let applied = already_applied(connection, &live, commits).await?;
    let mut cells = load(connection, &live, commits).await?;
    let mut records = Sheet::load(connection, &live, commits).await?;
    for index in live {
        let commit = &commits[index];
        outcomes[index] = if applied.contains(&(commit.account, commit.run)) {
            CommitOutcome::Repeated
        } else if records.is_current(commit) {
            apply_in_memory(commit, &mut cells)
        } else {
            CommitOutcome::Conflict
        };
        if outcomes[index] == CommitOutcome::Committed {
            records.apply(commit);
        }
    }
    write_back(connection, cells).await?;
    records.write_back(connection).await
}

async fn lock_projects(connection: &mut PgConnection, live: &[usize], commits: &[RunCommit]) -> Result<()> {
    let projects: BTreeSet<i64> = live.iter().map(|&index| commits[index].project.0).collect();
    lock(connection, projects.into_iter().collect()).await
}

/// The turn of these projects' writers, until the end of the transaction.
pub(super) async fn lock(connection: &mut PgConnection, projects: Vec<i64>) -> Result<()> {
    // In one order everywhere, so that two hosts never wait for each other.
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended('trellis.keyvalue', project))
         from (select unnest($1::bigint[]) as project order by 1) as ordered",
    )
    .bind(projects)
    .execute(connection)
    .await?;
    Ok(())
}

/// Runs whose effects an earlier attempt at this very commit has written already: its answer was lost.
async fn already_applied(
    connection: &mut PgConnection,
    live: &[usize],
    commits: &[RunCommit],
) -> Result<HashSet<(AccountId, RunId)>> {
    fail_point!("repeat-check-off", Ok(HashSet::new()));
    let rows = live.iter().map(|&index| &commits[index]);
    let shards: Vec<i16> = rows.clone().map(|commit| commit.holding.shard.0).collect();
    let accounts: Vec<i64> = rows.clone().map(|commit| commit.account.0).collect();
    let ids: Vec<i64> = rows.clone().map(|commit| commit.run.0).collect();
    let lanes: Vec<i16> = rows.clone().map(|commit| commit.lane.number()).collect();
    let sequences: Vec<Option<i32>> = rows
        .map(|commit| match &commit.conclusion {
            Conclusion::Checkpoint(checkpoint) | Conclusion::Later { checkpoint: Some(checkpoint), .. } => {
                Some(checkpoint.sequence)
            }
            Conclusion::Finished(_) | Conclusion::Later { checkpoint: None, .. } => None,
        })
        .collect();
    let applied: Vec<(i64, i64)> = sqlx::query_as(
        "select mine.account_id, mine.id
         from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::int[], $5::smallint[])
             as mine (shard, account_id, id, sequence, lane)
         left join job using (shard, account_id, lane, id)
         left join checkpoint using (shard, account_id, id)
         where job.id is null or checkpoint.sequence >= mine.sequence",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .bind(sequences)
    .bind(lanes)
    .fetch_all(connection)
    .await?;
    Ok(applied.into_iter().map(|(account, run)| (AccountId(account), RunId(run))).collect())
}

/// Every key that any of the runs has read or written, as it stands now.
async fn load<'c>(
    connection: &mut PgConnection,
    live: &[usize],
    commits: &'c [RunCommit],
) -> Result<BTreeMap<Key<'c>, Cell>> {
    let mut cells: BTreeMap<Key<'c>, Cell> = BTreeMap::new();
    for &index in live {
        let commit = &commits[index];
        let reads = commit.effects.reads.iter().map(|read| (read.store.as_str(), read.key.as_str()));
        let writes = commit.effects.writes.iter().map(|write| (write.store.as_str(), write.key.as_str()));
        for (store, key) in reads.chain(writes) {
            cells.entry((commit.account, commit.project, store, key)).or_default();
        }
    }
    if cells.is_empty() {
        return Ok(cells);
    }
    let (accounts, projects, stores, names) = columns(cells.keys().copied());
    let rows: Vec<StoredRow> = sqlx::query_as(
        "select account_id, project_id, store, key, value, version
         from keyvalue join unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])
              as wanted (account_id, project_id, store, key) using (account_id, project_id, store, key)
         where expires_at is null or expires_at > now()",
    )
    .bind(accounts)
    .bind(projects)
    .bind(stores)
    .bind(names)
    .fetch_all(connection)
    .await?;
    let address = |(account, project, store, key, value, version)| ((account, project, store, key), (value, version));
    let mut found: HashMap<StoredKey, (Vec<u8>, i64)> = rows.into_iter().map(address).collect();
    for (key, cell) in &mut cells {
        let stored = found.remove(&(key.0.0, key.1.0, key.2.to_owned(), key.3.to_owned()));
        if let Some((value, version)) = stored {
            (cell.value, cell.version) = (Some(value), version);
        }
    }
    Ok(cells)
}

fn columns<'c>(keys: impl Iterator<Item = Key<'c>>) -> (Vec<i64>, Vec<i64>, Vec<&'c str>, Vec<&'c str>) {
    let (mut accounts, mut projects, mut stores, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (account, project, store, key) in keys {
        accounts.push(account.0);
        projects.push(project.0);
        stores.push(store);
        names.push(key);
    }
    (accounts, projects, stores, names)
}

/// Whether nothing that the run has read was changed since.
fn is_current(commit: &RunCommit, cells: &BTreeMap<Key<'_>, Cell>) -> bool {
    fail_point!("version-check-off", true);
    commit.effects.reads.iter().all(|read| {
        let cell = &cells[&(commit.account, commit.project, read.store.as_str(), read.key.as_str())];
        !cell.is_written && cell.version == read.version
    })
}

/// Applies one run's writes to the cells, or none of them when something it read is stale or a sum does not exist.
fn apply_in_memory<'c>(commit: &'c RunCommit, cells: &mut BTreeMap<Key<'c>, Cell>) -> CommitOutcome {
    let address = |store: &'c str, key: &'c str| (commit.account, commit.project, store, key);
    if !is_current(commit, cells) {
        return CommitOutcome::Conflict;
    }
    // Nothing is half applied: the new values are worked out before the first is set.
    let mut values: BTreeMap<Key<'c>, (Option<Vec<u8>>, Lifetime)> = BTreeMap::new();
    for write in &commit.effects.writes {
        let address = address(&write.store, &write.key);
        let cell = &cells[&address];
        let (current, lifetime) = match values.get(&address) {
            Some((value, lifetime)) => (value.as_deref(), *lifetime),
            None => (cell.value.as_deref(), cell.lifetime),
        };
        let written = match &write.kind {
            WriteKind::Put { value, ttl } => (Some(value.to_vec()), ttl.map_or(Lifetime::Endless, lifetime_of)),
            WriteKind::Delete => (None, Lifetime::Endless),
            WriteKind::Add(delta) => match sum(current, *delta) {
                Some(value) => (Some(value), lifetime),
                None => return CommitOutcome::Impossible,
            },
        };
        values.insert(address, written);
    }
    for (address, (value, lifetime)) in values {
        let cell = cells.get_mut(&address).expect("every written key was loaded");
        (cell.value, cell.lifetime, cell.is_written) = (value, lifetime, true);
    }
    CommitOutcome::Committed
}

/// Whatever a guest was allowed to ask for, no further than the database can tell.
fn lifetime_of(ttl: Duration) -> Lifetime {
    Lifetime::For(ttl.min(Duration::from_millis(STORAGE_TTL_MS_HIGHEST)).as_secs_f64() * 1_000.0)
}

fn sum(current: Option<&[u8]>, delta: i64) -> Option<Vec<u8>> {
    let current: i64 = match current {
        None => 0,
        Some(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    current.checked_add(delta).map(|sum| sum.to_string().into_bytes())
}

async fn write_back(connection: &mut PgConnection, cells: BTreeMap<Key<'_>, Cell>) -> Result<()> {
    let written = cells.into_iter().filter(|(_, cell)| cell.is_written);
    let (puts, deletes): (Vec<_>, Vec<_>) = written.partition(|(_, cell)| cell.value.is_some());
    if !puts.is_empty() {
        let (accounts, projects, stores, names) = columns(puts.iter().map(|(key, _)| *key));
        let ttls: Vec<Option<f64>> = puts
            .iter()
            .map(|(_, cell)| if let Lifetime::For(ttl_ms) = cell.lifetime { Some(ttl_ms) } else { None })
            .collect();
        let kept: Vec<bool> = puts.iter().map(|(_, cell)| cell.lifetime == Lifetime::AsBefore).collect();
        let values: Vec<Option<Vec<u8>>> = puts.into_iter().map(|(_, cell)| cell.value).collect();
        sqlx::query(
            "insert into keyvalue (account_id, project_id, store, key, value, version, expires_at)
             select account_id, project_id, store, key, value, nextval('keyvalue_version_seq'),
                    case when lives_as_before then (
                        select expires_at from keyvalue as before
                        where before.account_id = written.account_id and before.project_id = written.project_id
                          and before.store = written.store and before.key = written.key and before.expires_at > now()
                    ) else now() + make_interval(secs => ttl_ms / 1000) end
             from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::float8[], $7::bool[])
                  as written (account_id, project_id, store, key, value, ttl_ms, lives_as_before)
             where exists (select from project where project.id = written.project_id)
             on conflict (account_id, project_id, store, key)
             do update set value = excluded.value, version = excluded.version, expires_at = excluded.expires_at",
        )
        .bind(accounts)
        .bind(projects)
        .bind(stores)
        .bind(names)
        .bind(values)
        .bind(ttls)
        .bind(kept)
        .execute(&mut *connection)
        .await?;
    }
    if !deletes.is_empty() {
        let (accounts, projects, stores, names) = columns(deletes.iter().map(|(key, _)| *key));
        sqlx::query(
            "delete from keyvalue using unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])
                 as gone (account_id, project_id, store, key)
             where keyvalue.account_id = gone.account_id and keyvalue.project_id = gone.project_id
               and keyvalue.store = gone.store and keyvalue.key = gone.key",
        )
        .bind(accounts)
        .bind(projects)
        .bind(stores)
        .bind(names)
        .execute(connection)
        .await?;
    }
    Ok(())
}
