//! Manifests in few words.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Outside;

/// A project with the grid `main`, which `POST /hooks/{account}/{name}/events` starts. Its nodes' plugins are uploaded
/// ones, in any version.
pub fn project(name: &str, nodes: &Value) -> Value {
    let used: BTreeSet<&str> = nodes
        .as_object()
        .expect("nodes by name")
        .values()
        .map(|node| node["plugin"].as_str().expect("a node names its plugin"))
        .collect();
    let plugins: Map<String, Value> =
        used.into_iter().map(|plugin| (plugin.to_owned(), json!(format!("{plugin}@*")))).collect();
    json!({
        "project": { "name": name },
        "plugins": plugins,
        "triggers": [{ "name": "events", "kind": "http", "grid": "main", "path": "/events" }],
        "grids": { "main": { "nodes": nodes } },
    })
}

/// A node that does what tests/guests/misbehave calls an action. It is granted the store `s`.
pub fn action(action: &Value) -> Value {
    json!({
        "plugin": "misbehave",
        "inputs": { "in": { "literal": action } },
        "grants": { "storage": ["s:rw"] },
    })
}

/// The same node, called after another one.
pub fn after(mut node: Value, origin: &str) -> Value {
    node["inputs"]["after"] = json!(origin);
    node
}

/// Grants of requests to the world outside.
pub fn grants(outside: &Outside) -> Value {
    json!({ "http": [format!("GET {}/*", outside.url), format!("POST {}/*", outside.url)] })
}
