//! Fetching: jobs are read by cursor or by key, without a lock and without changing them; one claim a shard notes which.

use sqlx::{Postgres, postgres::PgArguments, query::QueryAs};
use trellis_model::{AccountId, ClaimId, ConcurrencyKey, Lane, Place, ProjectId, Queue, RevisionId, RunId, Shard};

use crate::{
    Database, Result, fail_point,
    jobs::{FetchedJob, read_lane},
    shards::{Holding, columns},
};

/// How many jobs to fetch of one lane, and from where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLane {
    pub queue: Queue,
    pub lane: Lane,
    /// The run behind which to look.
    pub cursor: RunId,
    pub count: i64,
}

/// Which keys of a queue to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindKeys {
    pub queue: Queue,
    /// The key behind which to look.
    pub cursor: i64,
    pub count: i64,
}

/// A key that jobs stand behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundKey {
    pub queue: Queue,
    pub key: ConcurrencyKey,
    /// A run that waits for its time holds the key.
    pub is_held: bool,
}

/// How many jobs to fetch of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchKey {
    pub queue: Queue,
    /// See [`ConcurrencyKey::hash`].
    pub hash: i64,
    pub count: i64,
}

/// What every fetch must know.
#[derive(Clone, Copy, Debug)]
pub struct FetchTerms<'t> {
    pub holdings: &'t [Holding],
    /// Runs that would be found but are being run already.
    pub in_flight: &'t [RunId],
    /// No job is taken any more when the payloads before it come to this, in bytes.
    pub bytes_max: i64,
}

#[derive(sqlx::FromRow)]
struct JobRow {
    shard: i16,
    account_id: i64,
    lane: i16,
    concurrency_key: Option<i64>,
    key_runs_max: Option<i32>,
    id: i64,
    project_id: i64,
    revision_id: i64,
    grid: String,
    lost_hosts: i16,
    is_resumed: bool,
    payload: Vec<u8>,
    epoch: i64,
    claim_id: i64,
}

/// Claims the candidates, as long as their payloads are not too much at once. `$1` and `$2` are the holdings, `$3` the runs
/// in flight, `$4` the bytes; a candidate is a job with the position of its lane or key in the request.
macro_rules! claiming {
    ($candidates:literal) => {
        concat!(
            "with candidate as (",
            $candidates,
            "), weighed as (
                 select *, sum(octet_length(payload)) over (
                     order by position, id rows between unbounded preceding and 1 preceding
                 ) as bytes_before
                 from candidate
             ), fetched as materialized (
                 select * from weighed where coalesce(bytes_before, 0) < $4
             ), claimed as (
                 insert into claim (shard, epoch, accounts, ids)
                 select fetched.shard, held.epoch, array_agg(fetched.account_id), array_agg(fetched.id)
                 from fetched join unnest($1::smallint[], $2::bigint[]) as held (shard, epoch) using (shard)
                 group by fetched.shard, held.epoch
                 returning shard, epoch, id
             )
             select fetched.shard, fetched.account_id, fetched.lane, fetched.concurrency_key, fetched.key_runs_max, fetched.id,
                    fetched.project_id, fetched.revision_id, fetched.grid, fetched.lost_hosts, fetched.is_resumed,
                    fetched.payload, claimed.epoch, claimed.id as claim_id
             from fetched join claimed using (shard) order by fetched.position, fetched.id"
        )
    };
}

/// By cursor: what lies before it was fetched already.
const FETCH_LANES: &str = claiming!(
    "select wanted.position, job.*
     from unnest($5::smallint[], $6::bigint[], $7::smallint[], $8::bigint[], $9::bigint[])
          with ordinality as wanted (shard, account_id, lane, cursor, count, position),
     lateral (
         select * from job
         where job.shard = wanted.shard and job.account_id = wanted.account_id and job.lane = wanted.lane
           and job.id > wanted.cursor and job.id not in (select unnest($3::bigint[]))
         order by job.id limit wanted.count
     ) as job"
);

/// By key: what was begun before first, and else the oldest.
const FETCH_KEYS: &str = claiming!(
    "select wanted.position, job.*
     from unnest($5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[])
          with ordinality as wanted (shard, account_id, concurrency_key, count, position),
     lateral (
         select * from job
         where job.shard = wanted.shard and job.account_id = wanted.account_id
           and job.concurrency_key = wanted.concurrency_key and job.id not in (select unnest($3::bigint[]))
         order by (not job.is_resumed), job.id limit wanted.count
     ) as job"
);

impl Database {
    /// Fetches jobs by cursor, a few of each lane.
    pub async fn fetch_jobs(&self, terms: FetchTerms<'_>, lanes: &[FetchLane]) -> Result<Vec<FetchedJob>> {
        let (shards, accounts) = queue_columns(lanes.iter().map(|one| one.queue));
        let rows = bind_terms(sqlx::query_as(FETCH_LANES), terms)
            .bind(shards)
            .bind(accounts)
            .bind(lanes.iter().map(|one| one.lane.number()).collect::<Vec<i16>>())
            .bind(lanes.iter().map(|one| one.cursor.0).collect::<Vec<i64>>())
            .bind(lanes.iter().map(|one| one.count).collect::<Vec<i64>>());
        let rows = rows.fetch_all(&self.relaxed).await?;
        fail_point!("fetch-after-claim");
        rows.into_iter().map(read_job).collect()
    }

    /// Fetches the next jobs of some keys.
    pub async fn fetch_jobs_of_keys(&self, terms: FetchTerms<'_>, keys: &[FetchKey]) -> Result<Vec<FetchedJob>> {
        let (shards, accounts) = queue_columns(keys.iter().map(|one| one.queue));
        let rows = bind_terms(sqlx::query_as(FETCH_KEYS), terms)
            .bind(shards)
            .bind(accounts)
            .bind(keys.iter().map(|one| one.hash).collect::<Vec<i64>>())
            .bind(keys.iter().map(|one| one.count).collect::<Vec<i64>>());
        let rows = rows.fetch_all(&self.relaxed).await?;
        fail_point!("fetch-after-claim");
        rows.into_iter().map(read_job).collect()
    }

    /// The next keys of some queues that jobs stand behind, in the order of the request and of the keys: one index probe for
    /// each, however many jobs it has. Writes nothing.
    pub async fn find_keys(&self, wanted: &[FindKeys]) -> Result<Vec<FoundKey>> {
        let (shards, accounts) = queue_columns(wanted.iter().map(|one| one.queue));
        let rows: Vec<(i16, i64, i64, Option<i32>, bool)> = sqlx::query_as(
            "select wanted.shard, wanted.account_id, key.concurrency_key, key.key_runs_max,
                    key.key_runs_max is null and exists (
                        select from job_later as later where later.shard = wanted.shard
                          and later.account_id = wanted.account_id and later.concurrency_key = key.concurrency_key
                    )
             from unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[])
                  with ordinality as wanted (shard, account_id, cursor, count, position),
             lateral (
                 with recursive key as (
                     (select concurrency_key, key_runs_max, 1 as number from job
                      where shard = wanted.shard and account_id = wanted.account_id and concurrency_key > wanted.cursor
                      order by concurrency_key, (not is_resumed), id limit 1)
                     union all
                     select next.concurrency_key, next.key_runs_max, key.number + 1 from key, lateral (
                         select concurrency_key, key_runs_max from job
                         where shard = wanted.shard and account_id = wanted.account_id
                           and concurrency_key > key.concurrency_key
                         order by concurrency_key, (not is_resumed), id limit 1
                     ) as next
                     where key.number < wanted.count
                 )
                 select * from key
             ) as key
             order by wanted.position, key.number",
        )
        .bind(shards)
        .bind(accounts)
        .bind(wanted.iter().map(|one| one.cursor).collect::<Vec<i64>>())
        .bind(wanted.iter().map(|one| one.count).collect::<Vec<i64>>())
        .fetch_all(&self.relaxed)
        .await?;
        let read = |(shard, account, hash, runs_max, is_held): (i16, i64, i64, Option<i32>, bool)| FoundKey {
            queue: Queue { shard: Shard(shard), account: AccountId(account) },
            key: ConcurrencyKey { hash, runs_max },
            is_held,
        };
        Ok(rows.into_iter().map(read).collect())
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
}

fn queue_columns(queues: impl Iterator<Item = Queue>) -> (Vec<i16>, Vec<i64>) {
    queues.map(|queue| (queue.shard.0, queue.account.0)).unzip()
}

type JobQuery<'q> = QueryAs<'q, Postgres, JobRow, PgArguments>;

fn bind_terms<'q>(query: JobQuery<'q>, terms: FetchTerms<'_>) -> JobQuery<'q> {
    let (shards, epochs) = columns(terms.holdings);
    let in_flight: Vec<i64> = terms.in_flight.iter().map(|run| run.0).collect();
    query.bind(shards).bind(epochs).bind(in_flight).bind(terms.bytes_max)
}

fn read_job(row: JobRow) -> Result<FetchedJob> {
    let key = row.concurrency_key.map(|hash| ConcurrencyKey { hash, runs_max: row.key_runs_max });
    Ok(FetchedJob {
        shard: Shard(row.shard),
        account: AccountId(row.account_id),
        place: Place { lane: read_lane(row.lane)?, key },
        run: RunId(row.id),
        project: ProjectId(row.project_id),
        revision: RevisionId(row.revision_id),
        grid: row.grid,
        lost_hosts: row.lost_hosts,
        is_resumed: row.is_resumed,
        payload: row.payload,
        epoch: row.epoch,
        claim: ClaimId(row.claim_id),
    })
}
