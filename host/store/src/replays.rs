//! Replays: a new job made of a run that is over, and the dead letters that nobody has replayed yet.

use std::collections::HashMap;

use sqlx::PgConnection;
use trellis_model::{AccountId, ProjectId, RunId};

use crate::{
    Database, Result,
    jobs::{NewJob, insert_jobs},
};

/// A run that is to be made of one that is over.
#[derive(Clone, Debug)]
pub struct NewReplay {
    pub job: NewJob,
    /// The run that is over.
    pub of: RunId,
    /// Even if it was replayed before.
    pub again: bool,
    /// What the new run begins with: array of [`trellis_model::run::NodeResult`] as JSON.
    pub nodes: Option<Vec<u8>>,
}

/// Which dead letters of a project to look through, oldest first. Those that were replayed are none of them.
#[derive(Clone, Debug)]
pub struct DeadLetterFilter {
    pub project: ProjectId,
    pub grid: Option<String>,
    /// Text that the error has in it; upper and lower case differ.
    pub error_contains: Option<String>,
    /// Younger than this one.
    pub after: RunId,
    /// Older than this one.
    pub before: RunId,
}

/// A dead letter that was looked at.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub run: RunId,
    pub grid: String,
    /// The beginning of it.
    pub error: Option<String>,
    /// Whether its error has the text that was looked for.
    pub is_match: bool,
}

/// The sequence of a checkpoint that a replay begins with; its own commits count on from there.
const FIRST_SEQUENCE: i32 = 1;

impl Database {
    /// Commits new runs together with the mark on those that they are made of; when this returns, they are fsynced. Returns
    /// the runs that were made. The others were refused: what they are made of was replayed before, or is gone.
    pub async fn insert_replays(&self, replays: &[NewReplay]) -> Result<Vec<RunId>> {
        let mut transaction = self.durable.begin().await?;
        let mut made = Vec::with_capacity(replays.len());
        for round in rounds(replays) {
            made.extend(mark_replayed(&mut transaction, &round).await?);
        }
        let (jobs, seeds): (Vec<NewJob>, Vec<Option<&[u8]>>) = replays
            .iter()
            .filter(|replay| made.contains(&replay.job.run))
            .map(|replay| (replay.job.clone(), replay.nodes.as_deref()))
            .unzip();
        if !jobs.is_empty() {
            insert_jobs(&mut transaction, &jobs).await?;
            insert_checkpoints(&mut transaction, &jobs, &seeds).await?;
        }
        transaction.commit().await?;
        Ok(made)
    }

    /// Dead letters that were not replayed, oldest first; `looked_at_max` are looked at, whether they match or not.
    pub async fn dead_letters(
        &self,
        account: AccountId,
        filter: &DeadLetterFilter,
        looked_at_max: i64,
    ) -> Result<Vec<DeadLetter>> {
        let rows: Vec<(i64, String, Option<String>, bool)> = sqlx::query_as(
            "select id, grid, left(error, 500), $6::text is null or coalesce(position($6 in error) > 0, false)
             from run
             where account_id = $1 and state = 'dead' and replayed_as is null and id > $2 and id < $3 and project_id = $4
               and ($5::text is null or grid = $5)
             order by id limit $7",
        )
        .bind(account.0)
        .bind(filter.after.0)
        .bind(filter.before.0)
        .bind(filter.project.0)
        .bind(filter.grid.as_deref())
        .bind(filter.error_contains.as_deref())
        .bind(looked_at_max)
        // Planned with the values: only the days that are asked for are opened, by the index of these runs.
        .persistent(false)
        .fetch_all(&self.durable)
        .await?;
        let read = |(run, grid, error, is_match)| DeadLetter { run: RunId(run), grid, error, is_match };
        Ok(rows.into_iter().map(read).collect())
    }
}

/// Parts in which no run is replayed twice: a statement marks a row once. Of two that are made of the same run, the second
/// finds the mark of the first, and may be all the same if that was asked for.
fn rounds(replays: &[NewReplay]) -> Vec<Vec<&NewReplay>> {
    let mut rounds: Vec<Vec<&NewReplay>> = Vec::new();
    let mut times: HashMap<(AccountId, RunId), usize> = HashMap::new();
    for replay in replays {
        let time = times.entry((replay.job.account, replay.of)).or_default();
        if rounds.len() <= *time {
            rounds.push(Vec::new());
        }
        rounds[*time].push(replay);
        *time += 1;
    }
    rounds
}

/// Notes on runs that are over as what they are replayed; returns the new runs that may be. No two are made of the same run.
async fn mark_replayed(connection: &mut PgConnection, replays: &[&NewReplay]) -> Result<Vec<RunId>> {
    let made: Vec<i64> = sqlx::query_scalar(
        "update run set replayed_as = replay.id
         from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bool[]) as replay (account_id, of, id, again)
         where run.account_id = replay.account_id and run.id = replay.of and (replay.again or run.replayed_as is null)
         returning replay.id",
    )
    .bind(replays.iter().map(|replay| replay.job.account.0).collect::<Vec<i64>>())
    .bind(replays.iter().map(|replay| replay.of.0).collect::<Vec<i64>>())
    .bind(replays.iter().map(|replay| replay.job.run.0).collect::<Vec<i64>>())
    .bind(replays.iter().map(|replay| replay.again).collect::<Vec<bool>>())
    .fetch_all(connection)
    .await?;
    Ok(made.into_iter().map(RunId).collect())
}

/// What the new runs begin with, where they do not begin with nothing. They are not noted as begun: a run that was begun holds
/// its key, and this one stands behind whoever came before it. That it is a replay is why its checkpoint is looked for.
async fn insert_checkpoints(connection: &mut PgConnection, jobs: &[NewJob], seeds: &[Option<&[u8]>]) -> Result<()> {
    let (mut shards, mut accounts, mut ids, mut nodes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (job, seed) in jobs.iter().zip(seeds) {
        if let Some(seed) = seed {
            shards.push(job.shard.0);
            accounts.push(job.account.0);
            ids.push(job.run.0);
            nodes.push(*seed);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into checkpoint (shard, account_id, id, sequence, nodes)
         select shard, account_id, id, $5, nodes
         from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bytea[]) as seed (shard, account_id, id, nodes)",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .bind(nodes)
    .bind(FIRST_SEQUENCE)
    .execute(connection)
    .await?;
    Ok(())
}
