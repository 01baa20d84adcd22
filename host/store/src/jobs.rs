//! The queue: ingest, fetch, and who has work.

use sqlx::PgConnection;
use trellis_model::{AccountId, ClaimId, ProjectId, RevisionId, RunId, Shard};

use crate::{
    Database, Result,
    commit::Checkpoint,
    fail_point,
    shards::{Holding, columns},
};

/// An event to be committed to the queue.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub account: AccountId,
    pub run: RunId,
    pub project: ProjectId,
    pub revision: RevisionId,
    pub grid: std::sync::Arc<str>,
    /// [`trellis_model::run::Event`] as JSON.
    pub payload: Vec<u8>,
}

impl NewJob {
    pub fn shard(&self) -> Shard {
        Shard::of(self.account)
    }
}

/// How many jobs to fetch for one account, and from where on.
#[derive(Clone, Copy, Debug)]
pub struct FetchAccount {
    pub shard: Shard,
    pub account: AccountId,
    /// The run behind which to look.
    pub cursor: RunId,
    pub count: i64,
}

/// A job taken off the queue for running; its row stays until the run is finished.
#[derive(Clone, Debug)]
pub struct FetchedJob {
    pub shard: Shard,
    pub account: AccountId,
    pub run: RunId,
    pub project: ProjectId,
    pub revision: RevisionId,
    pub grid: String,
    pub lost_hosts: i16,
    pub is_resumed: bool,
    pub payload: Vec<u8>,
    /// The epoch that the shard was held under.
    pub epoch: i64,
    /// The claim that names this job.
    pub claim: ClaimId,
}

type JobRow = (i16, i64, i64, i64, i64, String, i16, bool, Vec<u8>, i64, i64);

impl Database {
    /// Commits a batch of events in one statement; when this returns, they are fsynced.
    pub async fn insert_jobs(&self, jobs: &[NewJob]) -> Result<()> {
        fail_point!("ingest-before-commit");
        let inserted = insert_jobs(&mut *self.durable.acquire().await?, jobs).await;
        fail_point!("ingest-after-commit");
        inserted
    }

    /// Fetches jobs by cursor, a few for each account, and notes in one claim a shard which ones. Takes no lock and
    /// changes no job. `in_flight` are runs of these accounts that lie behind a cursor but are being run already.
    pub async fn fetch_jobs(
        &self,
        holdings: &[Holding],
        accounts: &[FetchAccount],
        in_flight: &[RunId],
    ) -> Result<Vec<FetchedJob>> {
        let (held_shards, held_epochs) = columns(holdings);
        let shards: Vec<i16> = accounts.iter().map(|one| one.shard.0).collect();
        let ids: Vec<i64> = accounts.iter().map(|one| one.account.0).collect();
        let cursors: Vec<i64> = accounts.iter().map(|one| one.cursor.0).collect();
        let counts: Vec<i64> = accounts.iter().map(|one| one.count).collect();
        let rows: Vec<JobRow> = sqlx::query_as(
            "with fetched as materialized (
                 select job.* from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[])
                      as wanted (shard, account_id, cursor, count),
                 lateral (
                     select * from job
                     where job.shard = wanted.shard and job.account_id = wanted.account_id and job.id > wanted.cursor
                       and job.id <> all ($7::bigint[])
                     order by job.id limit wanted.count
                 ) as job
             ), claimed as (
                 insert into claim (shard, epoch, accounts, ids)
                 select fetched.shard, held.epoch, array_agg(fetched.account_id), array_agg(fetched.id)
                 from fetched join unnest($5::smallint[], $6::bigint[]) as held (shard, epoch) using (shard)
                 group by fetched.shard, held.epoch
                 returning shard, epoch, id
             )
             select fetched.shard, fetched.account_id, fetched.id, fetched.project_id, fetched.revision_id, fetched.grid,
                    fetched.lost_hosts, fetched.is_resumed, fetched.payload, claimed.epoch, claimed.id
             from fetched join claimed using (shard)",
        )
        .bind(shards)
        .bind(ids)
        .bind(cursors)
        .bind(counts)
        .bind(held_shards)
        .bind(held_epochs)
        .bind(in_flight.iter().map(|run| run.0).collect::<Vec<i64>>())
        .fetch_all(&self.relaxed)
        .await?;
        fail_point!("fetch-after-claim");
        Ok(rows.into_iter().map(read_job).collect())
    }

    /// Deletes the claims of these holdings that are none of `known`. Called by the one who fetches, when it has lost the
    /// answer to a fetch.
    pub async fn delete_unknown_claims(&self, holdings: &[Holding], known: &[ClaimId]) -> Result<()> {
        let (shards, epochs) = columns(holdings);
        sqlx::query(
            "delete from claim using unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch)
             where claim.shard = mine.shard and claim.epoch = mine.epoch and claim.id <> all ($3::bigint[])",
        )
        .bind(shards)
        .bind(epochs)
        .bind(known.iter().map(|claim| claim.0).collect::<Vec<i64>>())
        .execute(&self.relaxed)
        .await?;
        Ok(())
    }

    /// Which accounts have jobs: one index probe per shard and account, however many jobs an account has.
    pub async fn accounts_with_jobs(&self, shards: &[Shard]) -> Result<Vec<(Shard, AccountId)>> {
        let shards: Vec<i16> = shards.iter().map(|shard| shard.0).collect();
        let rows: Vec<(i16, i64)> = sqlx::query_as(
            "select mine.shard, active.account_id from unnest($1::smallint[]) as mine (shard),
             lateral (
                 with recursive active as (
                     (select account_id from job where shard = mine.shard order by account_id limit 1)
                     union all
                     select (select account_id from job where shard = mine.shard and account_id > active.account_id
                             order by account_id limit 1)
                     from active where active.account_id is not null
                 )
                 select account_id from active where account_id is not null
             ) as active",
        )
        .bind(shards)
        .fetch_all(&self.relaxed)
        .await?;
        Ok(rows.into_iter().map(|(shard, account)| (Shard(shard), AccountId(account))).collect())
    }

    /// The last checkpoint of a run that was begun before.
    pub async fn checkpoint(&self, shard: Shard, account: AccountId, run: RunId) -> Result<Option<Checkpoint>> {
        let row: Option<(i32, Vec<u8>)> =
            sqlx::query_as("select sequence, nodes from checkpoint where shard = $1 and account_id = $2 and id = $3")
                .bind(shard.0)
                .bind(account.0)
                .bind(run.0)
                .fetch_optional(&self.durable)
                .await?;
        Ok(row.map(|(sequence, nodes)| Checkpoint { sequence, nodes }))
    }
}

/// Inserts jobs in one statement, in whatever transaction the connection is in.
pub(crate) async fn insert_jobs(connection: &mut PgConnection, jobs: &[NewJob]) -> Result<()> {
    let count = jobs.len();
    let (mut shards, mut accounts, mut ids) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut projects, mut revisions, mut grids, mut payloads) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    for job in jobs {
        shards.push(job.shard().0);
        accounts.push(job.account.0);
        ids.push(job.run.0);
        projects.push(job.project.0);
        revisions.push(job.revision.0);
        grids.push(&*job.grid);
        payloads.push(job.payload.as_slice());
    }
    sqlx::query(
        "insert into job (shard, account_id, id, project_id, revision_id, grid, payload)
         select * from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bytea[])",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .bind(projects)
    .bind(revisions)
    .bind(grids)
    .bind(payloads)
    .execute(connection)
    .await?;
    Ok(())
}

fn read_job(
    (shard, account, id, project, revision, grid, lost_hosts, is_resumed, payload, epoch, claim): JobRow,
) -> FetchedJob {
    FetchedJob {
        shard: Shard(shard),
        account: AccountId(account),
        run: RunId(id),
        project: ProjectId(project),
        revision: RevisionId(revision),
        grid,
        lost_hosts,
        is_resumed,
        payload,
        epoch,
        claim: ClaimId(claim),
    }
}
