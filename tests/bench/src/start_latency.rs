//! P3: from the client's 202 to the first instruction in the guest, on a host that has nothing else to do; against a call
//! in this process that waits for nothing.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use serde_json::json;
use trellis_engine::{Call, Event, Outcome, Transformer};
use trellis_model::{AccountId, RunId, call_limits::CallLimits};

use crate::{
    call_overhead::NoStorage,
    goal::below,
    load::Load,
    measurement::Measurement,
    project::{EVENT, Project},
    rig::Rig,
    samples::Samples,
    starts::{PAUSES_MS, Sent, send_one_by_one},
    subject::{Subject, SubjectOptions},
    tables::now,
};

/// The first events find nothing loaded yet: they are left out.
const WARM_UP_EVENTS: usize = 20;

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({ "stamp": true }));
    let subject = Subject::start(rig, "start_latency", &project, SubjectOptions::default()).await?;
    let connection = Load::connect(&rig.load, &subject.target()).await?;
    eprintln!("start-latency: one event at a time");
    let sender = rig.load.spawn(send_one_by_one(connection, seconds, WARM_UP_EVENTS + 1));
    let Sent { runs, mut accept } = sender.await.context("the sender panicked")??;
    subject.tables.drain(RunId(0), runs.len() as u64).await?;
    let ended = subject.tables.ended_runs(RunId(0)).await?;
    let mut started = runs.start_latencies(&ended[WARM_UP_EVENTS..], "node")?;
    let mut direct = call_directly(&subject, &project, started.len()).await?;
    subject.stop().await?;
    let other = ("call in process, nothing to wait for", direct.percentile_ms(50));
    let (p50, p99) = (started.percentile_ms(50), started.percentile_ms(99));
    Ok(Measurement::new("P3", "ms", p50, other)
        .taken(seconds, started.len())
        .with("p50_ms", p50)
        .with("p99_ms", p99)
        .with("accept_p50_ms", accept.percentile_ms(50))
        .with("accept_p99_ms", accept.percentile_ms(99))
        .with("other_p99_ms", direct.percentile_ms(99))
        .aiming_at(&[below("p50_ms", 4.0), below("p99_ms", 15.0)]))
}

/// The same latency of the same guest, when it is just called.
async fn call_directly(subject: &Subject, project: &Project, count: usize) -> anyhow::Result<Samples> {
    let engine = &subject.server.host.engine;
    let compiled = engine.compile(project.component.clone()).await?;
    let transformer = engine.load(compiled.digest, || async { anyhow::Ok(project.component.clone()) }).await?;
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
        account: AccountId(1),
        event: Event { attempt: 1, inputs: vec![("in".to_owned(), EVENT.to_owned())], ..Event::default() },
        config: r#"{"stamp":true}"#.into(),
        limits: CallLimits::default(),
        grants: Arc::default(),
        secrets: Arc::default(),
        storage: Arc::new(NoStorage),
        outbound: subject.server.host.engine.outbound(AccountId(1)),
        targets: None,
        progress: None,
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
