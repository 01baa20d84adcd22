//! Jobs that wait, many at a time: put into the queue by SQL, as if they had been accepted a while ago.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::value::RawValue;
use sqlx::PgPool;
use trellis_model::{AccountId, Shard, ids::RunIdSequence, run::Event};

use crate::{project::GRID, tables::now};

/// Of run ids that no host hands out: the last number is the last to be given to a host.
const HOST_NUMBER: u8 = 255;
/// Before now: ids that are made from now on come after these.
const AGE: Duration = Duration::from_secs(600);
const NOTICED_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Queues this many events for the account's project, with hardly any data, and waits until the host has begun with them.
///
/// # Errors
/// Postgres refuses, or the host does not notice them.
pub async fn queue(pool: &PgPool, account: AccountId, count: u32) -> anyhow::Result<()> {
    let event = Event { attributes: Vec::new(), data: RawValue::from_string("{}".to_owned())? };
    let accepted_ms = i64::try_from(now().saturating_sub(AGE).as_millis())?;
    let first = RunIdSequence::new(HOST_NUMBER).next(accepted_ms);
    eprintln!("queueing {count} jobs");
    // A millisecond holds 8,192 numbers of one host, in the lowest bits.
    sqlx::query(
        "insert into job (shard, account_id, id, project_id, revision_id, grid, payload)
         select $1, project.account_id, $3 + ((n / 8192) << 21) + n % 8192, project.id, project.current_revision_id, $4, $5
         from project, generate_series(0::bigint, $6 - 1) as n where project.account_id = $2",
    )
    .bind(Shard::of(account).0)
    .bind(account.0)
    .bind(first.0)
    .bind(GRID)
    .bind(serde_json::to_vec(&event)?)
    .bind(i64::from(count))
    .execute(pool)
    .await
    .context("cannot queue the waiting jobs")?;
    // What a server does by and by after so many rows is done now, and not while others are measured.
    sqlx::query("vacuum (analyze) job").execute(pool).await?;
    sqlx::query("checkpoint").execute(pool).await?;
    wait_until_noticed(pool, account).await
}

/// The host looks through its shards by itself every few seconds.
async fn wait_until_noticed(pool: &PgPool, account: AccountId) -> anyhow::Result<()> {
    let until = Instant::now() + NOTICED_TIMEOUT;
    while ended(pool, account).await? == 0 {
        if Instant::now() > until {
            bail!("the host has not begun with the waiting jobs after {NOTICED_TIMEOUT:?}");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Runs of the account that have ended.
///
/// # Errors
/// Postgres is away.
pub async fn ended(pool: &PgPool, account: AccountId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from run where account_id = $1").bind(account.0).fetch_one(pool).await
}

/// Jobs of the account that still wait.
///
/// # Errors
/// Postgres is away.
pub async fn waiting(pool: &PgPool, account: AccountId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from job where shard = $1 and account_id = $2")
        .bind(Shard::of(account).0)
        .bind(account.0)
        .fetch_one(pool)
        .await
}
