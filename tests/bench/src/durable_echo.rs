//! P1: an event over HTTP, its 202, the echo in Wasm, its history; against the same host with a native function in the
//! place of Wasm.
//!
//! The load never lets more than a fixed number of events wait for their start, so that what is measured is what the host
//! can keep up with. Runs are counted where they end: in the table `run`.

use std::time::Duration;

use serde_json::{Value, json, value::RawValue};
use trellis_engine::{Call, CallReport, Effects, Emission, Failure, FailureKind, Metering, Outcome, RunLog};
use trellis_operator::run::Callee;

use crate::{
    goal::least,
    load::{Load, LoadPlan, Pace},
    measurement::Measurement,
    project::Project,
    rig::Rig,
    samples::Samples,
    subject::{Subject, SubjectOptions},
};

/// Enough that batches fill up; few enough that the load is not what is measured.
const CONNECTIONS: usize = 256;
/// Events that wait for their start at most: a few fetches of the scheduler.
const BACKLOG_EVENTS_MAX: u64 = 2_000;
/// Turns of each side.
const TURNS: u32 = 4;
const WARM_UP: Duration = Duration::from_secs(2);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({}));
    let wasm = Subject::start(rig, "durable_echo_wasm", &project, SubjectOptions::default()).await?;
    let options = SubjectOptions { callee: Callee::Native(echo), ..SubjectOptions::default() };
    let native = Subject::start(rig, "durable_echo_native", &project, options).await?;
    let (mut ours, mut other) = (Side::default(), Side::default());
    for turn in 1..=TURNS {
        for (name, subject, side) in [("wasm", &wasm, &mut ours), ("native", &native, &mut other)] {
            side.take_turn(rig, subject, seconds / TURNS).await?;
            eprintln!("durable-echo {turn}/{TURNS} {name}: {:.0} runs/s so far", side.rate());
        }
    }
    wasm.stop().await?;
    native.stop().await?;
    Ok(Measurement::new("P1", "runs/s", ours.rate(), ("native function", other.rate()))
        .taken(ours.span, usize::try_from(ours.runs)?)
        .with("accept_p50_ms", ours.latencies.percentile_ms(50))
        .with("accept_p99_ms", ours.latencies.percentile_ms(99))
        .with("backlog_begin", ours.backlog_begin / u64::from(TURNS))
        .with("backlog_end", ours.backlog_end / u64::from(TURNS))
        .with("other_backlog_end", other.backlog_end / u64::from(TURNS))
        .with("auth", "token")
        .aiming_at(&[least("ours", 10_000.0), least("ratio", 0.6)]))
}

/// What a side has come to in all its turns.
#[derive(Default)]
struct Side {
    runs: u64,
    span: Duration,
    /// Sums over the turns.
    backlog_begin: u64,
    backlog_end: u64,
    latencies: Samples,
}

impl Side {
    fn rate(&self) -> f64 {
        self.runs as f64 / self.span.as_secs_f64()
    }

    /// Loads the subject for a while, then lets it come to an end.
    async fn take_turn(&mut self, rig: &Rig, subject: &Subject, span: Duration) -> anyhow::Result<()> {
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
        self.backlog_begin += begin.queued;
        self.backlog_end += end.queued;
        self.latencies.append(loaded.latencies);
        subject.tables.drain(newest, loaded.accepted).await
    }
}

/// What the guest does, without a sandbox around it.
fn echo(call: Call) -> CallReport {
    let input = call.event.inputs.into_iter().find(|(port, _)| port == "in").map(|(_, json)| json);
    let echoed = input
        .as_deref()
        .unwrap_or_default()
        .parse::<Value>()
        .and_then(|value| serde_json::to_string(&value).and_then(RawValue::from_string));
    let outcome = match echoed {
        Ok(json) => {
            let emissions = vec![Emission { port: "out".to_owned(), json }];
            Outcome::Emitted(Effects { emissions, ..Effects::default() })
        }
        Err(error) => {
            Outcome::Failed(Failure { kind: FailureKind::InvalidInput, message: error.to_string(), after_ms: None })
        }
    };
    CallReport { outcome, log: RunLog::default(), outside_effect: false, metering: Metering::default() }
}
