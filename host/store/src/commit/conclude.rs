//! How runs go on after a commit: into history, to a later time, or on with a checkpoint.

use std::time::Duration;

use sqlx::PgConnection;
use trellis_model::{ClaimId, Shard};

use super::{Checkpoint, CommitOutcome, Conclusion, Finished, RunCommit};
use crate::Result;

/// Writes the conclusions of all runs whose effects went through.
pub(super) async fn write(
    connection: &mut PgConnection,
    commits: &[RunCommit],
    outcomes: &[CommitOutcome],
) -> Result<()> {
    let (mut finished, mut later, mut checkpoints) = (Vec::new(), Vec::new(), Vec::new());
    for (commit, outcome) in commits.iter().zip(outcomes) {
        if *outcome != CommitOutcome::Committed {
            continue;
        }
        match &commit.conclusion {
            Conclusion::Finished(end) => finished.push((commit, end)),
            Conclusion::Checkpoint(checkpoint) => checkpoints.push((commit, checkpoint)),
            Conclusion::Later { after, last_error, checkpoint } => {
                later.push((commit, *after, last_error.as_deref()));
                checkpoints.extend(checkpoint.as_ref().map(|checkpoint| (commit, checkpoint)));
            }
        }
    }
    keep_checkpoints(connection, &checkpoints).await?;
    move_to_later(connection, &later).await?;
    super::cancel::settle(connection, &finished).await?;
    finish(connection, &finished).await
}

/// Shard, account and id of some commits, as statements take them.
pub(super) fn columns<'c>(commits: impl Iterator<Item = &'c RunCommit> + Clone) -> (Vec<i16>, Vec<i64>, Vec<i64>) {
    (
        commits.clone().map(|commit| commit.holding.shard.0).collect(),
        commits.clone().map(|commit| commit.account.0).collect(),
        commits.map(|commit| commit.run.0).collect(),
    )
}

/// The lanes of their jobs.
fn lanes<'c>(commits: impl Iterator<Item = &'c RunCommit>) -> Vec<i16> {
    commits.map(|commit| commit.lane.number()).collect()
}

/// The key of a commit's job, in the order of the index.
fn key(commit: &RunCommit) -> (i16, i64, i16, i64) {
    (commit.holding.shard.0, commit.account.0, commit.lane.number(), commit.run.0)
}

/// Deletes jobs and writes their history from the very rows that were deleted: no run can be in history twice. What the
/// account does not keep is not written at all; a dead letter always is. Who keeps less is asked once a flush, of an index
/// that holds these accounts alone, and not once a run.
async fn finish(connection: &mut PgConnection, finished: &[(&RunCommit, &Finished)]) -> Result<()> {
    let (shards, accounts, ids) = columns(finished.iter().map(|(commit, _)| *commit));
    // The span of their keys says nothing new, but where the index is to be read at all: behind a transaction that stays
    // open for long lie dead jobs, and a planner that takes the table for empty would walk over all of them.
    let keys = finished.iter().map(|(commit, _)| key(commit));
    let (Some(first), Some(last)) = (keys.clone().min(), keys.max()) else { return Ok(()) };
    let states: Vec<&str> = finished.iter().map(|(_, end)| end.state.name()).collect();
    let started: Vec<i64> = finished.iter().map(|(_, end)| end.started_at_ms).collect();
    let errors: Vec<Option<&str>> = finished.iter().map(|(_, end)| end.error.as_deref()).collect();
    let nodes: Vec<&[u8]> = finished.iter().map(|(_, end)| end.nodes.as_slice()).collect();
    sqlx::query(
        "with finished as (
             select * from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bytea[],
                                   $8::smallint[])
                 as finished (shard, account_id, id, state, started_at_ms, error, nodes, lane)
         ), deleted as (
             delete from job using finished
             where job.shard = finished.shard and job.account_id = finished.account_id and job.lane = finished.lane
               and job.id = finished.id
               and (job.shard, job.account_id, job.lane, job.id) between ($9, $10, $11, $12) and ($13, $14, $15, $16)
             returning job.account_id, job.id, job.project_id, job.revision_id, job.grid, job.payload,
                       finished.state, finished.started_at_ms, finished.error, finished.nodes
         )
         insert into run (account_id, id, project_id, revision_id, grid, state, started_at, error, event, nodes)
         select account_id, id, project_id, revision_id, grid, state, to_timestamp(started_at_ms / 1000.0), error, payload, nodes
         from deleted
         where deleted.state = 'dead'
            or account_id not in (select id from account where history <> 'full')
            or deleted.state <> 'succeeded' and account_id not in (select id from account where history = 'none')",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .bind(states)
    .bind(started)
    .bind(errors)
    .bind(nodes)
    .bind(lanes(finished.iter().map(|(commit, _)| *commit)))
    .bind(first.0)
    .bind(first.1)
    .bind(first.2)
    .bind(first.3)
    .bind(last.0)
    .bind(last.1)
    .bind(last.2)
    .bind(last.3)
    .execute(&mut *connection)
    .await?;
    let checkpointed = finished.iter().filter(|(_, end)| end.has_checkpoint).map(|(commit, _)| *commit);
    delete_checkpoints(connection, columns(checkpointed)).await
}

async fn delete_checkpoints(
    connection: &mut PgConnection,
    (shards, accounts, ids): (Vec<i16>, Vec<i64>, Vec<i64>),
) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from checkpoint using unnest($1::smallint[], $2::bigint[], $3::bigint[]) as finished (shard, account_id, id)
         where checkpoint.shard = finished.shard and checkpoint.account_id = finished.account_id
           and checkpoint.id = finished.id",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .execute(connection)
    .await?;
    Ok(())
}

async fn move_to_later(connection: &mut PgConnection, later: &[(&RunCommit, Duration, Option<&str>)]) -> Result<()> {
    if later.is_empty() {
        return Ok(());
    }
    let (shards, accounts, ids) = columns(later.iter().map(|(commit, ..)| *commit));
    let seconds: Vec<f64> = later.iter().map(|(_, after, _)| after.as_secs_f64()).collect();
    let errors: Vec<Option<&str>> = later.iter().map(|(.., error)| *error).collect();
    sqlx::query(
        "with later as (
             select * from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::float8[], $5::text[], $6::smallint[])
                 as later (shard, account_id, id, after_seconds, last_error, lane)
         ), moved as (
             delete from job using later
             where job.shard = later.shard and job.account_id = later.account_id and job.lane = later.lane
               and job.id = later.id
             returning job.*, later.after_seconds, later.last_error
         )
         insert into job_later (shard, run_at, account_id, id, lane, concurrency_key, key_runs_max, project_id, revision_id,
                                grid, lost_hosts, last_error, payload)
         select shard, clock_timestamp() + make_interval(secs => after_seconds), account_id, id, lane, concurrency_key,
                key_runs_max, project_id, revision_id, grid, lost_hosts, last_error, payload
         from moved",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .bind(seconds)
    .bind(errors)
    .bind(lanes(later.iter().map(|(commit, ..)| *commit)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn keep_checkpoints(connection: &mut PgConnection, checkpoints: &[(&RunCommit, &Checkpoint)]) -> Result<()> {
    if checkpoints.is_empty() {
        return Ok(());
    }
    let (shards, accounts, ids) = columns(checkpoints.iter().map(|(commit, _)| *commit));
    let lanes = lanes(checkpoints.iter().map(|(commit, _)| *commit));
    let sequences: Vec<i32> = checkpoints.iter().map(|(_, checkpoint)| checkpoint.sequence).collect();
    let nodes: Vec<&[u8]> = checkpoints.iter().map(|(_, checkpoint)| checkpoint.nodes.as_slice()).collect();
    sqlx::query(
        "insert into checkpoint (shard, account_id, id, sequence, nodes)
         select mine.shard, mine.account_id, mine.id, mine.sequence, mine.nodes
         from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::int[], $5::bytea[], $6::smallint[])
             as mine (shard, account_id, id, sequence, nodes, lane)
         where exists (select from job where job.shard = mine.shard and job.account_id = mine.account_id
                         and job.lane = mine.lane and job.id = mine.id)
         on conflict (shard, account_id, id) do update set sequence = excluded.sequence, nodes = excluded.nodes
         where checkpoint.sequence < excluded.sequence",
    )
    .bind(&shards)
    .bind(&accounts)
    .bind(&ids)
    .bind(sequences)
    .bind(nodes)
    .bind(&lanes)
    .execute(&mut *connection)
    .await?;
    // Whoever fetches the job next must look for the checkpoint. Written once a run, and not at all for a quiet one.
    sqlx::query(
        "update job set is_resumed = true
         from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::smallint[]) as mine (shard, account_id, id, lane)
         where job.shard = mine.shard and job.account_id = mine.account_id and job.lane = mine.lane and job.id = mine.id
           and not job.is_resumed",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .bind(lanes)
    .execute(connection)
    .await?;
    Ok(())
}

/// Claims of which every job is concluded.
pub(super) async fn delete_claims(connection: &mut PgConnection, claims: &[(Shard, ClaimId)]) -> Result<()> {
    if claims.is_empty() {
        return Ok(());
    }
    let (shards, ids): (Vec<i16>, Vec<i64>) = claims.iter().map(|(shard, claim)| (shard.0, claim.0)).unzip();
    sqlx::query(
        "delete from claim using unnest($1::smallint[], $2::bigint[]) as done (shard, id)
         where claim.shard = done.shard and claim.id = done.id",
    )
    .bind(shards)
    .bind(ids)
    .execute(connection)
    .await?;
    Ok(())
}
