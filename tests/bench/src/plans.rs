//! How Postgres has found what it was asked for: plans with their real times, as auto_explain writes them into the server's
//! log. So a statement is explained as the host sends it, and the host need not know.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use sqlx::PgPool;

use crate::rig::Rig;

const WRITTEN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// What only the first line of a plan has.
const FIRST_LINE: &str = "  (cost=";

pub struct Plans {
    server: PgPool,
    database: String,
    log: PathBuf,
}

impl Plans {
    /// Of the statements in one database.
    ///
    /// # Errors
    /// This Postgres has no auto_explain.
    pub async fn of(rig: &Rig, database: &str) -> anyhow::Result<Self> {
        let server = rig.server_view().await?;
        sqlx::query("load 'auto_explain'").execute(&server).await.context(
            "this Postgres lacks auto_explain (Debian: in postgresql-15, elsewhere often postgresql-contrib)",
        )?;
        Ok(Self { server, database: database.to_owned(), log: rig.postgres_log() })
    }

    /// Whether the statements of connections that are opened from now on are explained.
    ///
    /// # Errors
    /// Postgres refuses.
    pub async fn switch(&self, on: bool) -> anyhow::Result<()> {
        let settings = [
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_buffers", "on"),
        ];
        for (name, value) in settings {
            let value = if on { format!("= '{value}'") } else { "to default".to_owned() };
            let statement = format!("alter database {} set {name} {value}", self.database);
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&self.server).await?;
        }
        Ok(())
    }

    /// The end of the log: what is written from now on lies behind it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn mark(&self) -> anyhow::Result<u64> {
        Ok(std::fs::metadata(&self.log).with_context(|| format!("no log at {}", self.log.display()))?.len())
    }

    /// The plans behind a mark of statements that read history; there is at least one.
    ///
    /// # Errors
    /// None is written.
    pub async fn since(&self, mark: u64) -> anyhow::Result<Vec<String>> {
        let until = Instant::now() + WRITTEN_TIMEOUT;
        loop {
            let mut log = File::open(&self.log)?;
            log.seek(SeekFrom::Start(mark))?;
            let mut text = String::new();
            log.read_to_string(&mut text)?;
            let plans = plans(&text);
            if !plans.is_empty() {
                return Ok(plans);
            }
            if Instant::now() > until {
                bail!("Postgres has written no plan after {WRITTEN_TIMEOUT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The plans in a part of a log that read history: an entry's first line has the time, the statement follows, and then the
/// plan; all lines but the first are indented by a tab.
fn plans(log: &str) -> Vec<String> {
    let mut plans: Vec<String> = Vec::new();
    let (mut first, mut is_plan) = ("", false);
    for line in log.lines() {
        let Some(inner) = line.strip_prefix('\t') else {
            (first, is_plan) = (line.split_once("duration: ").map_or("", |(_, rest)| rest), false);
            continue;
        };
        if !first.is_empty() && !is_plan && inner.contains(FIRST_LINE) {
            is_plan = true;
            plans.push(first.to_owned());
        }
        if is_plan && let Some(plan) = plans.last_mut() {
            plan.push('\n');
            plan.push_str(inner);
        }
    }
    plans.retain(|plan| plan.contains("run_d"));
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_what_follows_the_statement_in_its_entry() {
        let log = "2026-01-01 UTC [1] LOG:  duration: 1.250 ms  plan:\n\
                   \tQuery Text: select *\n\
                   \t     from run\n\
                   \tLimit  (cost=0.43..8.45 rows=1) (actual time=0.1..0.2)\n\
                   \t  ->  Index Scan using run_day_20260101_pkey on run_day_20260101  (cost=0.43..8.45 rows=1)\n\
                   2026-01-01 UTC [1] LOG:  duration: 0.100 ms  plan:\n\
                   \tQuery Text: select 1\n\
                   \tResult  (cost=0.00..0.01 rows=1)\n\
                   2026-01-01 UTC [1] LOG:  checkpoint starting\n\
                   \tnothing of a plan  (cost=\n";
        assert_eq!(
            plans(log),
            ["1.250 ms  plan:\n\
              Limit  (cost=0.43..8.45 rows=1) (actual time=0.1..0.2)\n  \
              ->  Index Scan using run_day_20260101_pkey on run_day_20260101  (cost=0.43..8.45 rows=1)"]
        );
    }
}
