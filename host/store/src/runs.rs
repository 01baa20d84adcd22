//! Runs: one of them whole, wherever it stands. Lists of them are in [`crate::run_list`].

use trellis_model::{AccountId, ProjectId, Queue, RevisionId, RunId, ids::SPREAD_MAX, run::RunState};

use crate::{Database, Result, StoreError};

/// SQL: the claims of hosts that have both the shard and a live lease. Others do not count: nothing is shown to be running
/// past its lease.
macro_rules! living_claims {
    () => {
        "claim join shard using (shard, epoch)
               join host on host.id = shard.owner and host.expires_at > clock_timestamp()"
    };
}
pub(crate) use living_claims;

/// SQL: whether a row of `job` is being run or waits to be.
macro_rules! job_state {
    () => {
        concat!(
            "case when exists (select from ",
            $crate::runs::living_claims!(),
            " where claim.shard = job.shard and job.id = any (claim.ids)) then 'running' else 'queued' end"
        )
    };
}

/// A run as a list shows it.
#[derive(Clone, Debug)]
pub struct RunSummary {
    pub run: RunId,
    pub project: ProjectId,
    pub project_name: String,
    pub revision: RevisionId,
    pub grid: String,
    pub state: RunState,
    /// Unix milliseconds; none while unfinished.
    pub started_at_ms: Option<i64>,
    pub ended_at_ms: Option<i64>,
    /// Unix milliseconds of a waiting run's next attempt.
    pub run_at_ms: Option<i64>,
    pub error: Option<String>,
    /// The last run that was made of this one.
    pub replayed_as: Option<RunId>,
}

/// A run whole.
#[derive(Clone, Debug)]
pub struct RunDetail {
    pub summary: RunSummary,
    /// [`trellis_model::run::Event`] as JSON.
    pub event: Vec<u8>,
    /// Array of [`trellis_model::run::NodeResult`] as JSON; of an unfinished run what its checkpoint holds.
    pub nodes: Option<Vec<u8>>,
}

/// A row that [`read_summary`] reads; times in Unix milliseconds.
#[derive(sqlx::FromRow)]
pub(crate) struct SummaryRow {
    id: i64,
    project_id: i64,
    project_name: Option<String>,
    revision_id: i64,
    grid: String,
    state: String,
    started_at_ms: Option<i64>,
    ended_at_ms: Option<i64>,
    run_at_ms: Option<i64>,
    error: Option<String>,
    replayed_as: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct DetailRow {
    #[sqlx(flatten)]
    summary: SummaryRow,
    event: Vec<u8>,
    nodes: Option<Vec<u8>>,
}

impl Database {
    /// One run of the account, wherever it stands. All three places are read in one snapshot, so that a run on its way
    /// from one to another is never missed.
    pub async fn run(&self, account: AccountId, run: RunId) -> Result<Option<RunDetail>> {
        let row: Option<DetailRow> = sqlx::query_as(concat!(
            "select run.*, project.name as project_name from (
                 select id, project_id, revision_id, grid, state,
                        (extract(epoch from started_at) * 1000)::bigint as started_at_ms,
                        (extract(epoch from ended_at) * 1000)::bigint as ended_at_ms,
                        null::bigint as run_at_ms, error, replayed_as, event, nodes
                 from run where account_id = $1 and id = $3
                 union all
                 select job.id, project_id, revision_id, grid, ",
            job_state!(),
            ", null, null, null, null, null, payload, checkpoint.nodes
                 from unnest(($2::smallint[])[1:(select spread_max from account where id = $1)]) as part (shard),
                 unnest('{0,1,2,3}'::smallint[]) as line (lane),
                 lateral (select * from job where shard = part.shard and account_id = $1 and lane = line.lane and id = $3
                          limit 1) as job
                 left join checkpoint using (shard, account_id, id)
                 union all
                 select job_later.id, project_id, revision_id, grid, 'waiting', null, null,
                        (extract(epoch from run_at) * 1000)::bigint, last_error, null, payload, checkpoint.nodes
                 from job_later left join checkpoint using (shard, account_id, id)
                 where job_later.shard = any (($2::smallint[])[1:(select spread_max from account where id = $1)])
                   and job_later.account_id = $1 and job_later.id = $3
             ) as run left join project on project.id = run.project_id",
        ))
        .bind(account.0)
        .bind(shards(account))
        .bind(run.0)
        // Planned with the values: the partition of one day is opened, not all of them.
        .persistent(false)
        .fetch_optional(&self.durable)
        .await?;
        row.map(|row| Ok(RunDetail { summary: read_summary(row.summary)?, event: row.event, nodes: row.nodes }))
            .transpose()
    }

    /// Where one run of the account stands, without what it carries.
    pub async fn run_state(&self, account: AccountId, run: RunId) -> Result<Option<(ProjectId, RunState)>> {
        let row: Option<(i64, String)> = sqlx::query_as(concat!(
            "select project_id, state from run where account_id = $1 and id = $3
             union all
             select project_id, ",
            job_state!(),
            " from unnest(($2::smallint[])[1:(select spread_max from account where id = $1)]) as part (shard),
             unnest('{0,1,2,3}'::smallint[]) as line (lane),
             lateral (select * from job where shard = part.shard and account_id = $1 and lane = line.lane and id = $3
                      limit 1) as job
             union all
             select project_id, 'waiting' from job_later
             where shard = any (($2::smallint[])[1:(select spread_max from account where id = $1)])
               and account_id = $1 and id = $3",
        ))
        .bind(account.0)
        .bind(shards(account))
        .bind(run.0)
        .persistent(false)
        .fetch_optional(&self.durable)
        .await?;
        row.map(|(project, state)| Ok((ProjectId(project), read_state(state)?))).transpose()
    }

    /// How many runs of the account stand in the queue or wait for their time; counted up to `most` of each.
    pub async fn unfinished_count(&self, account: AccountId, most: i64) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "with part as materialized (
                 select unnest(($2::smallint[])[1:(select spread_max from account where id = $1)]) as shard
             )
             select (select count(*) from (
                         select from part, lateral (
                             select from job where shard = part.shard and account_id = $1 order by lane, id limit $3
                         ) as job limit $3
                     ) as queued)
                  + (select count(*) from (
                         select from part, lateral (
                             select from job_later where shard = part.shard and account_id = $1 order by id limit $3
                         ) as later limit $3
                     ) as waiting)",
        )
        .bind(account.0)
        .bind(shards(account))
        .bind(most)
        .fetch_one(&self.durable)
        .await?)
    }
}

fn read_state(name: String) -> Result<RunState> {
    let state = RunState::ALL.into_iter().find(|state| state.name() == name);
    state.ok_or_else(|| StoreError::unreadable("run state", name))
}

/// The shards of all parts that an account can have, in their order: a statement takes as many of them as the account has
/// ever had, so that no job is overlooked after its spread was lowered.
pub(crate) fn shards(account: AccountId) -> Vec<i16> {
    Queue::parts(account, SPREAD_MAX).map(|queue| queue.shard.0).collect()
}

pub(crate) fn read_summary(row: SummaryRow) -> Result<RunSummary> {
    Ok(RunSummary {
        run: RunId(row.id),
        project: ProjectId(row.project_id),
        project_name: row.project_name.unwrap_or_default(),
        revision: RevisionId(row.revision_id),
        grid: row.grid,
        state: read_state(row.state)?,
        started_at_ms: row.started_at_ms,
        ended_at_ms: row.ended_at_ms,
        run_at_ms: row.run_at_ms,
        error: row.error,
        replayed_as: row.replayed_as.map(RunId),
    })
}
