//! A project as it is deployed: one plugin, its grids, and an http trigger for each of them.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use trellis_build::BuiltPlugin;

/// The event: the size of a small order.
pub const EVENT: &str = r#"{"id":"A-1017","customer":{"name":"Ada Example","country":"DE"},"currency":"USD","total":129.5,"items":[{"sku":"T-8812","count":2},{"sku":"K-0031","count":1}],"gift":false}"#;

/// The project's name, in every account.
pub const PROJECT: &str = "bench";
/// The grid of a project that has one.
pub const GRID: &str = "main";

#[derive(Clone, Debug)]
pub struct Project {
    pub name: String,
    pub plugin: String,
    pub version: String,
    pub component: Bytes,
    /// Grid by name, each an object of nodes.
    pub grids: Map<String, Value>,
}

impl Project {
    /// One grid of one node with this config.
    pub fn of_one_node(guest: &BuiltPlugin, config: &Value) -> Self {
        let nodes = json!({ "node": { "plugin": guest.name, "inputs": { "in": "event" }, "config": config } });
        Self::of_grids(guest, Map::from_iter([(GRID.to_owned(), nodes)]))
    }

    pub fn of_grids(guest: &BuiltPlugin, grids: Map<String, Value>) -> Self {
        Self {
            name: PROJECT.to_owned(),
            plugin: guest.name.clone(),
            version: guest.version.clone(),
            component: Bytes::from(guest.bytes.clone()),
            grids,
        }
    }

    pub fn manifest(&self) -> Value {
        let trigger = |grid: &String| json!({ "name": grid, "kind": "http", "grid": grid, "path": format!("/{grid}"), "auth": "token" });
        let triggers: Vec<Value> = self.grids.keys().map(trigger).collect();
        let grid = |(name, nodes): (&String, &Value)| (name.clone(), json!({ "nodes": nodes }));
        json!({
            "project": { "name": self.name },
            "plugins": { &self.plugin: format!("{}@={}", self.plugin, self.version) },
            "triggers": triggers,
            "grids": self.grids.iter().map(grid).collect::<Map<String, Value>>(),
        })
    }
}
