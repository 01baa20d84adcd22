//! `trellis logs`: what the nodes of runs have logged, of those that have ended, and with `-f` of those that end from now on.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use trellis_model::run::LogLine;

use super::{
    connection::ConnectionArgs,
    failure::CommandResult,
    output::{Output, printable},
    runs::{NodeAnswer, RunAnswer},
    watch,
};
use crate::client::{Client, ClientError};

#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Of this run alone
    pub run: Option<String>,
    /// Go on with runs that end from now on; of one run: wait for its end
    #[arg(long, short)]
    pub follow: bool,
    /// Runs of this project alone
    #[arg(long, conflicts_with = "run")]
    pub project: Option<String>,
    /// Runs of this grid alone
    #[arg(long, conflicts_with = "run")]
    pub grid: Option<String>,
    /// Of so many of the newest runs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub runs: u16,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Between two looks for runs that have ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Runs that one look shows at most.
const LOOK_RUNS: u16 = 100;
/// Unfinished runs that are too old for that, looked at by themselves.
const OLD_RUNS_MAX: usize = 20;
/// Runs that are remembered to have been shown.
const SHOWN_MAX: usize = 10_000;

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'r> {
    run: &'r str,
    node: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<u32>,
    #[serde(flatten)]
    line: &'r LogLine,
}

#[derive(Debug, Deserialize)]
struct RunPage {
    items: Vec<RunAnswer>,
}

pub async fn run(args: LogsArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    if let Some(run) = &args.run {
        if args.follow {
            watch::follow(&client, run, |_| Ok(())).await?;
        }
        let run: RunAnswer = client.get(&["v1", "runs", run], &[]).await?;
        return show(&run, output);
    }
    let mut look = Look { client: &client, args: &args, shown: Shown::default(), open: BTreeSet::new() };
    for run in look.ended(args.runs).await? {
        show(&run, output)?;
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        for run in look.ended(LOOK_RUNS).await? {
            show(&run, output)?;
        }
    }
}

fn show(run: &RunAnswer, output: &mut Output) -> CommandResult {
    for node in &run.nodes {
        for one in std::iter::once(node).chain(&node.elements) {
            for line in &one.log {
                let answer = Line { run: &run.run, node: &one.node, element: one.element, line };
                output.show(&answer, |_| words(run, one, line))?;
            }
        }
    }
    Ok(())
}

fn words(run: &RunAnswer, node: &NodeAnswer, line: &LogLine) -> String {
    let element = node.element.map(|element| format!("[{element}]")).unwrap_or_default();
    let context = if line.context.is_empty() { String::new() } else { format!("{}: ", line.context) };
    let text = format!("{context}{}", line.message);
    format!("{}  {}{element}  [{}] {}", run.run, printable(&node.node), line.level, printable(&text))
}

/// What was shown already, the newest of it.
#[derive(Debug, Default)]
struct Shown {
    runs: HashSet<String>,
    order: VecDeque<String>,
}

impl Shown {
    /// False: it was there before.
    fn add(&mut self, run: &str) -> bool {
        if !self.runs.insert(run.to_owned()) {
            return false;
        }
        self.order.push_back(run.to_owned());
        if self.order.len() > SHOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.runs.remove(&oldest);
        }
        true
    }
}

/// Looks for runs that have ended since the last look.
struct Look<'a> {
    client: &'a Client,
    args: &'a LogsArgs,
    shown: Shown,
    /// Those that had not ended.
    open: BTreeSet<String>,
}

impl Look<'_> {
    /// The oldest first.
    async fn ended(&mut self, newest: u16) -> Result<Vec<RunAnswer>, ClientError> {
        if newest == 0 {
            return Ok(Vec::new());
        }
        let mut query = vec![("limit", newest.to_string())];
        query.extend(self.args.project.clone().map(|project| ("project", project)));
        query.extend(self.args.grid.clone().map(|grid| ("grid", grid)));
        let page: RunPage = self.client.get(&["v1", "runs"], &query).await?;
        let listed: HashSet<&str> = page.items.iter().map(|run| run.run.as_str()).collect();
        let old: Vec<String> =
            self.open.iter().filter(|run| !listed.contains(run.as_str())).take(OLD_RUNS_MAX).cloned().collect();
        let mut wanted = old;
        for item in page.items.iter().rev() {
            if item.state.is_final() {
                wanted.push(item.run.clone());
            } else {
                self.open.insert(item.run.clone());
            }
        }
        let mut ended = Vec::new();
        for run in wanted {
            ended.extend(self.whole(&run).await?);
        }
        Ok(ended)
    }

    /// A run with its logs, if it has ended and was not shown.
    async fn whole(&mut self, run: &str) -> Result<Option<RunAnswer>, ClientError> {
        if self.shown.runs.contains(run) {
            return Ok(None);
        }
        let answer: RunAnswer = match self.client.get(&["v1", "runs", run], &[]).await {
            Ok(answer) => answer,
            // It was not kept, or its time was up.
            Err(error) if error.status() == Some(404) => {
                self.open.remove(run);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !answer.state.is_final() {
            return Ok(None);
        }
        self.open.remove(run);
        Ok(self.shown.add(run).then_some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_is_not_shown_again_and_only_so_much_is_remembered() {
        let mut shown = Shown::default();
        assert!(shown.add("a") && !shown.add("a"));
        (0..SHOWN_MAX).for_each(|number| assert!(shown.add(&number.to_string())));
        assert_eq!(shown.runs.len(), SHOWN_MAX);
        assert!(shown.add("a"), "the oldest is forgotten");
    }

    #[test]
    fn a_line_says_where_it_is_from() {
        let line =
            LogLine { at_ms: 1, level: "info".into(), context: "app".to_owned(), message: "hi\u{1b}".to_owned() };
        let node = serde_json::json!({ "node": "map", "element": 3, "state": "succeeded", "attempts": 1 });
        let run = serde_json::json!({ "run": "run_1", "project": "p", "revision": 1, "grid": "g", "state": "succeeded", "accepted_at": "T" });
        let node: NodeAnswer = serde_json::from_value(node).expect("a node");
        let run: RunAnswer = serde_json::from_value(run).expect("a run");
        assert_eq!(words(&run, &node, &line), "run_1  map[3]  [info] app: hi\\u{1b}");
    }
}
