//! A production run as a test: what its nodes were called with, called once more on the plugin as it is now.
//!
//! ```sh
//! trellis run export run_01hzx5v9k3qaf > tests/order.json
//! ```
//!
//! ```no_run
//! use trellis_testing::{Fixture, Plugin};
//!
//! // In a `#[test]` of the plugin's own crate:
//! let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR"));
//! Fixture::load("tests/order.json").replay(&plugin).assert_same();
//! ```
//!
//! The fixture has inputs, config, attributes, grants, limits, collections as they were declared, the time of the event, and what
//! each node came to. It has neither what a node read from its stores and collections nor what it was answered by others,
//! because no host keeps that. Whoever keeps the fixture adds what the plugin needs to the node in the file:
//!
//! ```json
//! "storage": [{ "store": "cache", "key": "seen", "value": 1 }],
//! "records": [{ "collection": "issues", "key": "github:acme/shop#7", "data": { "state": "open" } }],
//! "http": [{ "request": "GET https://api.example.com/orders/*", "status": 200, "body": { "id": 7 } }]
//! ```
//!
//! or gives it to the [`Plugin`], with [`Plugin::storage`], [`Plugin::records`], [`Plugin::http_mock`] and [`Plugin::secret`],
//! for all nodes.
//! Secrets of the run's project are not in the file: the host has put `[redacted]` where they stood.

use std::{fmt, fs, path::Path};

use trellis_model::fixture::{Comparison, FixtureNode, Outcome};

use crate::{http::Unanswered, plugin::Plugin, report::Report};

/// A run that was written to a file by `trellis run export`.
///
/// ```no_run
/// use trellis_testing::{Fixture, Plugin, Response};
///
/// let plugin = Plugin::build(env!("CARGO_MANIFEST_DIR"))
///     .http_mock("GET", "https://api.example.com/rates", Response::json(200, [("EUR", 1.1)]));
/// let replay = Fixture::load("tests/order.json").only(&["convert"]).replay(&plugin);
/// // What is different on purpose can be looked at instead.
/// assert_eq!(replay.node("convert").comparison.changes[0].at, "out#/currency");
/// ```
#[derive(Clone, Debug)]
pub struct Fixture(trellis_model::fixture::Fixture);

impl Fixture {
    /// Reads a file; a path that is not absolute begins in the folder of the crate under test. Panics if there is none, or no
    /// fixture in it.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => panic!("cannot read the fixture {}: {error}", path.display()),
        };
        match trellis_model::fixture::Fixture::from_json(&text) {
            Ok(fixture) => Self(fixture),
            Err(error) => panic!("cannot read the fixture {}: {error}", path.display()),
        }
    }

    /// Takes a fixture from text. Panics if it is none.
    #[track_caller]
    pub fn from_json(text: &str) -> Self {
        match trellis_model::fixture::Fixture::from_json(text) {
            Ok(fixture) => Self(fixture),
            Err(error) => panic!("cannot read the fixture: {error}"),
        }
    }

    /// Keeps these nodes alone, of a node with `each` all elements. Panics if one is not in the fixture.
    #[must_use]
    #[track_caller]
    pub fn only(mut self, nodes: &[&str]) -> Self {
        for name in nodes {
            if let Some(reason) = self.0.left_out.get(*name) {
                panic!("node `{name}` is not in the fixture: {reason}");
            }
            let known = self.0.nodes.iter().any(|node| node.node == *name);
            assert!(known, "node `{name}` is not in the fixture; it has: {}", self.names().join(", "));
        }
        self.0.nodes.retain(|node| nodes.contains(&node.node.as_str()));
        self
    }

    fn names(&self) -> Vec<&str> {
        self.0.nodes.iter().map(|node| node.node.as_str()).collect()
    }

    /// Calls the plugin as the nodes of the run were called, each by itself, and compares what comes of it with what was
    /// recorded. Of a plugin that was built from its crate, the nodes are those whose plugin has the crate's name; of any other,
    /// all nodes. Panics if there are none, or if those of a plugin without a name were of several plugins.
    #[track_caller]
    pub fn replay(&self, plugin: &Plugin) -> Replay {
        let own: Vec<&FixtureNode> =
            self.0.nodes.iter().filter(|node| plugin.name().is_none_or(|own| own == node.plugin.name)).collect();
        let mut plugins: Vec<&str> = self.0.nodes.iter().map(|node| node.plugin.name.as_str()).collect();
        plugins.sort_unstable();
        plugins.dedup();
        assert!(!own.is_empty(), "no node of the fixture was called on this plugin, but on: {}", plugins.join(", "));
        assert!(
            plugins.len() == 1 || plugin.name().is_some(),
            "the fixture has nodes of several plugins ({}), and this one has no name; choose nodes with `.only(&[…])`",
            plugins.join(", ")
        );
        let replay_one = |node: &&FixtureNode| {
            let (report, unanswered) = plugin.replayed(&self.0, node);
            let comparison = Comparison::of(&node.outcome, &outcome(&report));
            NodeReplay { node: node.place(), report, comparison, unanswered }
        };
        Replay { run: self.0.run.clone(), nodes: own.iter().map(replay_one).collect() }
    }
}

fn outcome(report: &Report) -> Outcome {
    match (&report.failure, &report.suspended) {
        (Some(failure), _) => Outcome::Failed(failure.into()),
        (None, Some(full)) => Outcome::Failed(trellis_model::run::Reason {
            kind: trellis_model::run::ReasonKind::Waiting,
            message: full.to_string(),
        }),
        (None, None) => Outcome::Emitted(report.emissions.clone()),
    }
}

/// A run that was replayed on a plugin. Printed, it tells the differences, a line each:
///
/// ```text
/// run_01hzx5v9k3qaf differs:
///   node `total`
///     ~ out#/sum: 12 → 13
///     - out#/currency: "EUR"
/// ```
#[derive(Clone, Debug)]
pub struct Replay {
    run: String,
    /// The nodes that were called, in the order of the grid.
    pub nodes: Vec<NodeReplay>,
}

/// One node that was called once more.
#[derive(Clone, Debug)]
pub struct NodeReplay {
    /// Its name in the grid, and which element it is of a node with `each`: `total[3]`.
    pub node: String,
    /// What came of the call.
    pub report: Report,
    /// How that differs from what was recorded.
    pub comparison: Comparison,
    unanswered: Vec<Unanswered>,
}

impl Replay {
    /// Whether all nodes came to what they had come to.
    pub fn is_same(&self) -> bool {
        self.nodes.iter().all(|node| node.comparison.is_same())
    }

    /// Panics with the differences, if there are any.
    #[track_caller]
    pub fn assert_same(&self) {
        assert!(self.is_same(), "{self}");
    }

    /// A node by its name. Panics if it was not called.
    #[track_caller]
    pub fn node(&self, name: &str) -> &NodeReplay {
        match self.nodes.iter().find(|node| node.node == name) {
            Some(node) => node,
            None => {
                let known: Vec<&str> = self.nodes.iter().map(|node| node.node.as_str()).collect();
                panic!("node `{name}` was not called, only: {}", known.join(", "))
            }
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_same() {
            return writeln!(f, "{} came to the same, on {} nodes", self.run, self.nodes.len());
        }
        writeln!(f, "{} differs:", self.run)?;
        for node in self.nodes.iter().filter(|node| !node.comparison.is_same()) {
            writeln!(f, "  node `{}`", node.node)?;
            for line in node.comparison.to_string().lines() {
                writeln!(f, "    {line}")?;
            }
            for Unanswered { method, url } in &node.unanswered {
                let answer = format!("{{ \"request\": \"{method} {url}\", \"status\": 200, \"body\": … }}");
                writeln!(f, "    ? nothing answers {method} {url}: add {answer} to `http` of this node")?;
            }
        }
        Ok(())
    }
}
