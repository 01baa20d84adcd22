//! What a host costs while it is looked at: time on a CPU of it and of its database connections, statements, memory.
//!
//! Read from the system's `/proc` and from the extension pg_stat_statements, so it sees a host's process from outside.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use sqlx::PgPool;

/// Of the times in `/proc/<pid>/stat`: what Linux shows to programs, on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// What the Postgres must be started with.
pub fn postgres_settings() -> Vec<(String, String)> {
    vec![("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned())]
}

/// Looks at one host.
pub struct Watch {
    server: PgPool,
    database: String,
    process: u32,
    began: Footprint,
    at: Instant,
}

/// Counted from some time on.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    host_cpu: Duration,
    /// Of the server's processes that serve the host's connections.
    postgres_cpu: Duration,
    statements: u64,
}

/// What a host came to between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub statements_per_second: f64,
    /// Of one core, in percent.
    pub host_cpu_percent: f64,
    pub postgres_cpu_percent: f64,
    /// Resident memory at the end.
    pub resident_mb: f64,
}

impl Cost {
    pub fn cpu_percent(&self) -> f64 {
        self.host_cpu_percent + self.postgres_cpu_percent
    }
}

impl Watch {
    /// Begins to look at the host that is this process and uses this database. `server` is connected to another one.
    ///
    /// # Errors
    /// The process has ended, or Postgres does not count.
    pub async fn begin(server: &PgPool, database: &str, process: u32) -> anyhow::Result<Self> {
        sqlx::query("create extension if not exists pg_stat_statements").execute(server).await?;
        let began = Footprint::look(server, database, process).await?;
        Ok(Self { server: server.clone(), database: database.to_owned(), process, began, at: Instant::now() })
    }

    /// # Errors
    /// The process has ended, or Postgres does not count.
    pub async fn end(self) -> anyhow::Result<Cost> {
        let seconds = self.at.elapsed().as_secs_f64();
        let ended = Footprint::look(&self.server, &self.database, self.process).await?;
        let percent = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / seconds * 100.0;
        Ok(Cost {
            statements_per_second: (ended.statements - self.began.statements) as f64 / seconds,
            host_cpu_percent: percent(self.began.host_cpu, ended.host_cpu),
            postgres_cpu_percent: percent(self.began.postgres_cpu, ended.postgres_cpu),
            resident_mb: resident_mb(self.process)?,
        })
    }
}

impl Footprint {
    async fn look(server: &PgPool, database: &str, process: u32) -> anyhow::Result<Self> {
        let statements: i64 = sqlx::query_scalar(
            "select coalesce(sum(calls), 0)::bigint from pg_stat_statements join pg_database on oid = dbid where datname = $1",
        )
        .bind(database)
        .fetch_one(server)
        .await?;
        let backends: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity where datname = $1 and backend_type = 'client backend'",
        )
        .bind(database)
        .fetch_all(server)
        .await?;
        // A connection that was closed in the meantime is gone from the sum.
        let postgres_cpu = backends.iter().filter_map(|backend| cpu(backend.unsigned_abs()).ok()).sum();
        Ok(Self { host_cpu: cpu(process)?, postgres_cpu, statements: statements.unsigned_abs() })
    }
}

fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("a watched process has ended")?;
    cpu_of(&stat).with_context(|| format!("/proc/{process}/stat is not readable: {stat}"))
}

/// In user and system mode, from the text of a `stat` file.
fn cpu_of(stat: &str) -> Option<Duration> {
    // The name before the last parenthesis may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
}

fn resident_mb(process: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("a watched process has ended")?;
    resident_mb_of(&status).with_context(|| format!("/proc/{process}/status names no resident memory"))
}

fn resident_mb_of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_cpu_is_read_past_any_name() {
        let stat =
            "42 (a ) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 7 8 20 0 4 0 100 1000 200 18446744073709551615";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of("42 (a"), None);
    }

    #[test]
    fn resident_memory_is_in_millions_of_bytes() {
        assert_eq!(resident_mb_of("Name:\ttrellis\nVmHWM:\t  9 kB\nVmRSS:\t  125000 kB\n"), Some(128.0));
        assert_eq!(resident_mb_of("Name:\ttrellis\n"), None);
    }

    #[test]
    fn this_process_has_used_some_of_both() {
        let process = std::process::id();
        assert!(cpu(process).is_ok() && resident_mb(process).expect("it lives") > 1.0);
    }
}
