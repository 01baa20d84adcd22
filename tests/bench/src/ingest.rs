//! P2: how many events a second are accepted, against a bare handler with one INSERT a request; and how long an event
//! waits for its 202 at half of that.
//!
//! The host does all that it does for an accepted event (token, limiter, JSON, batch, commit, waking the scheduler), but
//! its scheduler has no room for a run, so that the queue only fills.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use crate::{
    bare_ingest::BareIngest,
    goal::{below, least},
    load::{Load, LoadPlan, Loaded, Pace, Target},
    measurement::Measurement,
    project::Project,
    rig::Rig,
    samples::Samples,
    subject::{Subject, SubjectOptions},
};

/// Enough that both sides are never without work.
const CONNECTIONS: usize = 256;
/// Of a host, as it comes.
const POOL_CONNECTIONS: u32 = 16;
/// Turns of each side.
const TURNS: u32 = 3;
const WARM_UP: Duration = Duration::from_secs(1);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let options = SubjectOptions { only_accepts: true, ..SubjectOptions::default() };
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({}));
    let subject = Subject::start(rig, "ingest_host", &project, options).await?;
    let bare = BareIngest::start(&rig.database("ingest_bare").await?, POOL_CONNECTIONS).await?;
    let target = subject.target();
    let (mut ours, mut other) = (Side::new(target.clone()), Side::new(bare.target(target.body)));
    // Two thirds of the time at full load, the rest at half of it.
    let span = seconds / (3 * TURNS);
    for turn in 1..=TURNS {
        for (name, side) in [("host", &mut ours), ("bare", &mut other)] {
            side.full_turn(rig, span * 2).await?;
            eprintln!("ingest {turn}/{TURNS} {name}: {:.0} events/s so far", side.rate());
        }
    }
    for turn in 1..=TURNS {
        for (name, side) in [("host", &mut ours), ("bare", &mut other)] {
            side.half_turn(rig, span).await?;
            eprintln!("ingest {turn}/{TURNS} {name} at half load: p99 {:.2} ms so far", side.half.percentile_ms(99));
        }
    }
    let (queued, stored) = (subject.tables.queued().await?, bare.stored().await?);
    ensure!(queued == ours.accepted, "{} events were accepted, and {queued} are stored", ours.accepted);
    ensure!(stored == other.accepted, "the bare handler accepted {} events, and stored {stored}", other.accepted);
    subject.stop().await?;
    bare.stop().await?;
    Ok(Measurement::new("P2", "events/s", ours.rate(), ("bare axum + sqlx, one INSERT a request", other.rate()))
        .taken(ours.span, usize::try_from(ours.counted)?)
        .with("p50_ms", ours.half.percentile_ms(50))
        .with("p99_ms", ours.half.percentile_ms(99))
        .with("half_load_samples", ours.half.len())
        .with("other_p50_ms", other.half.percentile_ms(50))
        .with("other_p99_ms", other.half.percentile_ms(99))
        .with("auth", "token, other none")
        .aiming_at(&[least("ratio", 1.5), below("p99_ms", 15.0)]))
}

/// What a side has come to in all its turns.
struct Side {
    target: Target,
    /// In the measured spans at full load.
    counted: u64,
    span: Duration,
    /// In all.
    accepted: u64,
    half: Samples,
}

impl Side {
    fn new(target: Target) -> Self {
        Self { target, counted: 0, span: Duration::ZERO, accepted: 0, half: Samples::default() }
    }

    fn rate(&self) -> f64 {
        self.counted as f64 / self.span.as_secs_f64()
    }

    async fn full_turn(&mut self, rig: &Rig, span: Duration) -> anyhow::Result<()> {
        let load = self.start(rig, Pace::Closed);
        tokio::time::sleep(WARM_UP).await;
        let (began, before) = (Instant::now(), load.accepted());
        tokio::time::sleep(span).await;
        self.counted += load.accepted() - before;
        self.span += began.elapsed();
        self.finish(load).await?;
        Ok(())
    }

    async fn half_turn(&mut self, rig: &Rig, span: Duration) -> anyhow::Result<()> {
        let load = self.start(rig, Pace::Rate(self.rate() / 2.0));
        tokio::time::sleep(span).await;
        let loaded = self.finish(load).await?;
        self.half.append(loaded.latencies);
        Ok(())
    }

    fn start(&self, rig: &Rig, pace: Pace) -> Load {
        let targets = std::slice::from_ref(&self.target);
        Load::start(&rig.load, LoadPlan { targets, connections: CONNECTIONS, pace, keeps_runs: false })
    }

    async fn finish(&mut self, load: Load) -> anyhow::Result<Loaded> {
        let loaded = load.stop().await?;
        self.accepted += loaded.accepted;
        Ok(loaded)
    }
}
