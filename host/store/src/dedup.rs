//! Keys of accepted events: an event that repeats another one is not accepted a second time.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use sqlx::PgConnection;
use trellis_model::{AccountId, RunId};

use crate::{
    Database, Result,
    jobs::{self, NewJob},
};

/// SHA-256.
pub type Digest = [u8; 32];

/// A key of an event that is to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct KeyClaim {
    /// Whose key it is: an index into the batch of jobs.
    pub job: usize,
    pub key: Digest,
    /// Of the event's data.
    pub payload: Digest,
    /// Another event under the same key must have the same data.
    pub is_strict: bool,
}

/// A key by which an event may be known.
#[derive(Clone, Copy, Debug)]
pub struct KnownAs {
    pub key: Digest,
    /// The event under this key must have the same data.
    pub is_strict: bool,
}

/// What has become of one event of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is a run of its own.
    New,
    /// It is the event of this run.
    Repeat(RunId),
    /// Its key belongs to an event with other data.
    KeyReused,
}

type KeyOfAccount = (AccountId, Digest);

impl Database {
    /// Commits those of a batch of events that repeat none, with their keys, in one transaction; when this returns, they are
    /// fsynced. No two of the claims have the same account and key. Of hosts that commit the same key at once, one waits for
    /// the other and then finds its run.
    pub async fn insert_jobs_once(
        &self,
        jobs: &[NewJob],
        claims: &[KeyClaim],
        retention: Duration,
    ) -> Result<Vec<Acceptance>> {
        let mut transaction = self.durable.begin().await?;
        let won = claim_keys(&mut transaction, jobs, claims, retention).await?;
        if won.len() == claims.len() {
            jobs::insert_jobs(&mut transaction, jobs).await?;
            transaction.commit().await?;
            return Ok(vec![Acceptance::New; jobs.len()]);
        }
        let mut acceptances = vec![Acceptance::New; jobs.len()];
        let is_won = |claim: &&KeyClaim| won.contains(&(jobs[claim.job].account, claim.key));
        let lost: Vec<&KeyClaim> = claims.iter().filter(|claim| !is_won(claim)).collect();
        judge(&mut transaction, jobs, &lost, &mut acceptances).await?;
        // An event that repeats another one leaves no key of its own.
        let is_new = |job: usize| acceptances[job] == Acceptance::New;
        let idle: Vec<KeyOfAccount> = claims
            .iter()
            .filter(|claim| is_won(claim) && !is_new(claim.job))
            .map(|claim| (jobs[claim.job].account, claim.key))
            .collect();
        release_keys(&mut transaction, &idle).await?;
        let new: Vec<NewJob> = (0..jobs.len()).filter(|job| is_new(*job)).map(|job| jobs[job].clone()).collect();
        if !new.is_empty() {
            jobs::insert_jobs(&mut transaction, &new).await?;
        }
        transaction.commit().await?;
        Ok(acceptances)
    }

    /// Whether an event with these keys was accepted before, as [`Database::insert_jobs_once`] would find. Writes nothing.
    pub async fn find_repeated(&self, account: AccountId, keys: &[KnownAs], payload: Digest) -> Result<Acceptance> {
        let rows: Vec<(Vec<u8>, i64, Vec<u8>)> = sqlx::query_as(
            "select key, run_id, payload from dedup
             where account_id = $1 and key = any ($2) and expires_at > clock_timestamp()",
        )
        .bind(account.0)
        .bind(keys.iter().map(|known| known.key.as_slice()).collect::<Vec<&[u8]>>())
        .fetch_all(&self.durable)
        .await?;
        let of = |known: &KnownAs| rows.iter().find(|(key, ..)| *key == known.key);
        let is_other = |known: &KnownAs| known.is_strict && of(known).is_some_and(|(_, _, data)| *data != payload);
        if keys.iter().any(is_other) {
            return Ok(Acceptance::KeyReused);
        }
        let run = keys.iter().find_map(of).map(|(_, run, _)| RunId(*run));
        Ok(run.map_or(Acceptance::New, Acceptance::Repeat))
    }

    /// Deletes keys that have expired, at most `limit` of them. Returns how many.
    pub async fn delete_expired_dedup(&self, limit: i64) -> Result<u64> {
        let deleted = sqlx::query(
            "delete from dedup where ctid = any (array(
                 select ctid from dedup where expires_at <= clock_timestamp()
                 order by expires_at limit $1 for update skip locked
             ))",
        )
        .bind(limit)
        .execute(&self.relaxed)
        .await?;
        Ok(deleted.rows_affected())
    }
}

/// Takes the keys that are free or have expired. In their order, so that no two batches wait for each other in a circle.
async fn claim_keys(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    claims: &[KeyClaim],
    retention: Duration,
) -> Result<HashSet<KeyOfAccount>> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "insert into dedup (account_id, key, run_id, payload, expires_at)
         select account_id, key, run_id, payload, clock_timestamp() + make_interval(secs => $5)
         from unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[]) as new (account_id, key, run_id, payload)
         order by account_id, key
         on conflict (account_id, key) do update
             set run_id = excluded.run_id, payload = excluded.payload, expires_at = excluded.expires_at
             where dedup.expires_at <= clock_timestamp()
         returning account_id, key",
    )
    .bind(claims.iter().map(|claim| jobs[claim.job].account.0).collect::<Vec<i64>>())
    .bind(claims.iter().map(|claim| claim.key.as_slice()).collect::<Vec<&[u8]>>())
    .bind(claims.iter().map(|claim| jobs[claim.job].run.0).collect::<Vec<i64>>())
    .bind(claims.iter().map(|claim| claim.payload.as_slice()).collect::<Vec<&[u8]>>())
    .bind(retention.as_secs_f64())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|(account, key)| Some((AccountId(account), key.try_into().ok()?))).collect())
}

/// Finds the runs that the keys belong to. A key that has expired and was deleted since it was asked for belongs to none:
/// its event is new.
async fn judge(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    lost: &[&KeyClaim],
    acceptances: &mut [Acceptance],
) -> Result<()> {
    let rows: Vec<(i64, Vec<u8>, i64, Vec<u8>)> = sqlx::query_as(
        "select dedup.account_id, dedup.key, dedup.run_id, dedup.payload
         from unnest($1::bigint[], $2::bytea[]) as lost (account_id, key) join dedup using (account_id, key)",
    )
    .bind(lost.iter().map(|claim| jobs[claim.job].account.0).collect::<Vec<i64>>())
    .bind(lost.iter().map(|claim| claim.key.as_slice()).collect::<Vec<&[u8]>>())
    .fetch_all(connection)
    .await?;
    let known: HashMap<(i64, Vec<u8>), (RunId, Vec<u8>)> =
        rows.into_iter().map(|(account, key, run, payload)| ((account, key), (RunId(run), payload))).collect();
    for claim in lost {
        let Some((run, payload)) = known.get(&(jobs[claim.job].account.0, claim.key.to_vec())) else { continue };
        let acceptance = &mut acceptances[claim.job];
        if claim.is_strict && *payload != claim.payload {
            *acceptance = Acceptance::KeyReused;
        } else if *acceptance == Acceptance::New {
            *acceptance = Acceptance::Repeat(*run);
        }
    }
    Ok(())
}

async fn release_keys(connection: &mut PgConnection, keys: &[KeyOfAccount]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from dedup using unnest($1::bigint[], $2::bytea[]) as idle (account_id, key)
         where dedup.account_id = idle.account_id and dedup.key = idle.key",
    )
    .bind(keys.iter().map(|(account, _)| account.0).collect::<Vec<i64>>())
    .bind(keys.iter().map(|(_, key)| key.as_slice()).collect::<Vec<&[u8]>>())
    .execute(connection)
    .await?;
    Ok(())
}
