//! P10: a run of forty light nodes in a chain, against a run of one node and 39 calls; and whether three branches of a
//! fan-out that wait, each for itself, wait at the same time.
//!
//! History tells when a run's commit began. The commit itself, the same for both sides, is measured by itself and added.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use trellis_engine::{Engine, EngineConfig};

use crate::{
    call_overhead::ThroughEngine,
    goal::most,
    load::Load,
    measurement::Measurement,
    project::{PROJECT, Project},
    queue::{BATCH_JOBS, ours::Ours},
    rig::Rig,
    samples::Samples,
    starts::{Sent, send_one_by_one},
    subject::{Subject, SubjectOptions},
};

const CHAIN_NODES: usize = 40;
const BRANCHES: usize = 3;
/// How long a branch waits: far longer than all else in a run.
const BRANCH_WAIT_MS: u64 = 50;
/// The first node of every grid: it stamps the time when the run began.
const FIRST: &str = "node-1";
/// The first events find nothing loaded yet: they are left out.
const WARM_UP_EVENTS: usize = 10;
const CALLS: u32 = 10_000;
const COMMITS: usize = BATCH_JOBS;
/// Turns of each grid.
const TURNS: u32 = 4;

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let guest = rig.guest("echo").await?;
    let project = Project::of_grids(&guest, grids());
    let subject = Subject::start(rig, "graph", &project, SubjectOptions::default()).await?;
    let [mut one, mut chain, mut branch, mut fan_out] = std::array::from_fn::<Samples, 4, _>(|_| Samples::default());
    let turns = [("one", &mut one), ("chain", &mut chain), ("branch", &mut branch), ("fan-out", &mut fan_out)];
    for (grid, samples) in turns {
        // The first turn of a grid is for warming up.
        take_turn(rig, &subject, grid, Duration::ZERO).await?;
        for _ in 0..TURNS {
            samples.append(take_turn(rig, &subject, grid, seconds / (4 * TURNS)).await?);
        }
        eprintln!("graph {grid}: {:.3} ms from its first instruction to its commit", samples.percentile_ms(50));
    }
    subject.stop().await?;
    let call_ms = call_ms(rig, &project).await?;
    let commits = Ours::start(&rig.database("graph_commits").await?).await?;
    let commit_ms = commits.commits_of_one(COMMITS).await?.percentile_ms(50);
    let ours = chain.percentile_ms(50) + commit_ms;
    let other = one.percentile_ms(50) + (CHAIN_NODES - 1) as f64 * call_ms + commit_ms;
    Ok(Measurement::new("P10", "ms", ours, ("a run of one node, and 39 calls through the engine", other))
        .taken(seconds, chain.len())
        .with("p99_ms", chain.percentile_ms(99))
        .with("one_node_ms", one.percentile_ms(50))
        .with("call_ms", call_ms)
        .with("branch_ms", branch.percentile_ms(50))
        .with("fan_out_ms", fan_out.percentile_ms(50))
        .with("fan_out_ratio", fan_out.percentile_ms(50) / branch.percentile_ms(50))
        // One branch after the other would be 3.
        .aiming_at(&[most("ratio", 1.0), most("fan_out_ratio", 1.2)]))
}

fn grids() -> Map<String, Value> {
    let first = (FIRST.to_owned(), node("event", &json!({ "stamp": true })));
    let chain = (2..=CHAIN_NODES)
        .map(|number| (format!("node-{number}"), node(&format!("node-{}.out", number - 1), &json!({}))));
    let branches = |count: usize| {
        let wait = json!({ "sleep_ms": BRANCH_WAIT_MS });
        (1..=count).map(move |number| (format!("branch-{number}"), node(&format!("{FIRST}.out"), &wait)))
    };
    let with_first = |nodes: Vec<(String, Value)>| Value::Object(std::iter::once(first.clone()).chain(nodes).collect());
    Map::from_iter([
        ("one".to_owned(), with_first(Vec::new())),
        ("chain".to_owned(), with_first(chain.collect())),
        ("branch".to_owned(), with_first(branches(1).collect())),
        ("fan-out".to_owned(), with_first(branches(BRANCHES).collect())),
    ])
}

fn node(input: &str, config: &Value) -> Value {
    json!({ "plugin": "echo", "inputs": { "in": input }, "config": config })
}

/// From the first instruction of each run to its last commit, one run at a time.
async fn take_turn(rig: &Rig, subject: &Subject, grid: &str, span: Duration) -> anyhow::Result<Samples> {
    let newest = subject.tables.newest_run().await?;
    let target = subject.tenants.all[0].target(subject.server.address, PROJECT, grid);
    let connection = Load::connect(&rig.load, &target).await?;
    let sender = rig.load.spawn(send_one_by_one(connection, span, WARM_UP_EVENTS));
    let Sent { runs, .. } = sender.await.context("the sender panicked")??;
    subject.tables.drain(newest, runs.len() as u64).await?;
    let mut durations = Samples::default();
    for ended in subject.tables.ended_runs(newest).await? {
        durations.push(ended.ended_at.saturating_sub(ended.stamp(FIRST)?));
    }
    Ok(durations)
}

/// The median call through the engine, as in P4.
async fn call_ms(rig: &Rig, project: &Project) -> anyhow::Result<f64> {
    let engine = Engine::new(&EngineConfig::new(rig.folder("graph_calls")))?;
    let callee = ThroughEngine::new(&engine, project.component.clone()).await?;
    // On a worker of the runtime, as in a host.
    let calls = tokio::spawn(async move {
        let mut calls = Samples::default();
        for _ in 0..CALLS {
            let began = Instant::now();
            callee.call().await?;
            calls.push(began.elapsed());
        }
        anyhow::Ok(calls)
    });
    Ok(calls.await.context("a call panicked")??.percentile_ms(50))
}
