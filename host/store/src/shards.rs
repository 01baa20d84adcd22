//! Shards: taking, releasing, and settling what a former owner left behind.

use sqlx::PgConnection;
use trellis_model::{AccountId, ClaimId, RunId, Shard, run::LOST_HOSTS_SUSPECT};
use uuid::Uuid;

use crate::{Database, Result, fail_point, patient_pool::answered};

/// A shard and the epoch it is held under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    pub shard: Shard,
    pub epoch: i64,
}

/// Arrays of a batch of holdings, as statements take them.
pub(crate) fn columns(holdings: &[Holding]) -> (Vec<i16>, Vec<i64>) {
    holdings.iter().map(|holding| (holding.shard.0, holding.epoch)).unzip()
}

impl Database {
    /// Takes at most `count` shards that have no living owner, and raises their epochs. `held` are those that this host
    /// knows to be its own: what the database says besides is taken anew, for it is the rest of an answer that was lost.
    pub async fn take_shards(&self, host: Uuid, held: &[Shard], count: i64) -> Result<Vec<Holding>> {
        let rows: Vec<(i16, i64)> = sqlx::query_as(
            "with living as materialized (
                 select id from host where id = $1 for key share
             ), free as (
                 select shard from shard
                 where owner is null or (owner = $1 and shard <> all ($2)) or owner not in (select id from host)
                 order by shard limit $3 for update skip locked
             )
             update shard set owner = living.id, epoch = epoch + 1 from living
             where shard.shard in (select shard from free)
             returning shard.shard, shard.epoch",
        )
        .bind(host)
        .bind(held.iter().map(|shard| shard.0).collect::<Vec<i16>>())
        .bind(count)
        .fetch_all(&self.durable)
        .await?;
        fail_point!("take-shards-after");
        Ok(rows.into_iter().map(|(shard, epoch)| Holding { shard: Shard(shard), epoch }).collect())
    }

    /// Gives back whatever the database has as this host's besides `held`: nothing is in flight there, for the host does not
    /// know that it is its own.
    pub async fn release_unknown_shards(&self, host: Uuid, held: &[Shard]) -> Result<()> {
        sqlx::query("update shard set owner = null where owner = $1 and shard <> all ($2)")
            .bind(host)
            .bind(held.iter().map(|shard| shard.0).collect::<Vec<i16>>())
            .execute(&self.durable)
            .await?;
        Ok(())
    }

    /// Gives shards back, and the claims that were settled but not deleted with them. The caller has nothing in flight on
    /// them.
    pub async fn release_shards(&self, host: Uuid, holdings: &[Holding]) -> Result<()> {
        answered(self.release_at_once(host, holdings)).await
    }

    async fn release_at_once(&self, host: Uuid, holdings: &[Holding]) -> Result<()> {
        let (shards, epochs) = columns(holdings);
        fail_point!("deregister-off", Ok(()));
        fail_point!("release-before");
        let mut transaction = self.durable.begin().await?;
        release_claims(&mut transaction, holdings).await?;
        sqlx::query(
            "update shard set owner = null from unnest($2::smallint[], $3::bigint[]) as mine (shard, epoch)
             where shard.shard = mine.shard and shard.epoch = mine.epoch and shard.owner = $1",
        )
        .bind(host)
        .bind(shards)
        .bind(epochs)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        fail_point!("release-after");
        Ok(())
    }

    // A claim does not say in which lane a job stands. One probe in each lane is cheap; what the planner makes of a condition
    // on the other columns of the key is now and then a walk through the whole queue.

    /// Attributes a crash: every job that an earlier epoch had claimed counts one more lost host. Suspects count none that are
    /// excused, because their host ran another one alone: see [`LOST_HOSTS_SUSPECT`]. Whoever deleted the host has marked
    /// them, for the claims of one host may be settled by several. Called once for newly taken shards, before their first
    /// fetch.
    pub async fn settle_claims(&self, holdings: &[Holding]) -> Result<()> {
        let (shards, epochs) = columns(holdings);
        sqlx::query(
            "with orphaned as (
                 delete from claim using unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch)
                 where claim.shard = mine.shard and claim.epoch < mine.epoch
                 returning claim.shard, claim.accounts, claim.ids, claim.is_alone, claim.is_excused
             ), running as (
                 select orphaned.shard, u.account_id, u.id,
                        bool_or(orphaned.is_excused) and not bool_or(orphaned.is_alone) as is_excused
                 from orphaned, unnest(orphaned.accounts, orphaned.ids) as u (account_id, id)
                 group by orphaned.shard, u.account_id, u.id
             ), found as materialized (
                 select job.at, running.is_excused
                 from running, unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
                     select ctid as at from job
                     where job.shard = running.shard and job.account_id = running.account_id and job.lane = line.lane
                       and job.id = running.id
                     limit 1
                 ) as job
             )
             update job set is_resumed = true,
                    lost_hosts = lost_hosts + case when found.is_excused and lost_hosts >= $3 then 0 else 1 end
             from found where job.ctid = found.at",
        )
        .bind(shards)
        .bind(epochs)
        .bind(LOST_HOSTS_SUSPECT)
        .execute(&self.durable)
        .await?;
        fail_point!("settle-after");
        Ok(())
    }

    /// Notes that a suspect is running now; it is claimed already, like everything that was fetched.
    pub async fn claim_alone(&self, holding: Holding, account: AccountId, run: RunId) -> Result<ClaimId> {
        let id = sqlx::query_scalar(
            "insert into claim (shard, epoch, accounts, ids, is_alone) values ($1, $2, array[$3], array[$4], true) returning id",
        )
        .bind(holding.shard.0)
        .bind(holding.epoch)
        .bind(account.0)
        .bind(run.0)
        .fetch_one(&self.relaxed)
        .await?;
        Ok(ClaimId(id))
    }

    /// Gives up this host's own claims: no lost host is counted. Called at its stop, when nothing is in flight any more,
    /// finished or not, and when what is in flight can no longer be committed though the host lives.
    pub async fn release_claims(&self, holdings: &[Holding]) -> Result<()> {
        answered(async { release_claims(&mut *self.durable.acquire().await?, holdings).await }).await
    }
}

async fn release_claims(connection: &mut PgConnection, holdings: &[Holding]) -> Result<()> {
    fail_point!("release-claims-off", Ok(()));
    let (shards, epochs) = columns(holdings);
    sqlx::query(
        "with released as (
             delete from claim using unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch)
             where claim.shard = mine.shard and claim.epoch = mine.epoch
             returning claim.shard, claim.accounts, claim.ids
         ), found as materialized (
             select job.at
             from released, unnest(released.accounts, released.ids) as u (account_id, id),
             unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
                 select ctid as at from job
                 where job.shard = released.shard and job.account_id = u.account_id and job.lane = line.lane and job.id = u.id
                 limit 1
             ) as job
         )
         update job set is_resumed = true from found where job.ctid = found.at",
    )
    .bind(shards)
    .bind(epochs)
    .execute(connection)
    .await?;
    Ok(())
}
