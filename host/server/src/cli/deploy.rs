//! `trellis deploy`: build and upload local plugins, send the manifest. Also what `trellis dev` does at every change.

mod plan;

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use trellis_build::BuildProgress;
use trellis_model::{
    changes::Change,
    fault::{self, Fault},
    manifest::PluginReference,
};

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Output, Table},
    plugin::upload,
    progress::Progress,
};
use crate::{
    client::{Client, ClientError},
    project::{Faulty, LocalPlugin, Project, ProjectError},
};

#[derive(Debug, clap::Args)]
pub struct DeployArgs {
    /// The project's folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Check everything and change nothing but upload the plugins
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What the API answers to a deployment.
#[derive(Debug, Serialize, Deserialize)]
pub struct Deployed {
    pub project: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    pub is_unchanged: bool,
    pub changes: Vec<Change>,
    pub plugins: std::collections::BTreeMap<String, String>,
    pub triggers: Vec<DeployedTrigger>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct DeployedTrigger {
    pub name: String,
    pub grid: String,
    pub methods: Vec<String>,
    pub url: String,
}

pub async fn run(args: DeployArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let client = args.connection.client(&args.dir)?;
    let project = match Project::open(&args.dir, &|name| std::env::var(name).ok()) {
        Err(ProjectError::Faults(faulty)) => return Err(all_faults(&client, *faulty).await),
        opened => opened?,
    };
    let deployed = deploy(&client, &project, args.dry_run, progress).await?;
    output.show(&deployed, |deployed| human(deployed, args.dry_run))?;
    Ok(())
}

/// What is wrong with a manifest, with what the server alone can say of it, so that all of it is mended at once. A server that
/// cannot be reached has nothing to add.
async fn all_faults(client: &Client, mut faulty: Faulty) -> Failure {
    if let Some((name, manifest)) = faulty.to_send() {
        let query = [("dry_run", "true".to_owned())];
        let answer = client.put_json::<serde_json::Value>(&["v1", "projects", &name], &query, &manifest).await;
        if let Err(ClientError::Problem(problem)) = answer {
            let is_new = |fault: &Fault| {
                let is_local = |(alias, reference): (&String, &PluginReference)| {
                    matches!(reference, PluginReference::Local { .. }) && fault.pointer == format!("/plugins/{alias}")
                };
                let is_known = faulty.faults.iter().any(|known| known.pointer == fault.pointer);
                !is_known && !faulty.plugins().any(is_local)
            };
            let further: Vec<Fault> = faulty.with_places(problem.faults).into_iter().filter(is_new).collect();
            faulty.faults.extend(further);
            fault::sort(&mut faulty.faults);
        }
    }
    ProjectError::Faults(Box::new(faulty)).into()
}

/// Builds, uploads and deploys a project folder.
///
/// # Errors
/// What was not built or not accepted, with places in the folder's manifest.
pub async fn deploy(
    client: &Client,
    project: &Project,
    dry_run: bool,
    progress: &Progress,
) -> Result<Deployed, Failure> {
    let local = build(project, progress)?;
    for plugin in &local {
        let bytes = Bytes::from(plugin.built.bytes.clone());
        upload(client, &plugin.built.name, &plugin.version, bytes, progress).await?;
    }
    let task = progress.task(&format!("deploying {}", project.manifest.project));
    let query = if dry_run { vec![("dry_run", "true".to_owned())] } else { Vec::new() };
    let path = ["v1", "projects", &project.manifest.project];
    let answer = client.put_json(&path, &query, &project.to_json(&local)).await;
    let deployed: Deployed = answer.map_err(|error| with_places(project, error))?;
    task.done(&match deployed.revision {
        None => "checked".to_owned(),
        Some(revision) if deployed.is_unchanged => format!("revision {revision}, unchanged"),
        Some(revision) => format!("revision {revision}"),
    });
    Ok(deployed)
}

/// Faults of the server at lines and columns of the folder's manifest.
fn with_places(project: &Project, error: ClientError) -> Failure {
    match error {
        ClientError::Problem(mut problem) => {
            problem.faults = project.with_places(std::mem::take(&mut problem.faults));
            ClientError::Problem(problem).into()
        }
        other => other.into(),
    }
}

fn build(project: &Project, progress: &Progress) -> Result<Vec<LocalPlugin>, ProjectError> {
    let task = progress.task("building plugins");
    let local = tokio::task::block_in_place(|| project.build(&mut |step| task.detail(&describe(step))))?;
    task.done(&format!("{} built", local.len()));
    Ok(local)
}

/// A step of a build in a few words.
pub fn describe(step: BuildProgress<'_>) -> String {
    match step {
        BuildProgress::AddingTarget { target } => format!("installing the target {target}"),
        BuildProgress::Started { packages, .. } => packages.join(", "),
        BuildProgress::CrateReady { name, ready, .. } => format!("{ready} crates, {name}"),
        BuildProgress::PluginReady { name, .. } => format!("{name} is ready"),
        _ => String::new(),
    }
}

/// A deployment as a person reads it: what became of it, what it changes, where events go.
pub fn human(deployed: &Deployed, dry_run: bool) -> String {
    let project = &deployed.project;
    let mut text = match deployed.revision {
        Some(revision) if deployed.is_unchanged => {
            format!("project {project} is deployed as revision {revision} already; nothing has changed\n")
        }
        Some(revision) => format!("project {project} is deployed as revision {revision}\n"),
        None if deployed.is_unchanged => format!("project {project} is deployed like this already: no change\n"),
        None => format!("project {project} can be deployed; it would change\n"),
    };
    if !deployed.is_unchanged {
        text.push_str(&plan::lines(&deployed.changes));
    }
    if !dry_run && !deployed.triggers.is_empty() {
        let mut table = Table::new(["TRIGGER", "GRID", "METHODS", "URL"]);
        for trigger in &deployed.triggers {
            table.row([trigger.name.as_str(), &trigger.grid, &trigger.methods.join(","), &trigger.url]);
        }
        text.push_str(&table.to_string());
    }
    text
}
