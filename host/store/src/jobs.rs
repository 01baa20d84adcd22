//! The queue: ingest, and who has work.

use sqlx::PgConnection;
use trellis_model::{AccountId, ClaimId, Lane, Place, ProjectId, Queue, RevisionId, RunId, Shard};

use crate::{Database, Result, StoreError, commit::Checkpoint, fail_point, patient_pool::answered};

/// An event to be committed to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// See [`Place::shard`].
    pub shard: Shard,
    pub place: Place,
    pub account: AccountId,
    pub run: RunId,
    pub project: ProjectId,
    pub revision: RevisionId,
    pub grid: std::sync::Arc<str>,
    /// [`trellis_model::run::Event`] as JSON.
    pub payload: Vec<u8>,
}

impl NewJob {
    /// Gives the job the id of its run, and with it its shard. `spread`: on how many shards the jobs of its account are put.
    pub fn number(&mut self, run: RunId, spread: u8) {
        self.run = run;
        self.shard = self.place.shard(self.account, run, spread);
    }
}

/// A job taken off the queue for running; its row stays until the run is finished.
#[derive(Clone, Debug)]
pub struct FetchedJob {
    pub shard: Shard,
    pub account: AccountId,
    pub place: Place,
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

impl FetchedJob {
    pub fn queue(&self) -> Queue {
        Queue { shard: self.shard, account: self.account }
    }
}

impl Database {
    /// Commits a batch of events in one statement; when this returns, they are fsynced.
    pub async fn insert_jobs(&self, jobs: &[NewJob]) -> Result<()> {
        fail_point!("ingest-off", Ok(()));
        fail_point!("ingest-before-commit");
        let inserted = answered(async { insert_jobs(&mut *self.durable.acquire().await?, jobs).await }).await;
        fail_point!("ingest-after-commit");
        inserted
    }

    /// In which lanes of which queues jobs stand: one index probe for each, however many jobs there are.
    pub async fn queues_with_jobs(&self, shards: &[Shard]) -> Result<Vec<(Queue, Lane)>> {
        let shards: Vec<i16> = shards.iter().map(|shard| shard.0).collect();
        let rows: Vec<(i16, i64, i16)> = sqlx::query_as(
            "select mine.shard, active.account_id, active.lane from unnest($1::smallint[]) as mine (shard),
             lateral (
                 with recursive active as (
                     (select account_id, lane from job where shard = mine.shard order by account_id, lane limit 1)
                     union all
                     select next.account_id, next.lane from active, lateral (
                         select account_id, lane from job
                         where shard = mine.shard and (account_id, lane) > (active.account_id, active.lane)
                         order by account_id, lane limit 1
                     ) as next
                 )
                 select account_id, lane from active
             ) as active",
        )
        .bind(shards)
        .fetch_all(&self.relaxed)
        .await?;
        rows.into_iter().map(read_queue).collect()
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
    let (mut lanes, mut keys, mut key_runs_max) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut projects, mut revisions, mut grids, mut payloads) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    for job in jobs {
        shards.push(job.shard.0);
        lanes.push(job.place.lane.number());
        keys.push(job.place.key.map(|key| key.hash));
        key_runs_max.push(job.place.key.and_then(|key| key.runs_max));
        accounts.push(job.account.0);
        ids.push(job.run.0);
        projects.push(job.project.0);
        revisions.push(job.revision.0);
        grids.push(&*job.grid);
        payloads.push(job.payload.as_slice());
    }
    sqlx::query(
        "insert into job (shard, account_id, id, lane, concurrency_key, key_runs_max, project_id, revision_id, grid, payload)
         select * from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::bigint[], $6::int[],
                              $7::bigint[], $8::bigint[], $9::text[], $10::bytea[])",
    )
    .bind(shards)
    .bind(accounts)
    .bind(ids)
    .bind(lanes)
    .bind(keys)
    .bind(key_runs_max)
    .bind(projects)
    .bind(revisions)
    .bind(grids)
    .bind(payloads)
    .execute(connection)
    .await?;
    Ok(())
}

/// Shard, account and lane as a row has them.
pub(crate) fn read_queue((shard, account, lane): (i16, i64, i16)) -> Result<(Queue, Lane)> {
    Ok((Queue { shard: Shard(shard), account: AccountId(account) }, read_lane(lane)?))
}

pub(crate) fn read_lane(number: i16) -> Result<Lane> {
    Lane::from_number(number).ok_or_else(|| StoreError::unreadable("lane", number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_gets_another_number_goes_to_the_shard_of_that_number() {
        const SPREAD: u8 = 8;
        let mut job = NewJob {
            shard: Shard(0),
            place: Place::default(),
            account: AccountId(7),
            run: RunId(0),
            project: ProjectId(1),
            revision: RevisionId(1),
            grid: "main".into(),
            payload: Vec::new(),
        };
        let mut shards = std::collections::BTreeSet::new();
        for run in (1..100).map(RunId) {
            job.number(run, SPREAD);
            assert_eq!((job.run, job.shard), (run, Shard::of_part(job.account, run.part(SPREAD))));
            shards.insert(job.shard);
        }
        assert_eq!(shards.len(), usize::from(SPREAD), "numbers lie on all parts");
    }
}
