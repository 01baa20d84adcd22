//! What a deployment changes: two manifests compared, section by section and key by key.
//!
//! Compares what was written, whatever it means: a section that is new to this version of Trellis is compared like the others.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What has become of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Added,
    Changed,
    Removed,
}

/// One thing of a project that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub change: ChangeKind,
    /// `node`, `grid`, `trigger`, `target`, `plugin`, …: what it is.
    pub what: String,
    /// Nodes with their grid, such as `order/tally`.
    pub name: String,
    /// Of a thing that has changed: which of its keys, and from what to what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<ChangedKey>,
}

/// One key that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedKey {
    /// With dots where it lies deeper, such as `config.currency`. Empty: the whole of it.
    pub key: String,
    /// Absent: it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// Absent: it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Levels of tables that keys are told from. Deeper ones are told as a whole.
const KEY_LEVELS_MAX: usize = 4;

/// What leads from one manifest, in its JSON form, to another: added things first, then changed, then removed ones.
pub fn changes(former: &Value, new: &Value) -> Vec<Change> {
    let (former, new) = (things(former), things(new));
    let names: std::collections::BTreeSet<&(String, String)> = former.keys().chain(new.keys()).collect();
    let mut changes: Vec<Change> =
        names.into_iter().filter_map(|thing| change(thing, former.get(thing), new.get(thing))).collect();
    changes.sort_by_key(|change| change.change);
    changes
}

fn change((what, name): &(String, String), former: Option<&Value>, new: Option<&Value>) -> Option<Change> {
    let mut keys = Vec::new();
    let kind = match (former, new) {
        (Some(former), Some(new)) => {
            compare(String::new(), former, new, 0, &mut keys);
            (!keys.is_empty()).then_some(ChangeKind::Changed)?
        }
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (None, None) => return None,
    };
    Some(Change { change: kind, what: what.clone(), name: name.clone(), keys })
}

fn compare(key: String, former: &Value, new: &Value, level: usize, changed: &mut Vec<ChangedKey>) {
    if former == new {
        return;
    }
    let (Value::Object(old), Value::Object(fresh)) = (former, new) else {
        changed.push(ChangedKey { key, from: Some(former.clone()), to: Some(new.clone()) });
        return;
    };
    if level >= KEY_LEVELS_MAX {
        changed.push(ChangedKey { key, from: Some(former.clone()), to: Some(new.clone()) });
        return;
    }
    let names: std::collections::BTreeSet<&String> = old.keys().chain(fresh.keys()).collect();
    for name in names {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        match (old.get(name), fresh.get(name)) {
            (Some(from), Some(to)) => compare(key, from, to, level + 1, changed),
            (from, to) => changed.push(ChangedKey { key, from: from.cloned(), to: to.cloned() }),
        }
    }
}

/// Everything in a manifest that has a name: what it is, its name, and what is written there.
fn things(manifest: &Value) -> BTreeMap<(String, String), Value> {
    let mut things = BTreeMap::new();
    for (section, content) in manifest.as_object().into_iter().flatten() {
        match (section.as_str(), content) {
            ("project" | "dev", _) => {}
            ("grids", Value::Object(grids)) => grids.iter().for_each(|(name, grid)| add_grid(&mut things, name, grid)),
            (_, Value::Object(entries)) => {
                for (name, entry) in entries {
                    things.insert((one_of(section), name.clone()), entry.clone());
                }
            }
            (_, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let name =
                        item.get("name").and_then(Value::as_str).map_or_else(|| index.to_string(), str::to_owned);
                    things.insert((one_of(section), name), item.clone());
                }
            }
            _ => {}
        }
    }
    things
}

fn add_grid(things: &mut BTreeMap<(String, String), Value>, name: &str, grid: &Value) {
    let mut own = grid.as_object().cloned().unwrap_or_default();
    let nodes = own.remove("nodes").and_then(|nodes| nodes.as_object().cloned()).unwrap_or_else(Map::new);
    things.insert(("grid".to_owned(), name.to_owned()), Value::Object(own));
    for (node, content) in nodes {
        things.insert(("node".to_owned(), format!("{name}/{node}")), content);
    }
}

/// `triggers` → `trigger`.
fn one_of(section: &str) -> String {
    section.strip_suffix('s').unwrap_or(section).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Value {
        json!({
            "project": { "name": "shop" },
            "plugins": { "tally": "tally@0.1.0", "old": "old@1.0.0" },
            "triggers": [{ "name": "orders", "kind": "http", "grid": "order", "path": "/orders" }],
            "grids": { "order": { "concurrency_key": "/id", "nodes": {
                "sum": { "plugin": "tally", "config": { "euros": 1, "deep": { "a": 1 } }, "retry": { "attempts": 3 } },
                "gone": { "plugin": "old" },
            } } },
        })
    }

    #[test]
    fn nothing_changes_by_the_order_of_keys() {
        let again: Value = serde_json::from_str(&manifest().to_string()).expect("JSON");
        assert_eq!(changes(&manifest(), &again), []);
    }

    #[test]
    fn what_is_new_gone_and_different_is_told_with_its_keys() {
        let mut new = manifest();
        new["plugins"] = json!({ "tally": "tally@0.2.0", "mail": "mail@1.0.0" });
        new["triggers"][0]["path"] = json!("/new-orders");
        new["grids"]["order"]["nodes"] = json!({
            "sum": { "plugin": "tally", "config": { "euros": 2, "deep": { "a": 1 } }, "delay": "5s" },
            "mail": { "plugin": "mail" },
        });
        let told: Vec<String> = changes(&manifest(), &new)
            .iter()
            .map(|change| {
                let keys: Vec<String> =
                    change.keys.iter().map(|key| format!("{}: {:?} → {:?}", key.key, key.from, key.to)).collect();
                format!("{:?} {} {} {}", change.change, change.what, change.name, keys.join(", ")).trim_end().to_owned()
            })
            .collect();
        assert_eq!(
            told,
            [
                "Added node order/mail",
                "Added plugin mail",
                "Changed node order/sum config.euros: Some(Number(1)) → Some(Number(2)), delay: None → Some(String(\"5s\")), retry: Some(Object {\"attempts\": Number(3)}) → None",
                "Changed plugin tally : Some(String(\"tally@0.1.0\")) → Some(String(\"tally@0.2.0\"))",
                "Changed trigger orders path: Some(String(\"/orders\")) → Some(String(\"/new-orders\"))",
                "Removed node order/gone",
                "Removed plugin old",
            ]
        );
    }

    #[test]
    fn of_a_project_that_is_new_everything_is_added() {
        let added = changes(&Value::Null, &manifest());
        assert!(added.iter().all(|change| change.change == ChangeKind::Added && change.keys.is_empty()), "{added:?}");
        assert_eq!(added.len(), 6, "{added:?}");
    }
}
