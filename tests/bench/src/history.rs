//! A long history, written by SQL as if its runs had ended over the last month: one account with half of all runs, a hundred
//! that share the rest, and one without any.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use trellis_model::{AccountId, ProjectId, RunId};

use crate::lists::accepted_before;

const DAYS: i32 = 30;
const SMALL_ACCOUNTS: i64 = 100;

/// What there is to be looked for.
pub struct History {
    /// With half of all runs.
    pub large: AccountId,
    /// With a two-hundredth of them.
    pub small: AccountId,
    pub empty: AccountId,
    /// Of the large account, with every tenth of its runs.
    pub project: ProjectId,
    /// The first id of a time that lies two thirds back.
    pub earlier: RunId,
}

impl History {
    /// The grid of nearly all runs.
    pub const COMMON: &str = "main";
    /// The grid of one run in a thousand.
    pub const RARE: &str = "rare";

    /// Writes this many runs into a database with a fresh schema.
    ///
    /// # Errors
    /// Postgres refuses, or has no room.
    pub async fn write(url: &str, runs: u64) -> anyhow::Result<Self> {
        let pool = PgPool::connect(url).await?;
        let accounts: Vec<i64> = sqlx::query_scalar(
            "insert into account (name) select 'account-' || n from generate_series(0, $1 + 1) as n returning id",
        )
        .bind(SMALL_ACCOUNTS)
        .fetch_all(&pool)
        .await?;
        let projects: Vec<i64> = sqlx::query_scalar(
            "insert into project (account_id, name)
             select account_id, name from unnest($1::bigint[]) as account_id, unnest(array['one', 'other']) as name
             order by account_id, name returning id",
        )
        .bind(&accounts)
        .fetch_all(&pool)
        .await?;
        let a_day = i64::try_from(runs)? / i64::from(DAYS);
        for days_ago in (0..DAYS).rev() {
            eprintln!("lists: writing {a_day} runs of {days_ago} days ago");
            write_day(&pool, &accounts, &projects, days_ago, a_day).await?;
        }
        eprintln!("lists: vacuum");
        sqlx::query("vacuum (analyze) run").execute(&pool).await?;
        sqlx::query("checkpoint").execute(&pool).await?;
        pool.close().await;
        let account = |index: usize| accounts.get(index).copied().map(AccountId).context("too few accounts");
        Ok(Self {
            large: account(0)?,
            small: account(1)?,
            empty: account(accounts.len() - 1)?,
            project: projects.get(1).copied().map(ProjectId).context("too few projects")?,
            earlier: accepted_before(Duration::from_secs(86_400) * DAYS.unsigned_abs() * 2 / 3)?,
        })
    }
}

/// As many runs, evenly over the day; of today, over what has passed of it.
async fn write_day(pool: &PgPool, accounts: &[i64], projects: &[i64], days_ago: i32, runs: i64) -> anyhow::Result<()> {
    sqlx::query("select make_run_day((now() at time zone 'UTC')::date - $1)").bind(days_ago).execute(pool).await?;
    sqlx::query(
        "insert into run (account_id, id, project_id, revision_id, grid, state, started_at, error, event, nodes)
         select ($1::bigint[])[of.account], run_id_at(begin + n * (until - begin) / $4) + n % 8192,
                ($2::bigint[])[2 * of.account - 1 + (n % 20 = 0)::int], 1,
                case when n % 1000 = 0 then $5 else $6 end,
                case when n % 100 < 2 then 'dead' else 'succeeded' end, begin,
                case when n % 100 < 2 then 'node `check` failed: no such order' end,
                '{\"attributes\":[],\"data\":null}', convert_to(rpad('[', 300) || ']', 'UTF8')
         from generate_series(0::bigint, $4 - 1) as n,
              lateral (select case when n % 2 = 0 then 1 else 2 + (n / 2) % $7 end as account) as of,
              lateral (select ((now() at time zone 'UTC')::date - $3)::timestamp at time zone 'UTC' as begin) as day,
              lateral (select least(now(), begin + interval '1 day') as until) as ended",
    )
    .bind(accounts)
    .bind(projects)
    .bind(days_ago)
    .bind(runs)
    .bind(History::RARE)
    .bind(History::COMMON)
    .bind(SMALL_ACCOUNTS)
    .execute(pool)
    .await
    .with_context(|| format!("cannot write the runs of {days_ago} days ago"))?;
    Ok(())
}
