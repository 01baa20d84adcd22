//! `trellis run replay`: one run, or the dead letters of a project.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, Table, counted, pasted},
    progress::Progress,
    runs::first_line,
    send::project_here,
};
use crate::client::{Client, ClientError};

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// A run that is over, such as run_01hzx5v9k3qaf
    #[arg(conflicts_with = "all")]
    run: Option<String>,
    /// Where to begin: what succeeded is not called again, or with everything
    #[arg(long, default_value = "failed", value_parser = ["failed", "start"])]
    from: String,
    /// What to run on: what the project runs now, or the run's own revision
    #[arg(long, default_value = "current", value_parser = ["current", "same"])]
    revision: String,
    /// Even if it was replayed before
    #[arg(long, conflicts_with = "all")]
    again: bool,
    /// All dead letters of a project that were not replayed yet, oldest first
    #[arg(long)]
    all: bool,
    /// The project whose dead letters are meant [default: that of trellis.toml in this folder]
    #[arg(long, requires = "all")]
    project: Option<String>,
    /// Of this grid alone
    #[arg(long, requires = "all")]
    grid: Option<String>,
    /// With this text in the error
    #[arg(long, requires = "all", value_name = "TEXT")]
    error_contains: Option<String>,
    /// Accepted at or after this time, such as 2026-01-31T12:00:00Z
    #[arg(long, requires = "all", value_name = "TIME")]
    accepted_after: Option<String>,
    /// Accepted before this time
    #[arg(long, requires = "all", value_name = "TIME")]
    accepted_before: Option<String>,
    /// Go on where a former command has broken off, as it has said
    #[arg(long, requires = "all", value_name = "CURSOR")]
    after: Option<String>,
    /// List what would be replayed, and replay nothing
    #[arg(long, requires = "all")]
    dry_run: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Replayed {
    run: String,
    replay_of: String,
}

/// What became of a number of dead letters.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ReplayedMany {
    replayed: usize,
    runs: Vec<ReplayedItem>,
    /// Where to go on; in the end: where it has broken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReplayedItem {
    run: String,
    grid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replayed_as: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub async fn run(args: ReplayArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    match &args.run {
        Some(run) => one(&client, run, &args, output).await,
        None if args.all => {
            let project = args.project.clone().map_or_else(|| project_here(Path::new(".")), Ok)?;
            all(&client, &args, &project, output, progress).await
        }
        None => Err(Failure::new(
            Exit::Usage,
            "which run? Name one, or replay all dead letters of a project: --all in its folder, or --all --project NAME",
        )),
    }
}

async fn one(client: &Client, run: &str, args: &ReplayArgs, output: &mut Output) -> CommandResult {
    let body = json!({ "from": args.from, "revision": args.revision, "again": args.again });
    let answer: Result<Replayed, _> = client.post_json(&["v1", "runs", run, "replay"], &body).await;
    let answer = answer.map_err(|error| with_hint(error, args))?;
    output.show(&answer, |answer| answer.run.clone())?;
    Ok(())
}

/// What can be done where a run was replayed before, in the words of the command line.
fn with_hint(error: ClientError, args: &ReplayArgs) -> Failure {
    match error {
        ClientError::Problem(mut problem) if !args.again && problem.detail.contains("replayed already") => {
            let told = problem.detail.split(';').next().unwrap_or_default();
            problem.detail = format!("{told}; `trellis run replay … --again` replays it once more");
            ClientError::Problem(problem).into()
        }
        error => error.into(),
    }
}

/// Dead letters of one request.
const AT_ONCE: u16 = 100;

async fn all(
    client: &Client,
    args: &ReplayArgs,
    project: &str,
    output: &mut Output,
    progress: &Progress,
) -> CommandResult {
    let task = progress.task("replaying");
    let mut total = ReplayedMany::default();
    let mut body = filter(args, project);
    loop {
        let answer: ReplayedMany = match client.post_json(&["v1", "runs", "replay"], &body).await {
            Ok(answer) => answer,
            Err(error) if total.next.is_none() => return Err(error.into()),
            Err(error) => {
                task.done(&format!("{}, then an error", letters(total.replayed)));
                output.show(&total, |total| human(total, args.dry_run))?;
                return Err(error.into());
            }
        };
        total.replayed += answer.replayed;
        total.runs.extend(answer.runs);
        total.next = answer.next;
        task.detail(&format!("{} of {}", total.replayed, letters(total.runs.len())));
        match &total.next {
            Some(next) => body["after"] = json!(next),
            None => break,
        }
    }
    let refused = total.runs.iter().filter(|item| item.refused.is_some()).count();
    task.done(&letters(total.replayed));
    output.show(&total, |total| human(total, args.dry_run))?;
    if refused > 0 {
        return Err(Failure::new(Exit::Failed, format!("not replayed: {}", letters(refused))));
    }
    Ok(())
}

/// The body of a request, without what was not asked for.
fn filter(args: &ReplayArgs, project: &str) -> Value {
    let wanted = [
        ("grid", &args.grid),
        ("error_contains", &args.error_contains),
        ("accepted_after", &args.accepted_after),
        ("accepted_before", &args.accepted_before),
        ("after", &args.after),
    ];
    let mut body = json!({ "project": project, "from": args.from, "revision": args.revision, "dry_run": args.dry_run, "limit": AT_ONCE });
    for (name, value) in wanted {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    body
}

fn letters(count: usize) -> String {
    counted(count as u64, "dead letter")
}

fn human(total: &ReplayedMany, is_dry: bool) -> String {
    let mut table = Table::new(["RUN", "GRID", "REPLAYED AS", "ERROR"]);
    for item in &total.runs {
        let told = item.refused.as_ref().map(|refused| format!("not replayed: {refused}"));
        let error = told.or_else(|| item.error.as_deref().map(first_line)).unwrap_or_default();
        table.row([item.run.as_str(), &item.grid, item.replayed_as.as_deref().unwrap_or("–"), &error]);
    }
    let sum = match (is_dry, total.runs.len()) {
        (_, 0) if total.next.is_none() => return "there are no such dead letters".to_owned(),
        (true, count) => format!("{} would be replayed", letters(count)),
        (false, _) => format!("{} replayed", letters(total.replayed)),
    };
    match &total.next {
        None => format!("{table}{sum}"),
        Some(next) => format!("{table}{sum}; there are more: the same command with `--after {}` goes on", pasted(next)),
    }
}
