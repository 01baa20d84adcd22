//! The project manifest: its types, and how they are read from a document with all faults at once.
//!
//! Reading checks what the manifest can be checked for by itself. Whether plugins exist and ports fit is
//! [`crate::plan`]'s part, because that takes the plugins' descriptions.

use std::{collections::BTreeMap, str::FromStr};

use semver::VersionReq;
use serde_json::Value;

pub mod dev;
pub mod document;
pub mod origin;
pub mod reader;
pub mod variables;

mod credential_uses;
mod dedupe;
mod each;
mod event_schema;
mod grants;
mod nodes;
mod order;
mod reply;
mod senders;
mod targets;
mod triggers;

pub use credential_uses::CredentialUse;
pub use dedupe::{Dedupe, InvalidDedupe};
pub use each::{EACH_CONCURRENCY, EACH_CONCURRENCY_MAX, ELEMENTS_HIGHEST, Each};
pub use event_schema::EventSchema;
pub use nodes::NodeDefinition;
pub use origin::Origin;
pub use reply::{Reply, ReplyFrom};
pub use targets::{InvalidTargetHosts, Target, TargetHosts};
pub use triggers::{HttpTrigger, OnLimit, Trigger, TriggerAuth};

use crate::{description::check_name, fault::Fault, place::GridOrder};
use document::Item;
use reader::Faults;

/// Most nodes in one grid: a drawing of more can no longer be read.
pub const NODES_MAX: usize = 500;
/// Most grids, triggers and plugins in one project, each.
pub const SECTIONS_MAX: usize = 200;

/// What a project consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub project: String,
    pub plugins: BTreeMap<String, PluginReference>,
    pub triggers: Vec<Trigger>,
    /// In the order of the manifest: the first that matches a request counts.
    pub targets: Vec<Target>,
    pub grids: BTreeMap<String, GridDefinition>,
    /// What `trellis dev` adds. Nothing else heeds it.
    pub dev: dev::DevDefinition,
}

/// A directed acyclic graph of nodes, as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GridDefinition {
    pub order: GridOrder,
    pub nodes: BTreeMap<String, NodeDefinition>,
}

/// Which plugin a manifest means by one of its plugin names.
#[derive(Clone, Debug, PartialEq)]
pub enum PluginReference {
    /// An uploaded plugin: `name@semver-range`.
    Uploaded { name: String, versions: VersionReq },
    /// A local crate, which `trellis deploy` builds and uploads. Means nothing to a server.
    Local { path: String },
}

/// Text that is no plugin reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPluginReference {
    #[error("`{0}` names no version; write it like `{0}@^1`")]
    NoVersion(String),
    #[error("`{0}` is no plugin name; use letters, digits, `_` and `-`, beginning with a letter")]
    Name(String),
    #[error("`{0}` is no version range; write it like `^1`, `~1.2` or `=1.2.3`")]
    Versions(String),
}

impl FromStr for PluginReference {
    type Err = InvalidPluginReference;

    fn from_str(text: &str) -> Result<Self, InvalidPluginReference> {
        let (name, versions) =
            text.split_once('@').ok_or_else(|| InvalidPluginReference::NoVersion(text.to_owned()))?;
        check_name(name).map_err(|_| InvalidPluginReference::Name(name.to_owned()))?;
        let versions = versions.parse().map_err(|_| InvalidPluginReference::Versions(versions.to_owned()))?;
        Ok(Self::Uploaded { name: name.to_owned(), versions })
    }
}

impl Manifest {
    /// Reads `trellis.toml`.
    ///
    /// # Errors
    /// Every fault, with line and column.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Fault>> {
        Self::read(&document::from_toml(text)?)
    }

    /// Reads the JSON form: the same structure.
    ///
    /// # Errors
    /// Every fault, with its JSON Pointer.
    pub fn from_json(text: &str) -> Result<Self, Vec<Fault>> {
        Self::read(&document::from_json(text)?)
    }

    /// Reads an already parsed document.
    ///
    /// # Errors
    /// Every fault, with its place.
    pub fn read(document: &Item) -> Result<Self, Vec<Fault>> {
        let (manifest, faults) = Self::read_as_far_as_possible(document);
        if faults.is_empty() { Ok(manifest) } else { Err(faults) }
    }

    /// Reads a document with faults as well: what is left of it can be checked further, so that a person sees all at once.
    pub fn read_as_far_as_possible(document: &Item) -> (Self, Vec<Fault>) {
        let mut faults = Faults::default();
        let fields = faults.fields(document, &["project", "plugins", "triggers", "targets", "grids", "dev"]);
        let project = fields.required(&mut faults, "project", "add `[project]` with a `name`");
        let manifest = Self {
            project: read_project(&mut faults, project),
            plugins: fields.optional("plugins").map(|item| read_plugins(&mut faults, item)).unwrap_or_default(),
            grids: fields.optional("grids").map(|item| read_grids(&mut faults, item)).unwrap_or_default(),
            triggers: fields.optional("triggers").map(|item| triggers::read(&mut faults, item)).unwrap_or_default(),
            targets: fields.optional("targets").map(|item| targets::read(&mut faults, item)).unwrap_or_default(),
            dev: fields.optional("dev").map(|item| dev::read(&mut faults, item)).unwrap_or_default(),
        };
        check_references(&mut faults, document, &manifest);
        (manifest, faults.into_vec())
    }
}

fn read_project(faults: &mut Faults, item: Option<&Item>) -> String {
    let Some(item) = item else {
        return String::new();
    };
    let fields = faults.fields(item, &["name"]);
    let Some(name_item) = fields.required(faults, "name", "add `name = \"…\"` under `[project]`") else {
        return String::new();
    };
    let name = faults.text(name_item).unwrap_or_default();
    faults.name(&name, &name_item.place, "project");
    name
}

fn read_plugins(faults: &mut Faults, item: &Item) -> BTreeMap<String, PluginReference> {
    let entries = faults.named_entries(item, "plugin");
    check_count(faults, item, entries.len(), SECTIONS_MAX, "plugins");
    let mut plugins = BTreeMap::new();
    for entry in entries.iter().take(SECTIONS_MAX) {
        if let Some(reference) = read_plugin(faults, &entry.item) {
            plugins.insert(entry.name.clone(), reference);
        }
    }
    plugins
}

fn read_plugin(faults: &mut Faults, item: &Item) -> Option<PluginReference> {
    if matches!(item.kind, document::ItemKind::Text(_)) {
        return faults.parsed(item);
    }
    let fields = faults.fields(item, &["path"]);
    let path = fields.required(faults, "path", "write `{ path = \"plugins/…\" }` or \"name@^1\"")?;
    faults.text(path).map(|path| PluginReference::Local { path })
}

fn read_grids(faults: &mut Faults, item: &Item) -> BTreeMap<String, GridDefinition> {
    let entries = faults.named_entries(item, "grid");
    check_count(faults, item, entries.len(), SECTIONS_MAX, "grids");
    let mut grids = BTreeMap::new();
    for entry in entries.iter().take(SECTIONS_MAX) {
        let fields = faults.fields(&entry.item, &["nodes", "priority", "concurrency_key", "running_max"]);
        let fix = format!("add `[grids.{}.nodes.NAME]`", entry.name);
        let nodes = fields.required(faults, "nodes", &fix).map(|item| nodes::read(faults, item)).unwrap_or_default();
        grids.insert(entry.name.clone(), GridDefinition { order: order::read(faults, fields), nodes });
    }
    grids
}

fn check_count(faults: &mut Faults, item: &Item, count: usize, most: usize, what: &str) {
    if count > most {
        faults.push(item.place.fault(format!("{count} {what}, at most {most} are allowed")));
    }
}

/// Names that one part of the manifest uses and another one defines.
fn check_references(faults: &mut Faults, document: &Item, manifest: &Manifest) {
    let sections = Sections::of(document);
    for (grid_name, grid) in &manifest.grids {
        for (node_name, node) in &grid.nodes {
            let pointer = format!("/grids/{grid_name}/nodes/{node_name}/plugin");
            if faults.is_full() {
                return;
            }
            if !node.plugin.is_empty() && !sections.plugins.contains(&node.plugin.as_str()) {
                faults.push(unknown(document, &pointer, "plugin", &node.plugin, &sections.plugins));
            }
            for (index, grid) in node.grants.emit.iter().enumerate() {
                if !sections.grids.contains(&grid.as_str()) {
                    let pointer = format!("/grids/{grid_name}/nodes/{node_name}/grants/emit/{index}");
                    faults.push(unknown(document, &pointer, "grid", grid, &sections.grids));
                }
            }
        }
    }
    if let Some(event) =
        manifest.dev.event.as_ref().filter(|event| !sections.triggers.contains(&event.trigger.as_str()))
    {
        faults.push(unknown(document, "/dev/event/trigger", "trigger", &event.trigger, &sections.triggers));
    }
    for (index, trigger) in manifest.triggers.iter().enumerate() {
        if !trigger.grid.is_empty() && !sections.grids.contains(&trigger.grid.as_str()) {
            let pointer = format!("/triggers/{index}/grid");
            faults.push(unknown(document, &pointer, "grid", &trigger.grid, &sections.grids));
        }
    }
}

/// The names as written, also of entries that had faults: those are not faulted a second time as unknown.
struct Sections<'i> {
    plugins: Vec<&'i str>,
    grids: Vec<&'i str>,
    triggers: Vec<&'i str>,
}

impl<'i> Sections<'i> {
    fn of(document: &'i Item) -> Self {
        let names = |pointer| match document.find(pointer).map(|item| &item.kind) {
            Some(document::ItemKind::Table(entries)) => {
                entries.iter().take(SECTIONS_MAX).map(|entry| entry.name.as_str()).collect()
            }
            _ => Vec::new(),
        };
        let name_of = |item: &'i Item| match &item.find("/name")?.kind {
            document::ItemKind::Text(name) => Some(name.as_str()),
            _ => None,
        };
        let triggers = match document.find("/triggers").map(|item| &item.kind) {
            Some(document::ItemKind::List(items)) => items.iter().take(SECTIONS_MAX).filter_map(name_of).collect(),
            _ => Vec::new(),
        };
        Self { plugins: names("/plugins"), grids: names("/grids"), triggers }
    }
}

fn unknown(document: &Item, pointer: &str, what: &str, name: &str, known: &[&str]) -> Fault {
    let fault = document.place_of(pointer).fault(format!("{what} `{name}` is not defined in this manifest"));
    match crate::fault::did_you_mean(name, known.iter().copied()) {
        Some(near) => fault.fix(format!("did you mean `{near}`?")),
        None => fault.fix(format!("define it under `[{what}s]`")),
    }
}

/// A JSON value for a node without a config.
pub(crate) fn empty_config() -> Value {
    Value::Object(serde_json::Map::new())
}

#[cfg(test)]
mod tests;
