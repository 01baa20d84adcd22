//! Jobs that wait for a time: moved back to the queue by the owner of their shard when it has come.

use std::time::Duration;

use trellis_model::{Lane, Queue, Shard};
use uuid::Uuid;

use crate::{
    Database, Result, fail_point,
    jobs::read_queue,
    shards::{Holding, columns},
};

impl Database {
    /// Moves jobs whose time has come back to the queue, those that are due for longest first: at most `jobs_max` of all
    /// shards together, and none any more when the payloads before it come to `bytes_max`. Returns the lanes they stand in.
    pub async fn promote_due_jobs(
        &self,
        host: Uuid,
        holdings: &[Holding],
        jobs_max: i64,
        bytes_max: i64,
    ) -> Result<Vec<(Queue, Lane)>> {
        fail_point!("promote-before");
        let (shards, epochs) = columns(holdings);
        let rows: Vec<(i16, i64, i16)> = sqlx::query_as(
            "with fence as materialized (
                 select id from host where id = $1 for key share
             ), held as (
                 select shard.shard from fence, shard join unnest($2::smallint[], $3::bigint[]) as mine (shard, epoch)
                     on shard.shard = mine.shard and shard.epoch = mine.epoch
                 where shard.owner = fence.id
             ), due as materialized (
                 -- The time of the statement: one that moves on meanwhile would be compared with every row that waits.
                 select later.shard, later.run_at, later.id from held,
                 lateral (
                     select shard, run_at, id from job_later
                     where job_later.shard = held.shard and job_later.run_at <= statement_timestamp()
                     order by job_later.run_at limit $4
                 ) as later
                 order by later.run_at limit $4
             ), weighed as materialized (
                 select due.*, sum(octet_length(one.payload)) over (
                     order by due.run_at, due.shard, due.id rows between unbounded preceding and 1 preceding
                 ) as bytes_before
                 from due, lateral (
                     select payload from job_later
                     where job_later.shard = due.shard and job_later.run_at = due.run_at and job_later.id = due.id
                     limit 1
                 ) as one
             ), moved as (
                 delete from job_later using weighed
                 where job_later.shard = weighed.shard and job_later.run_at = weighed.run_at and job_later.id = weighed.id
                   and coalesce(weighed.bytes_before, 0) < $5
                 returning job_later.*
             ), queued as (
                 insert into job (shard, account_id, id, lane, concurrency_key, key_runs_max, project_id, revision_id, grid,
                                  lost_hosts, is_resumed, payload)
                 select shard, account_id, id, lane, concurrency_key, key_runs_max, project_id, revision_id, grid,
                        lost_hosts, true, payload
                 from moved
                 returning shard, account_id, lane
             )
             select distinct shard, account_id, lane from queued",
        )
        .bind(host)
        .bind(shards)
        .bind(epochs)
        .bind(jobs_max)
        .bind(bytes_max)
        .fetch_all(&self.durable)
        .await?;
        fail_point!("promote-after");
        rows.into_iter().map(read_queue).collect()
    }

    /// How long until the first waiting job of these shards is due; zero when one is overdue.
    pub async fn next_due(&self, shards: &[Shard]) -> Result<Option<Duration>> {
        let shards: Vec<i16> = shards.iter().map(|shard| shard.0).collect();
        let seconds: Option<f64> = sqlx::query_scalar(
            "select extract(epoch from min(first.run_at) - clock_timestamp())::float8
             from unnest($1::smallint[]) as mine (shard),
             lateral (select run_at from job_later where job_later.shard = mine.shard order by run_at limit 1) as first",
        )
        .bind(shards)
        .fetch_one(&self.relaxed)
        .await?;
        Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
    }
}
