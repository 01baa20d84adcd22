//! Requests to cancel runs: noted by any host, carried out by the owner of the run's shard, and gone with the run.
//!
//! How a cancelled run is written into history is [`crate::commit`]'s part.

use trellis_model::{AccountId, Lane, ProjectId, RunId, Shard, run::RunState};

use crate::{
    Database, Result,
    jobs::read_lane,
    runs::{living_claims, shards},
};

/// A run that somebody wants to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CancelRequest {
    pub shard: Shard,
    pub account: AccountId,
    pub run: RunId,
}

/// What it takes to end a run that is not in flight.
#[derive(Clone, Debug)]
pub struct UnfinishedRun {
    pub request: CancelRequest,
    /// Where its job stands, or stood.
    pub lane: Lane,
    pub project: ProjectId,
    /// What its last checkpoint holds, if it has one.
    pub nodes: Option<Vec<u8>>,
}

/// Which unfinished runs of a project to cancel, oldest first.
#[derive(Clone, Debug)]
pub struct CancelFilter {
    pub project: ProjectId,
    pub grid: Option<String>,
    /// Queued, running or waiting; none: all of them.
    pub state: Option<RunState>,
    /// Runs younger than this one.
    pub after: RunId,
    /// And older than this one.
    pub before: RunId,
    pub limit: i64,
}

type RequestRow = (i16, i64, i64);
type UnfinishedRow = (i16, i64, i64, i16, i64, Option<Vec<u8>>);

/// Shards, accounts and ids of some requests, as statements take them.
fn columns(requests: &[CancelRequest]) -> (Vec<i16>, Vec<i64>, Vec<i64>) {
    (
        requests.iter().map(|request| request.shard.0).collect(),
        requests.iter().map(|request| request.account.0).collect(),
        requests.iter().map(|request| request.run.0).collect(),
    )
}

fn read_request((shard, account, run): RequestRow) -> CancelRequest {
    CancelRequest { shard: Shard(shard), account: AccountId(account), run: RunId(run) }
}

impl Database {
    /// Notes that a run is to be cancelled; once or twice is the same. Returns the shard that it is on. Of a run that is over
    /// nothing is noted.
    pub async fn request_cancel(&self, account: AccountId, run: RunId) -> Result<Option<Shard>> {
        let shard: Option<i16> = sqlx::query_scalar(
            "with part as materialized (
                 select unnest(($2::smallint[])[1:(select spread_max from account where id = $1)]) as shard
             ), unfinished as materialized (
                 select queued.shard from part, unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
                     select shard from job
                     where job.shard = part.shard and account_id = $1 and job.lane = line.lane and id = $3
                     limit 1
                 ) as queued
                 union all
                 select job_later.shard from part, job_later
                 where job_later.shard = part.shard and account_id = $1 and id = $3
             ), requested as (
                 insert into cancel_request (shard, account_id, id) select shard, $1, $3 from unfinished
                 on conflict do nothing
             )
             select shard from unfinished limit 1",
        )
        .bind(account.0)
        .bind(shards(account))
        .bind(run.0)
        .fetch_optional(&self.durable)
        .await?;
        Ok(shard.map(Shard))
    }

    /// Notes the same of many runs; returns which, and the shards that they are on, oldest first. What is being run is told
    /// by the living claims, looked up once; the queue is not looked at where nothing of it is wanted.
    pub async fn request_cancels(&self, account: AccountId, filter: &CancelFilter) -> Result<Vec<(Shard, RunId)>> {
        let rows: Vec<(i16, i64)> = sqlx::query_as(concat!(
            "with part as materialized (
                 select unnest(($2::smallint[])[1:(select spread_max from account where id = $1)]) as shard
             ), claimed as materialized (
                 select distinct claim.shard, u.id
                 from ",
            living_claims!(),
            " join part using (shard), unnest(claim.accounts, claim.ids) as u (account_id, id)
                 where u.account_id = $1 and u.id > $3 and u.id < $8 and $6::text is not null
             ), wanted as materialized (
                 select shard, id from (
                     (select running.* from claimed, unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
                          select shard, id from job
                          where shard = claimed.shard and account_id = $1 and lane = line.lane and id = claimed.id
                            and project_id = $4 and ($5::text is null or grid = $5) and $6::text = 'running'
                          limit 1
                      ) as running)
                     union all
                     (select queued.* from part, unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
                          select shard, id from job
                          where shard = part.shard and account_id = $1 and lane = line.lane and id > $3 and id < $8
                            and project_id = $4 and ($5::text is null or grid = $5)
                            and ($6::text is null or $6 = 'queued') and id not in (select id from claimed)
                          order by id limit $7
                      ) as queued)
                     union all
                     (select later.* from part, lateral (
                          select shard, id from job_later
                          where shard = part.shard and account_id = $1 and id > $3 and id < $8 and project_id = $4
                            and ($5::text is null or grid = $5) and ($6::text is null or $6 = 'waiting')
                          order by id limit $7
                      ) as later)
                 ) as unfinished order by id limit $7
             ), requested as (
                 insert into cancel_request (shard, account_id, id) select shard, $1, id from wanted on conflict do nothing
             )
             select shard, id from wanted order by id",
        ))
        .bind(account.0)
        .bind(shards(account))
        .bind(filter.after.0)
        .bind(filter.project.0)
        .bind(filter.grid.as_deref())
        .bind(filter.state.map(RunState::name))
        .bind(filter.limit)
        .bind(filter.before.0)
        .fetch_all(&self.durable)
        .await?;
        Ok(rows.into_iter().map(|(shard, run)| (Shard(shard), RunId(run))).collect())
    }

    /// The requests of some shards, in the order of their keys, those behind `after` alone.
    pub async fn cancel_requests(
        &self,
        shards: &[Shard],
        after: Option<CancelRequest>,
        limit: i64,
    ) -> Result<Vec<CancelRequest>> {
        let (shard, account, run) = after.map_or((-1, 0, 0), |one| (one.shard.0, one.account.0, one.run.0));
        let rows: Vec<RequestRow> = sqlx::query_as(
            "select shard, account_id, id from cancel_request
             where shard = any ($1) and (shard, account_id, id) > ($2, $3, $4)
             order by shard, account_id, id limit $5",
        )
        .bind(shards.iter().map(|shard| shard.0).collect::<Vec<i16>>())
        .bind(shard)
        .bind(account)
        .bind(run)
        .bind(limit)
        .fetch_all(&self.relaxed)
        .await?;
        Ok(rows.into_iter().map(read_request).collect())
    }

    /// Those of the runs that are not over, in one snapshot: a run on its way from one place to another is never missed.
    pub async fn runs_to_cancel(&self, requests: &[CancelRequest]) -> Result<Vec<UnfinishedRun>> {
        let (shards, accounts, ids) = columns(requests);
        let rows: Vec<UnfinishedRow> = sqlx::query_as(
            "select wanted.shard, wanted.account_id, wanted.id, coalesce(job.lane, job_later.lane),
                    coalesce(job.project_id, job_later.project_id), checkpoint.nodes
             from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as wanted (shard, account_id, id)
             left join lateral (
                 select queued.* from unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
                     select lane, project_id from job
                     where shard = wanted.shard and account_id = wanted.account_id and job.lane = line.lane and id = wanted.id
                     limit 1
                 ) as queued
             ) as job on true
             left join job_later on job_later.shard = wanted.shard and job_later.account_id = wanted.account_id
                                and job_later.id = wanted.id
             left join checkpoint on checkpoint.shard = wanted.shard and checkpoint.account_id = wanted.account_id
                                 and checkpoint.id = wanted.id
             where coalesce(job.project_id, job_later.project_id) is not null",
        )
        .bind(shards)
        .bind(accounts)
        .bind(ids)
        .fetch_all(&self.durable)
        .await?;
        let read = |(shard, account, run, lane, project, nodes)| {
            Ok(UnfinishedRun {
                request: read_request((shard, account, run)),
                lane: read_lane(lane)?,
                project: ProjectId(project),
                nodes,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Deletes requests that came too late: their runs are over. A run that is over never comes back.
    pub async fn delete_cancel_requests(&self, requests: &[CancelRequest]) -> Result<()> {
        let (shards, accounts, ids) = columns(requests);
        sqlx::query(
            "delete from cancel_request using unnest($1::smallint[], $2::bigint[], $3::bigint[]) as late (shard, account_id, id)
             where cancel_request.shard = late.shard and cancel_request.account_id = late.account_id
               and cancel_request.id = late.id",
        )
        .bind(shards)
        .bind(accounts)
        .bind(ids)
        .execute(&self.relaxed)
        .await?;
        Ok(())
    }
}
