//! P6: throughput and start latency of new accounts, with a million jobs of another account waiting; against a host with
//! none, in turns.
//!
//! The other account is held to a few runs a minute, so that its jobs really wait: what is measured is what they cost, not
//! their share of the host.

use std::time::Duration;

use serde_json::json;
use trellis_model::window::{AccountLimits, WindowLimit};

use crate::{
    goal::{least, most},
    load::{Load, LoadPlan, Pace},
    measurement::Measurement,
    project::Project,
    rig::Rig,
    samples::Samples,
    subject::{PERMITS, Subject, SubjectOptions},
    waiting_jobs,
};

const WAITING_JOBS: u32 = 1_000_000;
/// One a second.
const WAITING_RUNS_A_MINUTE: u32 = 60;
const NEW_ACCOUNTS: usize = 8;
const CONNECTIONS: usize = 128;
/// Events that wait for their start at most: a few fetches of the scheduler.
const BACKLOG_EVENTS_MAX: u64 = 2_000;
/// For start latencies: the host has time to spare.
const EVENTS_A_SECOND: f64 = 100.0;
/// Turns of each side.
const TURNS: u32 = 4;
const WARM_UP: Duration = Duration::from_secs(1);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({ "stamp": true }));
    let options = SubjectOptions { accounts: NEW_ACCOUNTS, ..SubjectOptions::default() };
    let empty = Subject::start(rig, "backlog_none", &project, options).await?;
    let laden = Subject::start(rig, "backlog_million", &project, options).await?;
    lade(&laden, &project).await?;
    let (mut ours, mut other) = (Side::default(), Side::default());
    // Half of the time for throughput, half for start latency.
    let span = seconds / (2 * TURNS);
    for turn in 1..=TURNS {
        for (name, subject, side) in [("laden", &laden, &mut ours), ("empty", &empty, &mut other)] {
            side.full_turn(rig, subject, span).await?;
            side.light_turn(rig, subject, span).await?;
            let (rate, p50) = (side.rate(), side.starts.percentile_ms(50));
            eprintln!("backlog {turn}/{TURNS} {name}: {rate:.0} runs/s, started after {p50:.2} ms so far");
        }
    }
    laden.stop().await?;
    empty.stop().await?;
    let (start_p50, other_start_p50) = (ours.starts.percentile_ms(50), other.starts.percentile_ms(50));
    Ok(Measurement::new("P6", "runs/s", ours.rate(), ("the same without the waiting jobs", other.rate()))
        .taken(ours.span, usize::try_from(ours.runs)?)
        .with("waiting_jobs", WAITING_JOBS)
        .with("start_p50_ms", start_p50)
        .with("other_start_p50_ms", other_start_p50)
        .with("start_ratio", start_p50 / other_start_p50)
        .with("start_p99_ms", ours.starts.percentile_ms(99))
        .with("other_start_p99_ms", other.starts.percentile_ms(99))
        .aiming_at(&[least("ratio", 0.9), most("start_ratio", 1.1)]))
}

async fn lade(subject: &Subject, project: &Project) -> anyhow::Result<()> {
    let tenant = subject.add_tenant("laden", project).await?;
    let limits = AccountLimits {
        burst: WindowLimit::per_minute(WAITING_RUNS_A_MINUTE),
        long: WindowLimit::per_day(PERMITS),
        ..AccountLimits::default()
    };
    subject.tenants.limit(&subject.server.base_url, &tenant, limits).await?;
    waiting_jobs::queue(&subject.tables.pool, tenant.account, WAITING_JOBS).await
}

/// What a side has come to in all its turns.
#[derive(Default)]
struct Side {
    runs: u64,
    span: Duration,
    starts: Samples,
}

impl Side {
    fn rate(&self) -> f64 {
        self.runs as f64 / self.span.as_secs_f64()
    }

    /// As much as the host can keep up with.
    async fn full_turn(&mut self, rig: &Rig, subject: &Subject, span: Duration) -> anyhow::Result<()> {
        let newest = subject.tables.newest_run().await?;
        let pace = Pace::Backlog { events_max: BACKLOG_EVENTS_MAX, started: subject.started() };
        let plan = LoadPlan { targets: &subject.targets(), connections: CONNECTIONS, pace, keeps_runs: false };
        let load = Load::start(&rig.load, plan);
        tokio::time::sleep(WARM_UP).await;
        let begin = subject.tables.look(newest).await?;
        tokio::time::sleep(span).await;
        let end = subject.tables.look(newest).await?;
        let loaded = load.stop().await?;
        self.runs += end.ended - begin.ended;
        self.span += end.at - begin.at;
        subject.tables.drain(newest, loaded.accepted).await
    }

    /// A little, to see how soon it is started.
    async fn light_turn(&mut self, rig: &Rig, subject: &Subject, span: Duration) -> anyhow::Result<()> {
        let newest = subject.tables.newest_run().await?;
        let pace = Pace::Rate(EVENTS_A_SECOND);
        let plan = LoadPlan { targets: &subject.targets(), connections: NEW_ACCOUNTS, pace, keeps_runs: true };
        let load = Load::start(&rig.load, plan);
        tokio::time::sleep(span).await;
        let loaded = load.stop().await?;
        subject.tables.drain(newest, loaded.accepted).await?;
        self.starts.append(loaded.runs.start_latencies(&subject.tables.ended_runs(newest).await?, "node")?);
        Ok(())
    }
}
