//! The part of a commit that is particular to cancelled runs: they may wait for their time, and somebody asked for it.

use sqlx::PgConnection;
use trellis_model::run::RunState;

use super::{Finished, RunCommit};
use crate::Result;

/// Brings cancelled runs that wait for their time back to the queue, from where every run ends, and deletes the requests.
/// The same transaction ends them, so that nobody ever fetches them there.
pub(super) async fn settle(connection: &mut PgConnection, finished: &[(&RunCommit, &Finished)]) -> Result<()> {
    let cancelled: Vec<&RunCommit> =
        finished.iter().filter(|(_, end)| end.state == RunState::Cancelled).map(|(commit, _)| *commit).collect();
    if cancelled.is_empty() {
        return Ok(());
    }
    let (shards, accounts, ids) = super::conclude::columns(cancelled.iter().copied());
    sqlx::query(
        "with cancelled as (
             select * from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as cancelled (shard, account_id, id)
         ), waiting as (
             delete from job_later using cancelled
             where job_later.shard = cancelled.shard and job_later.account_id = cancelled.account_id
               and job_later.id = cancelled.id
             returning job_later.*
         )
         insert into job (shard, account_id, id, lane, concurrency_key, key_runs_max, project_id, revision_id, grid, lost_hosts,
                          is_resumed, payload)
         select shard, account_id, id, lane, concurrency_key, key_runs_max, project_id, revision_id, grid, lost_hosts, true,
                payload
         from waiting",
    )
    .bind(&shards)
    .bind(&accounts)
    .bind(&ids)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "delete from cancel_request using unnest($1::smallint[], $2::bigint[], $3::bigint[]) as done (shard, account_id, id)
         where cancel_request.shard = done.shard and cancel_request.account_id = done.account_id
           and cancel_request.id = done.id",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .execute(connection)
    .await?;
    Ok(())
}
