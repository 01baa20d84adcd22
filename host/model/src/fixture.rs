//! A fixture: what the nodes of one run were called with and what they came to, as a file that a test keeps.
//!
//! The server writes it (`trellis run export`), the test harness calls a plugin with it once more. What a node read from
//! stores and collections and what it was answered by others is kept by no host, so it is not in there; whoever keeps the
//! fixture adds it by hand, to `storage`, `records` and `http`. Does not know how a call is made.

mod difference;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

pub use difference::{Change, Comparison, Outcome};

use crate::{call_limits::CallLimits, grant::Grants};

/// The form of the file that this version writes and reads.
pub const FORMAT: u32 = 1;

/// One run for a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The form of this file: 1.
    pub format: u32,
    pub run: String,
    pub project: String,
    pub revision: i64,
    pub grid: String,
    /// When the event was accepted, RFC 3339. A replay takes it for the time of day.
    #[schemars(extend("format" = "date-time"))]
    pub accepted_at: String,
    /// Those of the event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Collections that the nodes were granted, as the manifest declares them, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub collections: BTreeMap<String, Value>,
    /// The nodes that were called, in the order of the grid.
    pub nodes: Vec<FixtureNode>,
    /// Nodes that cannot be called once more, and why, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
}

/// One call of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixtureNode {
    pub node: String,
    /// The place in the array, of a node with `each`; the first is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u32>,
    pub plugin: FixturePlugin,
    #[serde(default)]
    pub config: Value,
    /// Those that are not as on a host on which nothing was set.
    #[serde(default, serialize_with = "unlike_the_default", skip_serializing_if = "is_default")]
    pub limits: CallLimits,
    /// As in a manifest.
    #[serde(default)]
    #[schemars(with = "Value")]
    pub grants: Grants,
    /// The attempt that the outcome is of; 1 for the first.
    #[serde(default = "first")]
    pub attempt: u32,
    /// By port.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
    pub outcome: Outcome,
    /// What a replay finds in stores; added by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<StoredValue>,
    /// What a replay finds in collections; added by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<StoredRecord>,
    /// What a replay is answered; added by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<Exchange>,
}

/// What a node was called on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixturePlugin {
    pub name: String,
    pub version: String,
    /// SHA-256 of the component, hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// A value in a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoredValue {
    pub store: String,
    pub key: String,
    /// A text is stored as it is, anything else as JSON.
    pub value: Value,
}

/// A record in a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoredRecord {
    pub collection: String,
    pub key: String,
    pub data: Value,
}

/// An answer to a request. Several for the same request are given in turn, and the last one stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Method and URL as in a grant: `GET https://api.example.com/orders/*`.
    pub request: String,
    pub status: u16,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A text is sent as it is, anything else but null as JSON with its content type.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

/// Why a file is no fixture.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFixture {
    #[error("it is no fixture as `trellis run export` writes them: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is a fixture of format {0}, and this version reads format {FORMAT}; export the run anew")]
    Format(u32),
}

impl FixtureNode {
    /// The node's name, and which element it is: `total[3]`.
    pub fn place(&self) -> String {
        place(&self.node, self.element)
    }
}

/// The name of a node, and which of its elements is meant: `total[3]`.
pub fn place(node: &str, element: Option<u32>) -> String {
    element.map_or_else(|| node.to_owned(), |element| format!("{node}[{element}]"))
}

impl Fixture {
    /// Reads what [`Fixture::to_json`] wrote, and what was added to it by hand.
    ///
    /// # Errors
    /// See [`InvalidFixture`].
    pub fn from_json(text: &str) -> Result<Self, InvalidFixture> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        // First of all: a later format may have keys that this version does not know.
        let Format { format } = serde_json::from_str(text)?;
        if format != FORMAT {
            return Err(InvalidFixture::Format(format));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The file: JSON as a person reads it.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a fixture is plain data with text keys");
        text.push('\n');
        text
    }
}

fn first() -> u32 {
    1
}

fn is_default(limits: &CallLimits) -> bool {
    *limits == CallLimits::default()
}

fn unlike_the_default<S: Serializer>(limits: &CallLimits, serializer: S) -> Result<S::Ok, S::Error> {
    let plain = |limits: &CallLimits| serde_json::to_value(limits).expect("limits are numbers");
    let (mut own, default) = (plain(limits), plain(&CallLimits::default()));
    if let Some(own) = own.as_object_mut() {
        own.retain(|name, limit| default.get(name) != Some(limit));
    }
    own.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture() -> Value {
        json!({
            "format": 1, "run": "run_0000000000001", "project": "p", "revision": 3, "grid": "g",
            "accepted_at": "2026-05-01T12:00:00Z", "attributes": { "trigger": "tasks" },
            "collections": { "issues": { "schema": "trellis:issue", "indexes": { "state": "/state" } } },
            "nodes": [{
                "node": "a", "plugin": { "name": "p", "version": "1.0.0" }, "config": { "n": 1 },
                "limits": { "wall_ms": 100 }, "grants": { "storage": ["cache:r"] }, "attempt": 2,
                "inputs": { "in": { "x": 1 } }, "outcome": { "emitted": { "out": 2 } },
                "records": [{ "collection": "issues", "key": "7", "data": { "state": "open" } }],
                "http": [{ "request": "GET https://example.com/", "status": 200, "body": "yes" }],
            }],
            "left_out": { "b": "it was skipped" },
        })
    }

    #[test]
    fn a_fixture_is_written_as_it_is_read() {
        let text = fixture().to_string();
        let read = Fixture::from_json(&text).expect("a fixture");
        assert_eq!(serde_json::from_str::<Value>(&read.to_json()).expect("JSON"), fixture());
        assert_eq!(read.nodes[0].limits, CallLimits { wall_ms: 100, ..CallLimits::default() });
    }

    #[test]
    fn another_format_and_a_key_that_is_misspelt_are_refused() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut fixture = fixture();
            change(&mut fixture);
            Fixture::from_json(&fixture.to_string()).expect_err("no fixture").to_string()
        };
        let later = refused(&|fixture| fixture["format"] = json!(2));
        assert!(later.contains("format 2") && later.contains("export the run anew"), "{later}");
        let misspelt = refused(&|fixture| fixture["nodes"][0]["htpp"] = json!([]));
        assert!(misspelt.contains("htpp") && misspelt.contains("`http`"), "{misspelt}");
        assert!(refused(&|fixture| *fixture = json!([])).contains("trellis run export"));
    }
}
