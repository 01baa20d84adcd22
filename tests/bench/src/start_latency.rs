//! P3: from the client's 202 to the first instruction in the guest, on a host that has nothing else to do; against a call
//! in this process that waits for nothing.
//!
//! The guest emits its clock on entry, and that is read from history. Both clocks are this machine's.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use trellis_engine::{Call, Event, Outcome, Transformer};
use trellis_model::{AccountId, RunId, call_limits::CallLimits};

use crate::{
    call_overhead::NoStorage,
    load::{Connection, Load},
    measurement::Measurement,
    rig::Rig,
    samples::Samples,
    subject::{EVENT, Subject, SubjectOptions},
};

/// Between two events. Not a multiple of anything that the host does regularly.
const PAUSES_MS: [u64; 4] = [19, 41, 27, 33];
const WARM_UP_EVENTS: usize = 20;

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let options = SubjectOptions { stamps: true, ..SubjectOptions::default() };
    let subject = Subject::start(rig, "start_latency", options).await?;
    let connection = Load::connect(&rig.load, &subject.target()).await?;
    eprintln!("start-latency: one event at a time");
    let sender = rig.load.spawn(send_events(connection, seconds));
    let Sent { accepted, mut accept } = sender.await.context("the sender panicked")??;
    subject.drain(RunId(0), accepted.len() as u64).await?;
    let mut started = start_latencies(&subject, &accepted).await?;
    let mut direct = call_directly(rig, &subject, started.len()).await?;
    subject.stop().await?;
    let other = ("call in process, nothing to wait for", direct.percentile_ms(50));
    Ok(Measurement::new("P3", "ms", started.percentile_ms(50), other)
        .taken(seconds, started.len())
        .with("p50_ms", started.percentile_ms(50))
        .with("p99_ms", started.percentile_ms(99))
        .with("accept_p50_ms", accept.percentile_ms(50))
        .with("accept_p99_ms", accept.percentile_ms(99))
        .with("other_p99_ms", direct.percentile_ms(99)))
}

/// What the sender saw.
struct Sent {
    /// When the client had the 202 of each run, since 1970.
    accepted: HashMap<RunId, Duration>,
    /// From sending to the 202.
    accept: Samples,
}

async fn send_events(mut connection: Connection, span: Duration) -> anyhow::Result<Sent> {
    let mut sent = Sent { accepted: HashMap::new(), accept: Samples::default() };
    let until = Instant::now() + span;
    for pause_ms in PAUSES_MS.into_iter().cycle() {
        if Instant::now() > until && sent.accepted.len() > WARM_UP_EVENTS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let began = Instant::now();
        let answer = connection.post().await?;
        let at = now();
        sent.accept.push(began.elapsed());
        sent.accepted.insert(run_of(&answer)?, at);
    }
    Ok(sent)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn run_of(answer: &Bytes) -> anyhow::Result<RunId> {
    #[derive(Deserialize)]
    struct Accepted {
        run: RunId,
    }
    let accepted: Accepted = serde_json::from_slice(answer).context("a 202 without its run")?;
    Ok(accepted.run)
}

/// The first events are left out: they find nothing loaded yet.
async fn start_latencies(subject: &Subject, accepted: &HashMap<RunId, Duration>) -> anyhow::Result<Samples> {
    let mut results = subject.node_results(RunId(0)).await?;
    results.sort_unstable_by_key(|(run, _)| *run);
    let mut latencies = Samples::default();
    for (run, nodes) in results.iter().skip(WARM_UP_EVENTS) {
        let accepted = accepted.get(run).context("a run that nobody asked for")?;
        // A guest that was started before the client had its answer kept nobody waiting.
        latencies.push(stamp(nodes)?.saturating_sub(*accepted));
    }
    Ok(latencies)
}

/// What the guest has emitted: when it was entered, since 1970.
fn stamp(nodes: &[u8]) -> anyhow::Result<Duration> {
    #[derive(Deserialize)]
    struct NodeResult {
        outputs: HashMap<String, u64>,
    }
    let nodes: [NodeResult; 1] = serde_json::from_slice(nodes).context("a run without the guest's time")?;
    let nanoseconds = nodes[0].outputs.get("out").context("a run without the guest's time")?;
    Ok(Duration::from_nanos(*nanoseconds))
}

/// The same latency of the same guest, when it is just called.
async fn call_directly(rig: &Rig, subject: &Subject, count: usize) -> anyhow::Result<Samples> {
    let engine = &subject.server.host.engine;
    let compiled = engine.compile(Bytes::from(rig.echo.bytes.clone())).await?;
    let transformer = engine.load(compiled.digest, || async { anyhow::Ok(Bytes::new()) }).await?;
    let mut latencies = Samples::default();
    for pause_ms in PAUSES_MS.into_iter().cycle().take(count) {
        // As idle as between two events.
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let asked = now();
        latencies.push(called(&transformer, call(subject)).await?.saturating_sub(asked));
    }
    Ok(latencies)
}

fn call(subject: &Subject) -> Call {
    Call {
        event: Event { attempt: 1, inputs: vec![("in".to_owned(), EVENT.to_owned())], ..Event::default() },
        config: r#"{"stamp":true}"#.into(),
        limits: CallLimits::default(),
        grants: Arc::default(),
        storage: Arc::new(NoStorage),
        outbound: subject.server.host.engine.outbound(AccountId(1)),
        targets: None,
        clock: None,
    }
}

async fn called(transformer: &Transformer, call: Call) -> anyhow::Result<Duration> {
    match transformer.call(call).await.outcome {
        Outcome::Emitted(effects) => {
            let emission = effects.emissions.first().context("the guest emitted nothing")?;
            Ok(Duration::from_nanos(emission.json.get().parse().context("the guest emitted no time")?))
        }
        Outcome::Failed(failure) => Err(anyhow::anyhow!("the guest failed: {failure}")),
        Outcome::Suspended(full) => Err(anyhow::anyhow!("the guest was suspended: {full}")),
    }
}
