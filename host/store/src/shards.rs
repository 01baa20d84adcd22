//! Shards: taking, releasing, and settling what a former owner left behind.

use trellis_model::{AccountId, RunId, Shard, run::LOST_HOSTS_MAX};
use uuid::Uuid;

use crate::{Database, Result};

/// A shard and the epoch it is held under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    pub shard: Shard,
    pub epoch: i64,
}

/// A run that too many hosts were lost with: to be buried by the new owner.
#[derive(Clone, Copy, Debug)]
pub struct Suspect {
    pub shard: Shard,
    pub account: AccountId,
    pub run: RunId,
}

/// Arrays of a batch of holdings, as statements take them.
pub(crate) fn columns(holdings: &[Holding]) -> (Vec<i16>, Vec<i64>) {
    holdings.iter().map(|holding| (holding.shard.0, holding.epoch)).unzip()
}

impl Database {
    /// Takes at most `count` shards that have no owner, and raises their epochs.
    pub async fn take_shards(&self, host: Uuid, count: i64) -> Result<Vec<Holding>> {
        let rows: Vec<(i16, i64)> = sqlx::query_as(
            "update shard set owner = $1, epoch = epoch + 1
             where shard in (select shard from shard where owner is null order by shard limit $2 for update skip locked)
               and exists (select from host where id = $1)
             returning shard, epoch",
        )
        .bind(host)
        .bind(count)
        .fetch_all(&self.durable)
        .await?;
        Ok(rows.into_iter().map(|(shard, epoch)| Holding { shard: Shard(shard), epoch }).collect())
    }

    /// Gives shards back. The caller has nothing in flight on them.
    pub async fn release_shards(&self, host: Uuid, holdings: &[Holding]) -> Result<()> {
        let (shards, epochs) = columns(holdings);
        sqlx::query(
            "update shard set owner = null from unnest($2::smallint[], $3::bigint[]) as mine (shard, epoch)
             where shard.shard = mine.shard and shard.epoch = mine.epoch and shard.owner = $1",
        )
        .bind(host)
        .bind(shards)
        .bind(epochs)
        .execute(&self.durable)
        .await?;
        Ok(())
    }

    /// Attributes a crash: every job that an earlier epoch had claimed counts one more lost host. Returns the jobs that
    /// have now lost too many. Called once for newly taken shards, before their first fetch.
    pub async fn settle_claims(&self, holdings: &[Holding]) -> Result<Vec<Suspect>> {
        let (shards, epochs) = columns(holdings);
        let rows: Vec<(i16, i64, i64, i16)> = sqlx::query_as(
            "with orphaned as (
                 delete from claim using unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch)
                 where claim.shard = mine.shard and claim.epoch < mine.epoch
                 returning claim.shard, claim.accounts, claim.ids
             ), running as (
                 select distinct orphaned.shard, u.account_id, u.id
                 from orphaned, unnest(orphaned.accounts, orphaned.ids) as u (account_id, id)
             )
             update job set lost_hosts = lost_hosts + 1, is_resumed = true from running
             where job.shard = running.shard and job.account_id = running.account_id and job.id = running.id
             returning job.shard, job.account_id, job.id, job.lost_hosts",
        )
        .bind(shards)
        .bind(epochs)
        .fetch_all(&self.durable)
        .await?;
        let too_many = rows.into_iter().filter(|(.., lost_hosts)| *lost_hosts >= LOST_HOSTS_MAX);
        Ok(too_many
            .map(|(shard, account, id, _)| Suspect { shard: Shard(shard), account: AccountId(account), run: RunId(id) })
            .collect())
    }

    /// Gives up this host's own claims at its stop: no lost host is counted. Called when nothing is in flight any more,
    /// finished or not.
    pub async fn release_claims(&self, holdings: &[Holding]) -> Result<()> {
        let (shards, epochs) = columns(holdings);
        sqlx::query(
            "with released as (
                 delete from claim using unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch)
                 where claim.shard = mine.shard and claim.epoch = mine.epoch
                 returning claim.shard, claim.accounts, claim.ids
             )
             update job set is_resumed = true
             from released, unnest(released.accounts, released.ids) as u (account_id, id)
             where job.shard = released.shard and job.account_id = u.account_id and job.id = u.id",
        )
        .bind(shards)
        .bind(epochs)
        .execute(&self.durable)
        .await?;
        Ok(())
    }
}
