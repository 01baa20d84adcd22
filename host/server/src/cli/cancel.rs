//! `trellis run cancel`: one run, or those of a project.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use trellis_model::run::RunState;

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, counted},
    progress::Progress,
    send::project_here,
};
use crate::client::Client;

#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// Such as run_01hzx5v9k3qaf
    #[arg(conflicts_with_all = ["all", "project", "grid", "state"])]
    run: Option<String>,
    /// All unfinished runs of a project
    #[arg(long)]
    all: bool,
    /// All unfinished runs of this project [default with --all: that of trellis.toml in this folder]
    #[arg(long)]
    project: Option<String>,
    /// Of this grid alone
    #[arg(long)]
    grid: Option<String>,
    /// In this state alone
    #[arg(long, value_parser = ["queued", "running", "waiting"])]
    state: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cancelled {
    run: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<RunState>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Requested {
    requested: usize,
    #[serde(default, skip_serializing)]
    next: Option<String>,
}

pub async fn run(args: CancelArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    match &args.run {
        Some(run) => one(&client, run, output).await,
        None => many(&client, &args, &project(&args)?, output, progress).await,
    }
}

/// Whose runs are meant. Without a word of it nothing is ended: a forgotten id must not cancel a project.
fn project(args: &CancelArgs) -> Result<String, Failure> {
    match &args.project {
        Some(project) => Ok(project.clone()),
        None if args.all => project_here(Path::new(".")),
        None => Err(Failure::new(
            Exit::Usage,
            "which run? Name one, or all unfinished runs of a project: --all in its folder, or --project NAME",
        )),
    }
}

async fn one(client: &Client, run: &str, output: &mut Output) -> CommandResult {
    let answer: Cancelled = client.post_json(&["v1", "runs", run, "cancel"], &json!({})).await?;
    let state = answer.state;
    output.show(&answer, |answer| match answer.state {
        None => format!("{run} is over; its account's history does not keep how"),
        Some(state) if state.is_final() => format!("{run} is {}", state.name()),
        Some(_) => format!("{run} will be cancelled; `trellis run show {run}` tells when"),
    })?;
    match state {
        Some(own_end @ (RunState::Succeeded | RunState::Dead)) => {
            Err(Failure::new(Exit::Failed, format!("{run} came to its own end first: it is {}", own_end.name())))
        }
        _ => Ok(()),
    }
}

fn runs(total: &Requested) -> String {
    counted(total.requested as u64, "run")
}

/// Runs asked of in one request.
const AT_ONCE: u16 = 500;

async fn many(
    client: &Client,
    args: &CancelArgs,
    project: &str,
    output: &mut Output,
    progress: &Progress,
) -> CommandResult {
    let task = progress.task("cancelling");
    let mut total = Requested::default();
    let mut body = json!({ "project": project, "grid": args.grid, "state": args.state, "limit": AT_ONCE });
    loop {
        let answer: Requested = client.post_json(&["v1", "runs", "cancel"], &body).await?;
        total.requested += answer.requested;
        task.detail(&runs(&total));
        match answer.next {
            Some(next) => body["after"] = json!(next),
            None => break,
        }
    }
    task.done(&runs(&total));
    output.show(&total, |total| match total.requested {
        1 => "1 run is being cancelled".to_owned(),
        _ => format!("{} are being cancelled", runs(total)),
    })?;
    Ok(())
}
