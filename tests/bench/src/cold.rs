//! P5: from the client's 202 to the first instruction in the guest, for components that were never called: right after
//! their upload, and on a host that has just started; against the same components when they are warm.
//!
//! Before the restart the components' bytes are taken out of the database: a host that compiled one on the way of an event
//! would have nothing to compile, and its run would fail.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;
use sqlx::PgPool;
use trellis_engine::{Digest, Engine, EngineConfig};
use trellis_model::RunId;

use crate::{
    goal::below,
    load::Load,
    measurement::Measurement,
    project::{GRID, Project},
    rig::Rig,
    samples::Samples,
    starts::{AcceptedRuns, run_of},
    subject::{Subject, SubjectOptions},
    tables::now,
};

/// Each is compiled: a tenth of a second.
const COMPONENTS_A_SECOND: u64 = 3;
/// Between two events: the host comes to rest.
const PAUSE: Duration = Duration::from_millis(23);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let projects = variants(rig, seconds.as_secs() * COMPONENTS_A_SECOND).await?;
    let subject = Subject::start(rig, "cold", &projects[0], SubjectOptions::default()).await?;
    eprintln!("cold: {} components", projects.len());
    let mut uploaded = AcceptedRuns::default();
    for project in &projects {
        subject.tenants.deploy(&subject.server.base_url, &subject.tenants.all[0], project).await?;
        uploaded.append(call_each(rig, &subject, std::slice::from_ref(project)).await?);
    }
    let mut warm = call_each(rig, &subject, &projects).await?;
    let artefacts = rig.folder("cold").join("artefacts");
    let mut deserialized = Samples::default();
    let subject = subject
        .restart(async |tables| {
            deserialized = deserialize_each(&tables.pool, &artefacts).await?;
            sqlx::query("update component set bytes = ''").execute(&tables.pool).await?;
            Ok(())
        })
        .await?;
    let restarted = call_each(rig, &subject, &projects).await?;
    let mut uploaded = latencies(&subject, uploaded).await?;
    let mut restarted = latencies(&subject, restarted).await?;
    let mut warm = latencies(&subject, std::mem::take(&mut warm)).await?;
    subject.stop().await?;
    let beyond = restarted.percentile_ms(50) - deserialized.percentile_ms(50);
    Ok(Measurement::new("P5", "ms", uploaded.percentile_ms(50), ("the same components, warm", warm.percentile_ms(50)))
        .taken(seconds, uploaded.len())
        .with("p99_ms", uploaded.percentile_ms(99))
        .with("restart_p50_ms", restarted.percentile_ms(50))
        .with("restart_p99_ms", restarted.percentile_ms(99))
        .with("deserialize_p50_ms", deserialized.percentile_ms(50))
        .with("restart_beyond_deserialize_ms", beyond)
        .aiming_at(&[below("ours", 5.0), below("restart_beyond_deserialize_ms", 3.0)]))
}

/// Projects that differ in their components' bytes, and so in what has to be compiled and loaded.
async fn variants(rig: &Rig, count: u64) -> anyhow::Result<Vec<Project>> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({ "stamp": true }));
    let variant = |number: u64| {
        let mut component = project.component.to_vec();
        component.extend_from_slice(&custom_section(&number.to_le_bytes()));
        Project {
            name: format!("cold-{number}"),
            version: format!("1.0.{number}"),
            component: component.into(),
            ..project.clone()
        }
    };
    Ok((1..=count).map(variant).collect())
}

/// A section of a component that means nothing: its kind (0), its size, its name, its content.
fn custom_section(content: &[u8; 8]) -> Vec<u8> {
    const NAME: &[u8] = b"cold";
    let size = 1 + NAME.len() + content.len();
    let mut section = vec![0, u8::try_from(size).expect("a few bytes"), u8::try_from(NAME.len()).expect("a few bytes")];
    section.extend_from_slice(NAME);
    section.extend_from_slice(content);
    section
}

/// One event for each project, each over a connection of its own that is open already.
async fn call_each(rig: &Rig, subject: &Subject, projects: &[Project]) -> anyhow::Result<AcceptedRuns> {
    let newest = subject.tables.newest_run().await?;
    let mut runs = AcceptedRuns::default();
    for project in projects {
        let target = subject.tenants.all[0].target(subject.server.address, &project.name, GRID);
        let mut connection = Load::connect(&rig.load, &target).await?;
        tokio::time::sleep(PAUSE).await;
        let posted = rig.load.spawn(async move { connection.post().await.map(|answer| (answer, now())) });
        let (answer, at) = posted.await.context("the sender panicked")??;
        runs.insert(run_of(&answer)?, at);
    }
    subject.tables.drain(newest, projects.len() as u64).await?;
    Ok(runs)
}

async fn latencies(subject: &Subject, runs: AcceptedRuns) -> anyhow::Result<Samples> {
    let mut ended = subject.tables.ended_runs(RunId(0)).await?;
    ended.retain(|ended| runs.accepted_at(ended.run).is_ok());
    runs.start_latencies(&ended, "node")
}

/// How long an engine with nothing in memory takes to load each component of the stopped host.
async fn deserialize_each(pool: &PgPool, artefacts: &std::path::Path) -> anyhow::Result<Samples> {
    let digests: Vec<Vec<u8>> = sqlx::query_scalar("select digest from component").fetch_all(pool).await?;
    let engine = Engine::new(&EngineConfig::new(artefacts))?;
    let mut loads = Samples::default();
    for digest in digests {
        let Ok(digest) = digest.try_into().map(Digest) else { bail!("a digest that is none") };
        let began = Instant::now();
        engine.load(digest, || async { Err("it should be in the artefacts") }).await?;
        loads.push(began.elapsed());
    }
    Ok(loads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_section_is_as_long_as_it_says() {
        let section = custom_section(&7_u64.to_le_bytes());
        assert_eq!(section[..3], [0, 13, 4]);
        assert_eq!(section.len(), 2 + 13);
    }
}
