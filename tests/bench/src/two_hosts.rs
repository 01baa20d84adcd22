//! P12: the throughput of two hosts on one Postgres, against one host on the same cores, in turns; and how soon the work
//! of a host that is killed goes on.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::bail;
use serde_json::json;
use trellis_model::ids::SHARD_COUNT;

use crate::{
    goal::{below, least},
    host_process::HostProcess,
    load::{Load, LoadPlan, Pace, Target},
    measurement::Measurement,
    project::{GRID, PROJECT, Project},
    rig::Rig,
    tables::{Tables, now},
    tenants::Tenants,
};

/// Enough for both hosts to have many.
const ACCOUNTS: usize = 32;
const CONNECTIONS: usize = 256;
/// Events that wait for their start at most: a few fetches of the scheduler.
const BACKLOG_EVENTS_MAX: u64 = 2_000;
/// While a host is killed.
const EVENTS_A_SECOND: f64 = 100.0;
/// Of a host, as it comes.
const LEASE: Duration = Duration::from_secs(10);
/// Turns of each side.
const TURNS: u32 = 3;
const WARM_UP: Duration = Duration::from_secs(1);
const BALANCED_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({ "stamp": true }));
    let mut one = Side::start(rig, "hosts_one", &project, 1).await?;
    let mut two = Side::start(rig, "hosts_two", &project, 2).await?;
    for turn in 1..=TURNS {
        for (name, side) in [("two hosts", &mut two), ("one host", &mut one)] {
            side.take_turn(rig, seconds / TURNS).await?;
            eprintln!("two-hosts {turn}/{TURNS} {name}: {:.0} runs/s so far", side.rate());
        }
    }
    eprintln!("two-hosts: killing one");
    let resumed_after = two.kill_one(rig).await?;
    let (ours, other) = (two.rate(), one.rate());
    let (span, runs) = (two.span, two.runs);
    one.stop().await?;
    two.stop().await?;
    Ok(Measurement::new("P12", "runs/s", ours, ("one host", other))
        .taken(span, usize::try_from(runs)?)
        .with("resumed_after_seconds", resumed_after.as_secs_f64())
        .with("lease_seconds", LEASE.as_secs_f64())
        .aiming_at(&[least("ratio", 0.95), below("resumed_after_seconds", LEASE.as_secs_f64())]))
}

struct Side {
    hosts: Vec<HostProcess>,
    tenants: Tenants,
    tables: Tables,
    /// In all turns.
    runs: u64,
    span: Duration,
}

impl Side {
    async fn start(rig: &Rig, name: &str, project: &Project, count: usize) -> anyhow::Result<Self> {
        let url = rig.database(name).await?;
        let tenants = Tenants::prepare(&url, ACCOUNTS).await?;
        let tables = Tables::open(&url, &tenants.accounts()).await?;
        let mut hosts = Vec::with_capacity(count);
        for number in 1..=count {
            hosts.push(HostProcess::start(rig, &url, &format!("{name}_{number}"), &tenants.accounts()).await?);
        }
        tenants.deploy_everywhere(&hosts[0].base_url, project).await?;
        let side = Self { hosts, tenants, tables, runs: 0, span: Duration::ZERO };
        side.wait_until_balanced().await?;
        Ok(side)
    }

    /// Each host has its even share of the shards.
    async fn wait_until_balanced(&self) -> anyhow::Result<()> {
        let until = Instant::now() + BALANCED_TIMEOUT;
        loop {
            let shares: Vec<i64> =
                sqlx::query_scalar("select count(*) from shard where owner is not null group by owner")
                    .fetch_all(&self.tables.pool)
                    .await?;
            let even = i64::from(SHARD_COUNT) / i64::try_from(self.hosts.len())?;
            if shares.len() == self.hosts.len() && shares.iter().all(|share| *share == even) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{} hosts have shares of {shares:?} shards after {BALANCED_TIMEOUT:?}", self.hosts.len());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn rate(&self) -> f64 {
        self.runs as f64 / self.span.as_secs_f64()
    }

    /// Every account through every host.
    fn targets(&self) -> Vec<Target> {
        let of_tenant = |tenant| self.hosts.iter().map(move |host| (tenant, host.address));
        let pairs = self.tenants.all.iter().flat_map(of_tenant);
        pairs.map(|(tenant, address)| tenant.target(address, PROJECT, GRID)).collect()
    }

    fn started(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let counts: Vec<_> = self.hosts.iter().map(HostProcess::started).collect();
        Arc::new(move || counts.iter().map(|count| count.load(Relaxed)).sum())
    }

    /// As much as the hosts can keep up with.
    async fn take_turn(&mut self, rig: &Rig, span: Duration) -> anyhow::Result<()> {
        let newest = self.tables.newest_run().await?;
        let pace = Pace::Backlog { events_max: BACKLOG_EVENTS_MAX, started: self.started() };
        let plan = LoadPlan { targets: &self.targets(), connections: CONNECTIONS, pace, keeps_runs: false };
        let load = Load::start(&rig.load, plan);
        tokio::time::sleep(WARM_UP).await;
        let begin = self.tables.look(newest).await?;
        tokio::time::sleep(span).await;
        let end = self.tables.look(newest).await?;
        let loaded = load.stop().await?;
        self.runs += end.ended - begin.ended;
        self.span += end.at - begin.at;
        self.tables.drain(newest, loaded.accepted).await
    }

    /// Kills one host while events come in through the other. Returns how long the last event had to wait for its start
    /// from when it was accepted, or from the kill if that came later.
    async fn kill_one(&mut self, rig: &Rig) -> anyhow::Result<Duration> {
        let newest = self.tables.newest_run().await?;
        let Some(victim) = self.hosts.pop() else { bail!("there is no host to kill") };
        let targets = self.targets();
        let plan = LoadPlan {
            targets: &targets,
            connections: targets.len(),
            pace: Pace::Rate(EVENTS_A_SECOND),
            keeps_runs: true,
        };
        let load = Load::start(&rig.load, plan);
        tokio::time::sleep(WARM_UP).await;
        victim.kill().await?;
        let killed_at = now();
        tokio::time::sleep(LEASE).await;
        let loaded = load.stop().await?;
        self.tables.drain(newest, loaded.accepted).await?;
        let mut longest = Duration::ZERO;
        for ended in self.tables.ended_runs(newest).await? {
            let waited_from = loaded.runs.accepted_at(ended.run)?.max(killed_at);
            longest = longest.max(ended.stamp("node")?.saturating_sub(waited_from));
        }
        Ok(longest)
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.tables.close().await;
        for host in self.hosts {
            host.stop().await?;
        }
        Ok(())
    }
}
