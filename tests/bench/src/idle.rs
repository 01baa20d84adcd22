//! P9: what a host costs that has a thousand projects and nothing to do, and how soon after its start it is ready; against
//! one without a project, over the same seconds.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use crate::{
    footprint::Watch, goal::below, host_process::HostProcess, measurement::Measurement, project::Project, rig::Rig,
    tenants::Tenants,
};

const ACCOUNTS: usize = 10;
const PROJECTS_AN_ACCOUNT: usize = 100;
const DEPLOYMENTS_AT_ONCE: usize = 8;
/// After the start: what there is to be done once is done.
const REST: Duration = Duration::from_secs(6);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let full_url = rig.database("idle_full").await?;
    let tenants = Tenants::prepare(&full_url, ACCOUNTS).await?;
    deploy(rig, &full_url, &tenants).await?;
    let empty_url = rig.database("idle_empty").await?;
    Tenants::prepare(&empty_url, 0).await?;
    let full = HostProcess::start(rig, &full_url, "idle_full", &[]).await?;
    let empty = HostProcess::start(rig, &empty_url, "idle_empty", &[]).await?;
    tokio::time::sleep(REST).await;
    eprintln!("idle: {} s", seconds.as_secs());
    let server = rig.server_view().await?;
    let (ours, other) = (
        Watch::begin(&server, "idle_full", full.id()?).await?,
        Watch::begin(&server, "idle_empty", empty.id()?).await?,
    );
    tokio::time::sleep(seconds).await;
    let (ours, other) = (ours.end().await?, other.end().await?);
    let ready_after = full.ready_after;
    full.stop().await?;
    empty.stop().await?;
    let other_is = ("a host without a project", other.statements_per_second);
    Ok(Measurement::new("P9", "statements/s", ours.statements_per_second, other_is)
        .taken(seconds, ACCOUNTS * PROJECTS_AN_ACCOUNT)
        .with("cpu_percent", ours.cpu_percent())
        .with("other_cpu_percent", other.cpu_percent())
        .with("host_cpu_percent", ours.host_cpu_percent)
        .with("resident_mb", ours.resident_mb)
        .with("other_resident_mb", other.resident_mb)
        .with("ready_seconds", ready_after.as_secs_f64())
        .with("projects", ACCOUNTS * PROJECTS_AN_ACCOUNT)
        .aiming_at(&[
            below("ours", 2.0),
            below("cpu_percent", 1.0),
            below("resident_mb", 150.0),
            below("ready_seconds", 2.0),
        ]))
}

/// Through a host of its own, which is not the one that is looked at.
async fn deploy(rig: &Rig, url: &str, tenants: &Tenants) -> anyhow::Result<()> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({}));
    let host = HostProcess::start(rig, url, "idle_full", &[]).await?;
    eprintln!("idle: deploying {} projects", ACCOUNTS * PROJECTS_AN_ACCOUNT);
    tenants.deploy_everywhere(&host.base_url, &project).await?;
    let all = tenants.all.iter().flat_map(|tenant| (1..PROJECTS_AN_ACCOUNT).map(move |number| (tenant, number)));
    let deployments = stream::iter(all).map(async |(tenant, number)| {
        let project = Project { name: format!("idle-{number}"), ..project.clone() };
        tenants.deploy_manifest(&host.base_url, tenant, &project).await
    });
    deployments.buffer_unordered(DEPLOYMENTS_AT_ONCE).try_collect::<()>().await?;
    host.stop().await
}
