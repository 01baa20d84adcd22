//! S1: how soon the API answers, and a neighbour's runs begin, while another account keeps twice as many guests spinning as
//! there are cores; against the same without them.
//!
//! The spinning guests are ended by their CPU budget, and others follow: there are always as many.

use std::{thread::available_parallelism, time::Duration};

use anyhow::ensure;
use serde_json::{Map, json};
use trellis_store::account_change::AccountChange;

use crate::{
    goal::most,
    load::{Load, LoadPlan, Pace},
    measurement::Measurement,
    project::{GRID, Project},
    rig::Rig,
    samples::Samples,
    subject::{Subject, SubjectOptions},
    waiting_jobs,
};

/// Far from what the machine can take: it is answers that are measured, not throughput.
const EVENTS_A_SECOND: f64 = 50.0;
const CONNECTIONS: usize = 4;
const WARM_UP: Duration = Duration::from_secs(3);
const SPINNING: &str = "spinning";

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({ "stamp": true }));
    let spin = json!({
        "node": { "plugin": "misbehave", "inputs": { "in": { "literal": { "do": "spin" } } }, "retry": { "attempts": 1 } },
    });
    let spinner = Project::of_grids(&rig.guest("misbehave").await?, Map::from_iter([(GRID.to_owned(), spin)]));
    let subject = Subject::start(rig, SPINNING, &project, SubjectOptions::default()).await?;
    turn(rig, &subject, WARM_UP).await?;
    let mut quiet = turn(rig, &subject, seconds).await?;
    eprintln!("spinning: without guests that spin, p99 {:.2} ms", quiet.answers.percentile_ms(99));

    let guests = 2 * u32::try_from(available_parallelism()?.get())?;
    let bad = subject.add_tenant(SPINNING, &spinner).await?;
    let host = &subject.server.host;
    let change = AccountChange { running_max: Some(guests), ..AccountChange::default() };
    host.limits_changed(host.database.change_account(SPINNING, &change).await?.id).await;
    // Each spins for two seconds of CPU time: these are never used up.
    let jobs = guests * u32::try_from(seconds.as_secs() + 30)?;
    waiting_jobs::queue(&subject.tables.pool, bad.account, jobs).await?;
    let mut spun = turn(rig, &subject, seconds).await?;
    ensure!(
        waiting_jobs::waiting(&subject.tables.pool, bad.account).await? > 0,
        "they had stopped spinning by the end"
    );
    eprintln!("spinning: with {guests} guests that spin, p99 {:.2} ms", spun.answers.percentile_ms(99));
    subject.stop().await?;

    let (p99, other_p99) = (spun.answers.percentile_ms(99), quiet.answers.percentile_ms(99));
    Ok(Measurement::new("S1", "ms", p99, ("the same without guests that spin", other_p99))
        .taken(seconds, spun.answers.len())
        .with("spinning_guests", guests)
        .with("p50_ms", spun.answers.percentile_ms(50))
        .with("other_p50_ms", quiet.answers.percentile_ms(50))
        .with("canary_start_p99_ms", spun.starts.percentile_ms(99))
        .with("other_canary_start_p99_ms", quiet.starts.percentile_ms(99))
        .aiming_at(&[most("ratio", 2.0)]))
}

struct Turn {
    /// Of events, until their 202.
    answers: Samples,
    /// From the 202 to the first instruction of the neighbour's guest.
    starts: Samples,
}

/// The neighbour's events: every one of them must end well.
async fn turn(rig: &Rig, subject: &Subject, span: Duration) -> anyhow::Result<Turn> {
    let newest = subject.tables.newest_run().await?;
    let targets = subject.targets();
    let pace = Pace::Rate(EVENTS_A_SECOND);
    let load = Load::start(&rig.load, LoadPlan { targets: &targets, connections: CONNECTIONS, pace, keeps_runs: true });
    tokio::time::sleep(span).await;
    let loaded = load.stop().await?;
    subject.tables.drain(newest, loaded.accepted).await?;
    let starts = loaded.runs.start_latencies(&subject.tables.ended_runs(newest).await?, "node")?;
    Ok(Turn { answers: loaded.latencies, starts })
}
