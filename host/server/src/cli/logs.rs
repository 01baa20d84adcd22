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
/// Runs of one page of a look.
const LOOK_RUNS: u16 = 100;
/// Pages of one look: where more than a thousand runs a second are accepted, the oldest of them are passed over.
const PAGES_MAX: usize = 10;
/// Unfinished runs that are too old for that, looked at by themselves: so many a look, one after the other.
const OLD_RUNS_MAX: usize = 20;
/// Unfinished runs that are remembered; beyond that the oldest are forgotten.
const OPEN_MAX: usize = 10_000;
/// Runs that are remembered to have been shown.
const SHOWN_MAX: usize = 10_000;
/// Looks in a row that may be in vain, for a host that starts anew or is replaced by another.
const BROKEN_MAX: u32 = 30;

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
    let mut look = Look { client: &client, args: &args, shown: Shown::default(), open: Open::default() };
    for run in look.first().await? {
        show(&run, output)?;
    }
    if !args.follow {
        return Ok(());
    }
    let mut broken = 0;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        match look.next().await {
            Ok(ended) => {
                broken = 0;
                ended.iter().try_for_each(|run| show(run, output))?;
            }
            Err(error) if error.is_passing() && broken < BROKEN_MAX => broken += 1,
            Err(error) => return Err(error.into()),
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

/// Runs that were seen before their end.
#[derive(Debug, Default)]
struct Open {
    runs: BTreeSet<String>,
    /// The last one that was looked at by itself.
    turn: Option<String>,
}

impl Open {
    fn add(&mut self, run: &str) {
        self.runs.insert(run.to_owned());
        if self.runs.len() > OPEN_MAX {
            self.runs.pop_first();
        }
    }

    /// The next ones that no list shows any more: some that never end keep no other from its turn.
    fn in_turn(&mut self, listed: &HashSet<&str>) -> Vec<String> {
        let is_behind = |run: &&String| self.turn.as_ref().is_none_or(|turn| *run > turn);
        let (behind, before): (Vec<&String>, Vec<&String>) =
            self.runs.iter().filter(|run| !listed.contains(run.as_str())).partition(is_behind);
        let next: Vec<String> = behind.into_iter().chain(before).take(OLD_RUNS_MAX).cloned().collect();
        self.turn = next.last().cloned();
        next
    }
}

/// Looks for runs that have ended since the last look.
struct Look<'a> {
    client: &'a Client,
    args: &'a LogsArgs,
    shown: Shown,
    open: Open,
}

impl Look<'_> {
    /// The newest runs, as many as are wanted, oldest first. Those before them count as shown.
    async fn first(&mut self) -> Result<Vec<RunAnswer>, ClientError> {
        let wanted = self.args.runs;
        let limit = if self.args.follow { LOOK_RUNS } else { wanted };
        if limit == 0 {
            return Ok(Vec::new());
        }
        let listed = self.page(limit, None).await?;
        for earlier in listed.iter().skip(wanted.into()).filter(|run| run.state.is_final()) {
            self.shown.add(&earlier.run);
        }
        self.ended(&listed).await
    }

    /// Those that have ended since, oldest first.
    async fn next(&mut self) -> Result<Vec<RunAnswer>, ClientError> {
        let mut listed = self.page(LOOK_RUNS, None).await?;
        for _ in 1..PAGES_MAX {
            // More than a page of them have come since.
            let Some(last) = listed.last().filter(|last| !self.is_known(&last.run)) else { break };
            let earlier = self.page(LOOK_RUNS, Some(last.run.clone())).await?;
            if earlier.is_empty() {
                break;
            }
            listed.extend(earlier);
        }
        self.ended(&listed).await
    }

    fn is_known(&self, run: &str) -> bool {
        self.shown.runs.contains(run) || self.open.runs.contains(run)
    }

    /// Newest first.
    async fn page(&self, limit: u16, before: Option<String>) -> Result<Vec<RunAnswer>, ClientError> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(self.args.project.clone().map(|project| ("project", project)));
        query.extend(self.args.grid.clone().map(|grid| ("grid", grid)));
        query.extend(before.map(|run| ("before", run)));
        let page: RunPage = self.client.get(&["v1", "runs"], &query).await?;
        Ok(page.items)
    }

    async fn ended(&mut self, listed: &[RunAnswer]) -> Result<Vec<RunAnswer>, ClientError> {
        let names: HashSet<&str> = listed.iter().map(|run| run.run.as_str()).collect();
        let mut wanted = self.open.in_turn(&names);
        for item in listed.iter().rev() {
            if item.state.is_final() {
                wanted.push(item.run.clone());
            } else {
                self.open.add(&item.run);
            }
        }
        let mut ended = Vec::new();
        wanted.retain(|run| !self.shown.runs.contains(run));
        for run in wanted {
            match self.client.get::<RunAnswer>(&["v1", "runs", &run], &[]).await {
                Ok(answer) if answer.state.is_final() => ended.push(answer),
                Ok(_) => {}
                // It was not kept, or its time was up.
                Err(error) if error.status() == Some(404) => self.put_away(&run),
                // What was found by now is not shown, and so is found again.
                Err(error) => return Err(error),
            }
        }
        ended.iter().for_each(|run| self.put_away(&run.run));
        Ok(ended)
    }

    fn put_away(&mut self, run: &str) {
        self.open.runs.remove(run);
        self.shown.add(run);
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
    fn old_runs_are_looked_at_in_turn_and_none_waits_for_ever() {
        let mut open = Open::default();
        let names: Vec<String> = (0..OLD_RUNS_MAX * 2 + 5).map(|number| format!("run_{number:03}")).collect();
        names.iter().for_each(|name| open.add(name));
        let listed = HashSet::from([names[0].as_str()]);
        let mut seen: Vec<String> = (0..3).flat_map(|_| open.in_turn(&listed)).collect();
        assert_eq!(seen.len(), OLD_RUNS_MAX * 3);
        seen.sort();
        seen.dedup();
        assert_eq!(seen, names[1..], "all but the one that is listed");
        (0..OPEN_MAX).for_each(|number| open.add(&format!("run_x{number}")));
        assert_eq!(open.runs.len(), OPEN_MAX);
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
