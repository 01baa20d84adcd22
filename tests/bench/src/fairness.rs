//! P7: how soon the events of 500 quiet accounts are started while another account floods the host; against the same
//! without the flood.
//!
//! The flood is a queue full of jobs that the host may run as fast as it can, so that it, and not the load, is what the
//! quiet accounts have to compete with.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::{
    goal::most,
    load::{Load, LoadPlan, Pace},
    measurement::Measurement,
    project::Project,
    rig::Rig,
    samples::Samples,
    subject::{Subject, SubjectOptions},
    waiting_jobs,
};

const QUIET_ACCOUNTS: usize = 500;
/// Of all quiet accounts together: each has one every five seconds.
const EVENTS_A_SECOND: f64 = 100.0;
/// More than a fast machine runs in the time of measuring.
const FLOOD_JOBS_A_SECOND: u32 = 40_000;
const WARM_UP: Duration = Duration::from_secs(6);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({ "stamp": true }));
    let options = SubjectOptions { accounts: QUIET_ACCOUNTS, ..SubjectOptions::default() };
    eprintln!("fairness: deploying to {QUIET_ACCOUNTS} accounts");
    let subject = Subject::start(rig, "fairness", &project, options).await?;
    let flooding = subject.add_tenant("flooding", &project).await?;
    // Every account has its token and its limits looked up once.
    quiet_turn(rig, &subject, WARM_UP).await?;
    let mut other = quiet_turn(rig, &subject, seconds).await?;
    eprintln!("fairness quiet: p99 {:.2} ms", other.percentile_ms(99));
    let jobs = FLOOD_JOBS_A_SECOND * u32::try_from(seconds.as_secs())?;
    let pool = &subject.tables.pool;
    waiting_jobs::queue(pool, flooding.account, jobs).await?;
    let before = waiting_jobs::ended(pool, flooding.account).await?;
    let mut ours = quiet_turn(rig, &subject, seconds).await?;
    let flood_runs = waiting_jobs::ended(pool, flooding.account).await? - before;
    ensure!(waiting_jobs::waiting(pool, flooding.account).await? > 0, "the flood was over before the measuring was");
    eprintln!("fairness flooded: p99 {:.2} ms", ours.percentile_ms(99));
    subject.stop().await?;
    let (p99, other_p99) = (ours.percentile_ms(99), other.percentile_ms(99));
    Ok(Measurement::new("P7", "ms", p99, ("the quiet accounts without the flood", other_p99))
        .taken(seconds, ours.len())
        .with("p50_ms", ours.percentile_ms(50))
        .with("other_p50_ms", other.percentile_ms(50))
        .with("quiet_accounts", QUIET_ACCOUNTS)
        .with("flood_runs_per_second", flood_runs as f64 / seconds.as_secs_f64())
        .aiming_at(&[most("ratio", 2.0)]))
}

/// Start latencies of the quiet accounts.
async fn quiet_turn(rig: &Rig, subject: &Subject, span: Duration) -> anyhow::Result<Samples> {
    let newest = subject.tables.newest_run().await?;
    let targets = subject.targets();
    let pace = Pace::Rate(EVENTS_A_SECOND);
    let plan = LoadPlan { targets: &targets, connections: targets.len(), pace, keeps_runs: true };
    let load = Load::start(&rig.load, plan);
    tokio::time::sleep(span).await;
    let loaded = load.stop().await?;
    subject.tables.drain(newest, loaded.accepted).await?;
    loaded.runs.start_latencies(&subject.tables.ended_runs(newest).await?, "node")
}
