//! `trellis runs`, `trellis run show`, and waiting for a run. What else can be done with one has files of its own.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trellis_model::run::{LogLine, Metering, NodeState, Reason, ReasonKind, RunState};

use super::{
    cancel,
    connection::ConnectionArgs,
    diff, export,
    failure::{CommandResult, Failure},
    output::{Exit, Output, Table, printable, printable_lines},
    progress::Progress,
    replay, watch,
};
use crate::client::{Client, ClientError};

#[derive(Debug, clap::Args)]
pub struct RunsArgs {
    /// Runs of this project alone
    #[arg(long)]
    pub project: Option<String>,
    /// Runs of this grid alone
    #[arg(long)]
    pub grid: Option<String>,
    /// Runs in this state alone
    #[arg(long, value_parser = ["queued", "running", "waiting", "succeeded", "dead", "cancelled"])]
    pub state: Option<String>,
    /// Runs that were replayed; dead letters that were are not listed otherwise
    #[arg(long)]
    pub replayed: bool,
    /// Runs older than this one
    #[arg(long, value_name = "RUN")]
    pub before: Option<String>,
    /// Runs accepted at this time or later, such as 2026-11-21T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub accepted_after: Option<String>,
    /// Runs accepted before this time
    #[arg(long, value_name = "TIME")]
    pub accepted_before: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, clap::Subcommand)]
pub enum RunCommand {
    /// Show a run: its event, what each node came to, logs and metering
    Show {
        /// Such as run_01hzx5v9k3qaf
        run: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Follow a run until it is over: each node as it stands
    Watch(watch::WatchArgs),
    /// End a run, or all unfinished runs of a project
    #[command(
        after_help = "Examples:\n  trellis run cancel run_03ex1hh2y0000\n  trellis run cancel --all --grid order"
    )]
    Cancel(cancel::CancelArgs),
    /// Make a new run of one that is over, or of all dead letters of a project
    #[command(
        after_help = "Examples:\n  trellis run replay run_03ex1hh2y0000\n  trellis run replay --all --dry-run\n  trellis run replay --all --error-contains 503"
    )]
    Replay(replay::ReplayArgs),
    /// Write a run that is over as a fixture for tests
    Export(export::ExportArgs),
    /// Call the nodes of a run once more on a candidate, without effects, and show what differs
    Diff(diff::DiffArgs),
}

/// A page of runs.
#[derive(Debug, Serialize, Deserialize)]
struct RunPage {
    items: Vec<RunAnswer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A run as the API answers it.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunAnswer {
    pub run: String,
    pub project: String,
    pub revision: i64,
    pub grid: String,
    pub state: RunState,
    pub accepted_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed_as: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeAnswer>,
    /// Of a run that goes on: the nodes that are being called, as `trellis run watch` is told of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct NodeAnswer {
    pub node: String,
    pub state: NodeState,
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    #[serde(default)]
    pub metering: Metering,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements_total: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elements: Vec<NodeAnswer>,
}

pub async fn list(args: RunsArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let filters = [
        ("project", args.project),
        ("grid", args.grid),
        ("state", args.state),
        ("before", args.before),
        ("accepted_after", args.accepted_after),
        ("accepted_before", args.accepted_before),
    ];
    let mut query: Vec<(&str, String)> =
        filters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    query.push(("limit", args.limit.to_string()));
    if args.replayed {
        query.push(("replayed", true.to_string()));
    }
    let page: RunPage = client.get(&["v1", "runs"], &query).await?;
    output.show(&page, |page| {
        let mut table = Table::new(["RUN", "PROJECT", "GRID", "STATE", "ACCEPTED", "ERROR"]);
        for run in &page.items {
            let error = first_line(run.error.as_deref().unwrap_or_default());
            table.row([run.run.as_str(), &run.project, &run.grid, run.state.name(), &run.accepted_at, &error]);
        }
        let more = page.next.as_ref().map(|next| format!("older runs: --before {next}\n")).unwrap_or_default();
        format!("{table}{more}")
    })?;
    Ok(())
}

/// As much of an error as a row of a table holds.
pub fn first_line(error: &str) -> String {
    const LETTERS_MAX: usize = 100;
    let line = error.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(LETTERS_MAX).collect();
    if cut.len() < error.len() { format!("{cut}…") } else { cut }
}

pub async fn run(command: RunCommand, output: &mut Output, progress: &Progress) -> CommandResult {
    let (run, connection) = match command {
        RunCommand::Show { run, connection } => (run, connection),
        RunCommand::Watch(args) => return watch::run(args, output, progress).await,
        RunCommand::Cancel(args) => return cancel::run(args, output, progress).await,
        RunCommand::Replay(args) => return replay::run(args, output, progress).await,
        RunCommand::Export(args) => return export::run(args, output).await,
        RunCommand::Diff(args) => return diff::run(args, output, progress).await,
    };
    let client = connection.client(Path::new("."))?;
    let mut answer = fetch(&client, &run).await?;
    if answer.state == RunState::Running {
        answer.running = watch::running(&client, &run).await;
    }
    output.show(&answer, human)?;
    Ok(())
}

async fn fetch(client: &Client, run: &str) -> Result<RunAnswer, ClientError> {
    client.get(&["v1", "runs", run], &[]).await
}

/// Between two looks at a run.
const LOOK_FIRST: Duration = Duration::from_millis(25);
const LOOK_LONGEST: Duration = Duration::from_secs(1);

/// Looks in a row that may be in vain, for a host that starts anew or is replaced by another.
const BROKEN_MAX: u32 = 30;

/// An event is not to be sent again because nobody could say what became of it.
#[derive(Debug, thiserror::Error)]
#[error("{run} was accepted and need not be sent again; `trellis run show {run}` tells what has become of it")]
struct LostSight {
    run: String,
    #[source]
    error: ClientError,
}

/// How a run that was waited for ended.
pub enum Waited {
    Ended(Box<RunAnswer>),
    /// It is over, and its account's history does not keep it: it is no dead letter. With the host's words.
    NotKept(String),
}

/// Waits until a run that was accepted has ended.
///
/// # Errors
/// The host cannot be reached, or the run has not ended in time.
pub async fn wait(client: &Client, run: &str, at_most: Duration, progress: &Progress) -> Result<Waited, Failure> {
    let task = progress.task(&format!("waiting for {run}"));
    let (mut pause, mut failures, mut broken) = (LOOK_FIRST, 0, 0);
    let ended = tokio::time::timeout(at_most, async {
        loop {
            let answer = match fetch(client, run).await {
                Ok(answer) => answer,
                // An accepted run stands somewhere until it is over.
                Err(error) if error.is_not_kept() => return Ok(Waited::NotKept(error.to_string())),
                Err(error) if error.is_passing() && broken < BROKEN_MAX => {
                    broken += 1;
                    task.detail("its host does not answer");
                    tokio::time::sleep(LOOK_LONGEST).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            broken = 0;
            if answer.state.is_final() {
                return Ok::<_, ClientError>(Waited::Ended(Box::new(answer)));
            }
            let failed: u32 = answer.nodes.iter().map(|node| node.attempts).sum();
            if failed > failures && answer.state == RunState::Waiting {
                failures = failed;
                task.tell(&standing(&answer));
            } else {
                task.detail(&standing(&answer));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_LONGEST);
        }
    });
    match ended.await {
        Ok(answer) => {
            let waited = answer.map_err(|error| {
                let exit = Exit::from(&error);
                Failure::new(exit, LostSight { run: run.to_owned(), error })
            })?;
            task.done(match &waited {
                Waited::Ended(run) => run.state.name(),
                Waited::NotKept(_) => "over",
            });
            Ok(waited)
        }
        Err(_) => {
            let message =
                format!("{run} has not ended within {} s; `trellis run show {run}` tells more", at_most.as_secs());
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

/// Where a run stands, in a line: its state, and what its nodes wait for.
fn standing(run: &RunAnswer) -> String {
    let waits = run.nodes.iter().filter(|node| node.state == NodeState::Pending && node.attempts > 0);
    let told: Vec<String> = waits
        .map(|node| {
            let reason = node.reason.as_ref().map(|reason| first_line(&reason.message)).unwrap_or_default();
            format!("{}: attempt {} failed: {reason}", node.node, node.attempts)
        })
        .collect();
    let error = run.error.as_deref().filter(|_| told.is_empty()).map(first_line);
    let until = run.run_at.as_ref().map(|at| format!(" until {at}")).unwrap_or_default();
    let why = told.into_iter().chain(error).collect::<Vec<_>>().join("; ");
    let begin = format!("{}{until}", run.state.name());
    if why.is_empty() { begin } else { format!("{begin}; {why}") }
}

/// Whether a run that has ended has come to what was wanted of it.
pub fn check(run: &RunAnswer) -> CommandResult {
    match (run.state, &run.error) {
        (RunState::Cancelled, _) => Err(Failure::new(Exit::Failed, format!("{} was cancelled", run.run))),
        (_, Some(error)) => Err(Failure::new(Exit::Failed, format!("the run is a dead letter: {error}"))),
        (_, None) => Ok(()),
    }
}

/// A run as a person reads it.
pub fn human(run: &RunAnswer) -> String {
    let mut text =
        format!("{}  {}/{}  {}  revision {}\n", run.run, run.project, run.grid, run.state.name(), run.revision);
    let _ = writeln!(text, "accepted {}{}", run.accepted_at, ended(run));
    if let Some(error) = &run.error {
        let _ = writeln!(text, "error: {}", printable_lines(error));
    }
    if let Some(replay) = &run.replayed_as {
        let _ = writeln!(text, "replayed as {replay}");
    }
    if let Some(data) = run.event.as_ref().and_then(|event| event.get("data")) {
        let _ = writeln!(text, "event: {}", printable(&data.to_string()));
    }
    for node in &run.nodes {
        text.push('\n');
        node_lines(&mut text, node);
    }
    for node in &run.running {
        let _ = write!(text, "\n▶ {}", watch::standing(node));
    }
    text
}

fn ended(run: &RunAnswer) -> String {
    match (&run.ended_at, &run.run_at) {
        (Some(ended), _) => format!(", ended {ended}"),
        (None, Some(run_at)) => format!(", goes on {run_at}"),
        (None, None) => String::new(),
    }
}

fn node_lines(text: &mut String, node: &NodeAnswer) {
    let (mark, state) = match node.state {
        NodeState::Pending if node.attempts == 0 => ('…', "waits for its time"),
        NodeState::Pending => ('…', "waits for its next attempt"),
        NodeState::Succeeded => ('✓', "succeeded"),
        NodeState::Skipped => ('–', "skipped"),
        NodeState::Failed => ('✗', "failed"),
    };
    let element = node.element.map(|element| format!("[{element}]")).unwrap_or_default();
    let _ = write!(text, "{mark} {}{element}  {state}", printable(&node.node));
    if let Some(total) = node.elements_total {
        let done = node.elements.iter().filter(|one| one.state == NodeState::Succeeded).count();
        let _ = write!(text, "  {done} of {total} elements");
    }
    if node.attempts > 0 {
        let metering = &node.metering;
        let ms = |us: u64| us as f64 / 1_000.0;
        // Those of all elements come together.
        let counted = if node.elements_total.is_some() { "attempts in all:" } else { "attempt" };
        let _ = write!(text, "  {counted} {}, {:.1} ms", node.attempts, ms(metering.wall_us));
        let _ = write!(
            text,
            " ({:.1} ms on a CPU), {} KiB of memory",
            ms(metering.cpu_us),
            metering.memory_bytes_max / 1_024
        );
        if metering.requests > 0 {
            let (sent, received) = (metering.request_bytes, metering.response_bytes);
            let _ = write!(text, ", {} requests ({sent} bytes sent, {received} received)", metering.requests);
        }
        if metering.target_wait_us > 0 {
            let _ = write!(text, ", waited {:.1} ms for targets", ms(metering.target_wait_us));
        }
        if metering.storage_operations > 0 {
            let _ = write!(text, ", {} storage operations", metering.storage_operations);
        }
        if metering.record_operations > 0 {
            let _ = write!(text, ", {} record operations", metering.record_operations);
        }
        if metering.log_bytes > 0 {
            let _ = write!(text, ", {} bytes logged", metering.log_bytes);
        }
    }
    text.push('\n');
    if let Some(reason) = &node.reason {
        let _ = writeln!(text, "    {}", printable_lines(&reason.message));
        if reason.kind == ReasonKind::Limit {
            text.push_str("    (`trellis limits` shows what a call may use; an operator grants more with `trellis account set --call-limit`)\n");
        }
    }
    for (port, value) in &node.outputs {
        let _ = writeln!(text, "    {port} = {}", printable(&value.to_string()));
    }
    for line in &node.log {
        let context = if line.context.is_empty() { String::new() } else { format!("{}: ", line.context) };
        let _ = writeln!(text, "    [{}] {}{}", line.level, printable(&context), printable(&line.message));
    }
    node.elements.iter().for_each(|element| node_lines(text, element));
}
