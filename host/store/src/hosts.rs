//! Hosts and their leases. A host that lets its lease run out is deleted by whoever notices first.

use std::time::Duration;

use trellis_model::Shard;
use uuid::Uuid;

use crate::{
    Database, Result, StoreError, fail_point,
    shards::{Holding, columns},
};

/// Host numbers are eight bits of every run id.
const HOST_NUMBERS: u16 = 256;

/// SQL: deletes lost hosts and frees their shards. Here alone all claims of such a host are known, whoever settles them: if
/// one of its runs was running alone, the others are marked as excused. Answers with a row for each shard that was freed.
macro_rules! reaping {
    ($deleting:literal) => {
        concat!(
            "with lost as (",
            $deleting,
            "), freed as materialized (
                 select shard.shard, shard.epoch, shard.owner from shard where owner in (select id from lost)
             ), culprit as materialized (
                 select distinct freed.owner from freed join claim using (shard, epoch) where claim.is_alone
             ), excused as (
                 update claim set is_excused = true from freed join culprit using (owner)
                 where claim.shard = freed.shard and claim.epoch = freed.epoch and not claim.is_alone
             )
             update shard set owner = null from freed where shard.shard = freed.shard and shard.owner = freed.owner"
        )
    };
}

/// What a renewal found.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Hosts with a live lease that are not leaving; this one is counted in any case.
    pub live_hosts: i64,
    /// Shards without a living owner.
    pub free_shards: i64,
    /// Shards of this host, as the database sees it.
    pub own_shards: i64,
    /// When the first lease of another host runs out, if it is not renewed; zero when one has.
    pub next_expiry: Option<Duration>,
    /// Of the holdings that were asked for, those that the database knows nothing of: the shard is another's, or is held
    /// under another epoch. Nothing can be committed under them.
    pub void_holdings: Vec<Holding>,
    /// The database's clock, Unix milliseconds.
    pub now_ms: i64,
}

type RenewalRow = (i64, i64, i64, Option<f64>, Vec<i16>, Vec<i64>, i64);

impl Database {
    /// Registers a host under the smallest free number, which becomes part of the ids of the runs it accepts. Returns the
    /// number, and the database's clock in Unix milliseconds.
    pub async fn register_host(&self, host: Uuid, lease: Duration) -> Result<(u8, i64)> {
        for _ in 0..HOST_NUMBERS {
            let registered = sqlx::query_as::<_, (i16, i64)>(
                "insert into host (id, number, expires_at)
                 select $1, free.number, clock_timestamp() + make_interval(secs => $2)
                 from generate_series(0, 255) as free (number)
                 where not exists (select from host where host.number = free.number)
                 order by free.number limit 1
                 on conflict (number) do nothing
                 returning number, (extract(epoch from clock_timestamp()) * 1000)::bigint",
            )
            .bind(host)
            .bind(lease.as_secs_f64())
            .fetch_optional(&self.durable)
            .await?;
            if let Some((number, now_ms)) = registered {
                return Ok((u8::try_from(number).expect("the column is checked to be 0 to 255"), now_ms));
            }
            // Nothing inserted: another host took that number in the same moment, or none is free.
            if self.count_hosts().await? >= i64::from(HOST_NUMBERS) {
                break;
            }
        }
        Err(StoreError::NoHostNumber(HOST_NUMBERS))
    }

    async fn count_hosts(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from host").fetch_one(&self.durable).await?)
    }

    /// Extends the lease, from the database's time, and compares what the host holds with what the database says.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the host was deleted because its lease had run out.
    pub async fn renew_host(&self, host: Uuid, lease: Duration, holdings: &[Holding]) -> Result<Renewal> {
        let (shards, epochs) = columns(holdings);
        let row: Option<RenewalRow> = sqlx::query_as(
            "with renewed as (
                 update host set expires_at = clock_timestamp() + make_interval(secs => $2) where id = $1 returning id
             ), void as materialized (
                 select mine.shard, mine.epoch from unnest($3::smallint[], $4::bigint[]) as mine (shard, epoch)
                 left join shard using (shard, epoch) where shard.owner is distinct from $1
             )
             select (select count(*) from host where expires_at > clock_timestamp() and not is_leaving or id = $1),
                    (select count(*) from shard where owner is null or owner not in (select id from host)),
                    (select count(*) from shard where owner = $1),
                    (select extract(epoch from min(expires_at) - clock_timestamp())::float8 from host where id <> $1),
                    array(select shard from void order by shard), array(select epoch from void order by shard),
                    (extract(epoch from clock_timestamp()) * 1000)::bigint
             from renewed",
        )
        .bind(host)
        .bind(lease.as_secs_f64())
        .bind(shards)
        .bind(epochs)
        .fetch_optional(&self.relaxed)
        .await?;
        let (live_hosts, free_shards, own_shards, next_expiry, shards, epochs, now_ms) =
            row.ok_or(StoreError::Fenced)?;
        let next_expiry = next_expiry.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
        let void_holdings =
            shards.into_iter().zip(epochs).map(|(shard, epoch)| Holding { shard: Shard(shard), epoch }).collect();
        Ok(Renewal { live_hosts, free_shards, own_shards, next_expiry, void_holdings, now_ms })
    }

    /// Deletes hosts whose lease ran out and frees their shards. From then on nothing they still send can commit: their
    /// commits lock their host row, which is gone. A host in the middle of a commit is passed over: it is not waited for.
    pub async fn reap_expired_hosts(&self) -> Result<u64> {
        fail_point!("reap-off", Ok(0));
        let freed = sqlx::query(reaping!(
            "delete from host where id in (
                 select id from host where expires_at <= clock_timestamp() for update skip locked
             ) returning id"
        ))
        .execute(&self.durable)
        .await?;
        Ok(freed.rows_affected())
    }

    /// Deletes every host: for a database that is this process's alone, whose former hosts can only be dead.
    pub async fn reap_all_hosts(&self) -> Result<()> {
        sqlx::query(reaping!("delete from host returning id")).execute(&self.durable).await?;
        Ok(())
    }

    /// The first act of a graceful stop: the other hosts share out among themselves what this one gives back. Its lease goes
    /// on, for what it has still to commit.
    pub async fn announce_leaving(&self, host: Uuid) -> Result<()> {
        sqlx::query("update host set is_leaving = true where id = $1").bind(host).execute(&self.durable).await?;
        Ok(())
    }

    /// The last act of a graceful stop: shards are free at once.
    pub async fn deregister_host(&self, host: Uuid) -> Result<()> {
        fail_point!("deregister-off", Ok(()));
        sqlx::query(
            "with gone as (delete from host where id = $1 returning id)
             update shard set owner = null where owner in (select id from gone)",
        )
        .bind(host)
        .execute(&self.durable)
        .await?;
        Ok(())
    }
}
