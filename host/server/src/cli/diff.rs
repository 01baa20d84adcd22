//! `trellis run diff`: a run that is over, once more on a candidate and without effects, and how it differs.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trellis_engine::Digest;
use trellis_model::{
    fixture::{Comparison, Fixture, place},
    run::LogLine,
};

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, printable, printable_lines},
    plugin,
    progress::Progress,
};
use crate::client::Client;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    trellis run diff run_01hzx5v9k3qaf --revision current\n  \
    trellis run diff run_01hzx5v9k3qaf --plugin plugins/greet\n  \
    trellis run diff run_01hzx5v9k3qaf --plugin greet@1.2.0\n\
    Nothing takes effect: writes and events are dropped, requests are refused. Ends with exit code 1 if anything differs.")]
pub struct DiffArgs {
    /// A run that is over, such as run_01hzx5v9k3qaf
    run: String,
    /// What to run on: the run's own revision, what the project runs now, or a revision by its number
    #[arg(long, default_value = "same", value_name = "same|current|NUMBER")]
    revision: String,
    /// A component's file, a crate's folder, or an uploaded NAME@VERSION, in place of the plugin of that name; of a file,
    /// NAME=FILE says which. A file is uploaded as a version 0.0.0-diff that no manifest resolves to
    #[arg(long = "plugin", value_name = "PLUGIN")]
    plugins: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The answer of the API.
#[derive(Debug, Serialize, Deserialize)]
struct Diff {
    run: String,
    revision: i64,
    is_same: bool,
    nodes: Vec<NodeDiff>,
    not_called: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NodeDiff {
    node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    element: Option<u32>,
    plugin: String,
    #[serde(flatten)]
    comparison: Comparison,
    withheld: Withheld,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    log: Vec<LogLine>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Withheld {
    requests: BTreeMap<String, u32>,
    writes: usize,
    events: usize,
}

pub async fn run(args: DiffArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let mut plugins = Vec::new();
    for text in &args.plugins {
        plugins.push(uploaded(&client, &args.run, text, progress).await?);
    }
    let revision = args.revision.parse::<i64>().map_or_else(|_| Value::from(args.revision.as_str()), Value::from);
    let task = progress.task("calling the nodes once more");
    let wanted = json!({ "revision": revision, "plugins": plugins });
    let diff: Diff = client.post_json(&["v1", "runs", &args.run, "diff"], &wanted).await?;
    task.done(if diff.is_same { "the same" } else { "different" });
    output.show(&diff, human)?;
    if diff.is_same { Ok(()) } else { Err(Failure::new(Exit::Failed, "the candidate differs from the run")) }
}

/// A plugin as the API takes it: `name@version`. What lies on this machine is uploaded first.
async fn uploaded(client: &Client, run: &str, text: &str, progress: &Progress) -> Result<String, Failure> {
    let (named, path) = text.split_once('=').map_or((None, text), |(name, path)| (Some(name), path));
    if named.is_none() && text.contains('@') && !Path::new(text).exists() {
        return Ok(text.to_owned());
    }
    let (bytes, built) = plugin::component(Path::new(path), progress)?;
    let name = match (named, built) {
        (Some(name), _) => name.to_owned(),
        (None, Some(built)) => built.name,
        (None, None) => only_plugin(client, run, path).await?,
    };
    let digest = Digest::of(&bytes).to_string();
    let version = format!("0.0.0-diff.{}", digest.chars().take(12).collect::<String>());
    plugin::upload(client, &name, &version, bytes, progress).await?;
    Ok(format!("{name}@{version}"))
}

/// The plugin of all nodes of a run, if it is one.
async fn only_plugin(client: &Client, run: &str, path: &str) -> Result<String, Failure> {
    let fixture: Fixture = client.get(&["v1", "runs", run, "fixture"], &[]).await?;
    let mut names: Vec<String> = fixture.nodes.into_iter().map(|node| node.plugin.name).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let known = several.join(", ");
            let message = format!("say which plugin {path} is: --plugin NAME={path}; the run was called on: {known}");
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

fn human(diff: &Diff) -> String {
    let mut text = format!("{} on revision {}\n", diff.run, diff.revision);
    for node in &diff.nodes {
        node_lines(&mut text, node);
    }
    for (node, reason) in &diff.not_called {
        let _ = writeln!(text, "– {}  not called: {}", printable(node), printable_lines(reason));
    }
    text
}

fn node_lines(text: &mut String, node: &NodeDiff) {
    let (mark, verdict) = if node.comparison.is_same() { ('✓', "the same") } else { ('✗', "differs") };
    let place = place(&node.node, node.element);
    let _ = writeln!(text, "{mark} {}  {}  {verdict}", printable(&place), printable(&node.plugin));
    for line in node.comparison.to_string().lines() {
        let _ = writeln!(text, "    {}", printable(line));
    }
    let Withheld { requests, writes, events } = &node.withheld;
    let mut withheld: Vec<String> = requests.iter().map(|(request, count)| format!("{request} ({count})")).collect();
    withheld.extend((*writes > 0).then(|| format!("keys written ({writes})")));
    withheld.extend((*events > 0).then(|| format!("events emitted ({events})")));
    if !withheld.is_empty() {
        let _ = writeln!(text, "    without effect: {}", printable(&withheld.join(", ")));
    }
    for line in &node.log {
        let _ = writeln!(text, "    [{}] {}", line.level, printable(&line.message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_with_what_had_no_effect() {
        let answer = json!({
            "run": "run_0000000000001", "revision": 7, "is_same": false,
            "nodes": [
                { "node": "a", "plugin": "greet@1.0.0", "changes": [], "withheld": { "requests": {}, "writes": 0, "events": 0 } },
                {
                    "node": "b", "plugin": "send@2.0.0",
                    "changes": [{ "at": "out#/n", "recorded": 1, "candidate": 2 }],
                    "withheld": { "requests": { "POST https://example.com": 2 }, "writes": 1, "events": 0 },
                    "log": [{ "at_ms": 1, "level": "info", "message": "\u{1b}[1msent" }],
                },
            ],
            "not_called": { "c": "it was skipped" },
        });
        let diff: Diff = serde_json::from_value(answer).expect("an answer");
        let expected = "run_0000000000001 on revision 7\n\
                        ✓ a  greet@1.0.0  the same\n\
                        ✗ b  send@2.0.0  differs\n    ~ out#/n: 1 → 2\n    \
                        without effect: POST https://example.com (2), keys written (1)\n";
        let told = human(&diff);
        assert!(told.starts_with(expected), "{told}");
        assert!(told.ends_with("– c  not called: it was skipped\n") && !told.contains('\u{1b}'), "{told}");
    }
}
