//! `trellis run watch`: a run as it goes on. In a terminal a line for each node that changes in its place, elsewhere a line for
//! each event, with `--json` the events as they are.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trellis_model::{
    news::{CallProgress, NodePhase},
    run::RunState,
};

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, printable},
    progress::{Progress, Row},
    runs::{self, RunAnswer},
};
use crate::{
    client::{Client, ClientError},
    event_stream::ServerEvent,
};

#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Such as run_01hzx5v9k3qaf
    pub run: String,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What `event: run` says.
#[derive(Debug, Deserialize)]
struct RunStanding {
    state: RunState,
    at: String,
    #[serde(default)]
    run_at: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

/// What `event: node` says.
#[derive(Debug, Deserialize)]
struct NodeStanding {
    node: String,
    state: NodePhase,
    attempt: u32,
    at: String,
    #[serde(default)]
    due_at: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    elements_done: Option<u32>,
    #[serde(default)]
    elements_total: Option<u32>,
    #[serde(default)]
    progress: Option<CallProgress>,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct EventLine {
    event: String,
    #[serde(flatten)]
    data: Value,
}

/// Times in a row that a stream may break off before anything came.
const BROKEN_MAX: u32 = 10;
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

pub async fn run(args: WatchArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let first: RunAnswer = client.get(&["v1", "runs", &args.run], &[]).await?;
    let mut view = View::new(progress);
    view.expect(&nodes_of(&client, &first).await);
    let end = follow(&client, &args.run, |event| view.show(event, output)).await;
    view.end();
    let Followed::Ended(state) = end? else {
        return Err(Failure::new(Exit::Failed, format!("{} is over, and its end was not kept", args.run)));
    };
    match state {
        RunState::Succeeded => Ok(()),
        _ => runs::check(&client.get(&["v1", "runs", &args.run], &[]).await?),
    }
}

/// How a run that was followed ended.
pub enum Followed {
    Ended(RunState),
    /// Nobody knows: it is over, and nothing of it is kept.
    NotKept,
}

/// Follows a run to its end, over as many streams as it takes.
///
/// # Errors
/// The host refuses, or cannot be reached for some time.
pub async fn follow(
    client: &Client,
    run: &str,
    mut see: impl FnMut(&ServerEvent) -> std::io::Result<()>,
) -> Result<Followed, Failure> {
    let (mut last, mut broken) = (None::<String>, 0);
    loop {
        let stream = client.events(&["v1", "runs", run, "events"], last.as_deref()).await;
        let mut stream = match stream {
            Ok(Some(stream)) => stream,
            // Its end was seen before.
            Ok(None) => return Ok(Followed::NotKept),
            Err(error) if error.is_not_kept() => return Ok(Followed::NotKept),
            Err(ClientError::Unreachable { .. }) if broken < BROKEN_MAX && last.is_some() => {
                broken += 1;
                tokio::time::sleep(BROKEN_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        while let Ok(Some(event)) = stream.next().await {
            broken = 0;
            see(&event)?;
            if let Some(state) = final_state(&event) {
                return Ok(Followed::Ended(state));
            }
            last = event.id.or(last);
        }
        broken += 1;
        if broken > BROKEN_MAX {
            return Err(Failure::new(Exit::Unavailable, format!("the events of {run} break off again and again")));
        }
        tokio::time::sleep(BROKEN_PAUSE).await;
    }
}

/// How long a host may take to say which nodes are being called.
const GLANCE_LONGEST: Duration = Duration::from_millis(700);

/// The nodes of a run that are being called right now; none if nobody says so in time.
pub async fn running(client: &Client, run: &str) -> Vec<Value> {
    let mut nodes: BTreeMap<String, Value> = BTreeMap::new();
    let listening = async {
        let Ok(Some(mut stream)) = client.events(&["v1", "runs", run, "events"], None).await else { return };
        while let Ok(Some(event)) = stream.next().await {
            if event.kind == "node"
                && let Ok(data) = serde_json::from_str::<Value>(&event.data)
                && let Some(node) = data["node"].as_str()
            {
                nodes.insert(node.to_owned(), data);
            }
        }
    };
    // Its end is not waited for: what came by then is what there is to say.
    drop(tokio::time::timeout(GLANCE_LONGEST, listening).await);
    nodes.into_values().filter(|node| node["state"] == NodePhase::Running.name()).collect()
}

/// A node as it stands, in words.
pub fn standing(node: &Value) -> String {
    match serde_json::from_value::<NodeStanding>(node.clone()) {
        Ok(node) => format!("{} {}", printable(&node.node), node_text(&node)),
        Err(_) => String::new(),
    }
}

fn final_state(event: &ServerEvent) -> Option<RunState> {
    let standing: RunStanding = serde_json::from_str(&event.data).ok().filter(|_| event.kind == "run")?;
    standing.state.is_final().then_some(standing.state)
}

/// The nodes of the run's grid, as far as the project still has the revision; none is no harm.
async fn nodes_of(client: &Client, run: &RunAnswer) -> Vec<String> {
    let project: Result<Value, _> = client.get(&["v1", "projects", &run.project], &[]).await;
    let Ok(project) = project else { return Vec::new() };
    if project["revision"] != run.revision {
        return Vec::new();
    }
    let nodes = project["manifest"]["grids"][&run.grid]["nodes"].as_object();
    nodes.map(|nodes| nodes.keys().cloned().collect()).unwrap_or_default()
}

/// How a run is shown while it goes on.
struct View<'p> {
    progress: &'p Progress,
    head: Option<Row>,
    rows: BTreeMap<String, Row>,
}

impl<'p> View<'p> {
    fn new(progress: &'p Progress) -> Self {
        Self { progress, head: progress.is_live().then(|| progress.row()), rows: BTreeMap::new() }
    }

    /// Nodes that nothing is known of yet.
    fn expect(&mut self, nodes: &[String]) {
        if self.head.is_some() {
            for node in nodes {
                let row = self.progress.row();
                row.set(&format!("· {}", printable(node)), "");
                self.rows.insert(node.clone(), row);
            }
        }
    }

    fn show(&mut self, event: &ServerEvent, output: &mut Output) -> std::io::Result<()> {
        let Some((row, mark, text, line)) = self.words(event) else { return Ok(()) };
        if let Some(head) = &self.head {
            match row {
                None => head.set(&mark, &text),
                Some(node) => {
                    let row = self.rows.entry(node).or_insert_with(|| self.progress.row());
                    row.set(&mark, &text);
                }
            }
            return Ok(());
        }
        let data = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        output.show(&EventLine { event: event.kind.clone(), data }, |_| line)
    }

    /// Of a known event: the node that it is about, the mark and name, what there is to say, and all of it as one line.
    fn words(&self, event: &ServerEvent) -> Option<(Option<String>, String, String, String)> {
        match event.kind.as_str() {
            "run" => {
                let run: RunStanding = serde_json::from_str(&event.data).ok()?;
                let text = run_text(&run);
                let line = format!("{}  run {text}", run.at);
                Some((None, format!("{} run", run_mark(run.state)), text, line))
            }
            "node" => {
                let node: NodeStanding = serde_json::from_str(&event.data).ok()?;
                let (name, text) = (printable(&node.node).into_owned(), node_text(&node));
                let line = format!("{}  {name} {text}", node.at);
                Some((Some(node.node), format!("{} {name}", node_mark(node.state)), text, line))
            }
            _ => None,
        }
    }

    /// What is shown stays.
    fn end(self) {
        self.head.into_iter().chain(self.rows.into_values()).for_each(Row::keep);
    }
}

fn run_mark(state: RunState) -> char {
    match state {
        RunState::Queued | RunState::Waiting => '…',
        RunState::Running => '▶',
        RunState::Succeeded => '✓',
        RunState::Dead => '✗',
        RunState::Cancelled => '–',
    }
}

fn node_mark(state: NodePhase) -> char {
    match state {
        NodePhase::Running => '▶',
        NodePhase::Waiting => '…',
        NodePhase::Succeeded => '✓',
        NodePhase::Skipped => '–',
        NodePhase::Failed => '✗',
    }
}

fn run_text(run: &RunStanding) -> String {
    let until = run.run_at.as_ref().map(|at| format!(" until {at}")).unwrap_or_default();
    let error = run.error.as_ref().map(|error| format!(": {}", runs::first_line(error))).unwrap_or_default();
    format!("{}{until}{}", run.state.name(), printable(&error))
}

fn node_text(node: &NodeStanding) -> String {
    let mut text = node.state.name().to_owned();
    if let (Some(done), Some(total)) = (node.elements_done, node.elements_total) {
        text.push_str(&format!(", {done} of {total} elements"));
    } else if node.attempt > 1 {
        text.push_str(&format!(", attempt {}", node.attempt));
    }
    if let Some(progress) = &node.progress {
        text.push_str(&format!(", {:.0} % {}", progress.fraction * 100.0, progress.text));
    }
    if let Some(due_at) = &node.due_at {
        text.push_str(&format!(" until {due_at}"));
    }
    if let Some(reason) = &node.reason {
        text.push_str(&format!(": {}", runs::first_line(reason)));
    }
    printable(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(kind: &str, data: &Value) -> String {
        let progress = Progress::silent();
        let event = ServerEvent { kind: kind.to_owned(), id: None, data: data.to_string() };
        View::new(&progress).words(&event).expect("a known event").3
    }

    #[test]
    fn each_event_is_a_line_without_control_characters() {
        let node = |state: &str, more: Value| {
            let mut node = json!({ "node": "fetch", "state": state, "attempt": 1, "at": "T" });
            node.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            node
        };
        for (kind, data, expected) in [
            ("run", json!({ "run": "r", "state": "running", "at": "T" }), "T  run running"),
            ("run", json!({ "run": "r", "state": "dead", "at": "T", "error": "no\nmore" }), "T  run dead: no…"),
            (
                "node",
                node("running", json!({ "progress": { "fraction": 0.25, "text": "a\u{1b}[31m" } })),
                "T  fetch running, 25 % a\\u{1b}[31m",
            ),
            (
                "node",
                node("running", json!({ "elements_done": 2, "elements_total": 7 })),
                "T  fetch running, 2 of 7 elements",
            ),
            (
                "node",
                node("waiting", json!({ "attempt": 2, "due_at": "U", "reason": "503" })),
                "T  fetch waiting, attempt 2 until U: 503",
            ),
        ] {
            assert_eq!(line(kind, &data), expected);
        }
    }

    #[test]
    fn a_run_is_over_with_its_last_event_and_with_no_other() {
        let event = |kind: &str, state: &str| ServerEvent {
            kind: kind.to_owned(),
            id: None,
            data: json!({ "run": "r", "node": "n", "attempt": 0, "state": state, "at": "T" }).to_string(),
        };
        assert_eq!(final_state(&event("run", "succeeded")), Some(RunState::Succeeded));
        assert_eq!(final_state(&event("run", "waiting")), None);
        assert_eq!(final_state(&event("node", "succeeded")), None);
    }
}
