//! Whether what flows through a grid can be what its nodes take, by the JSON Schemas that plugins and triggers describe:
//! configs and literals value by value, edges schema by schema.
//!
//! Asked once, when a project is deployed. A revision that was deployed before is run as it is: what was learnt since about
//! schemas must not take it away. That names exist and ports are there is [`crate::plan`]'s part.

mod arrays;
mod edges;
pub mod imports;
mod keys;

use std::collections::HashMap;

use serde_json::Value;

use arrays::Arrays;

use crate::{
    fault::{self, Fault},
    manifest::{
        Manifest, NodeDefinition, Origin,
        document::{Item, pointer_join},
        reader::Faults,
    },
    plan::{ResolvedPlugin, ResolvedPlugins, plan_grids},
    records::collections_of,
    schema::{Misfit, PatternBudget, Validator, fit::Budget},
};

/// All that is wrong with a manifest and the plugins that it names, in the order of the text: what reading it has found, what
/// its grids lack, and what cannot flow through them. What one fault has taken away is not missed a second time.
pub fn all_faults(document: &Item, manifest: &Manifest, read: Vec<Fault>, plugins: &ResolvedPlugins) -> Vec<Fault> {
    let mut all = read;
    let planned = plan_grids(manifest, plugins).err().unwrap_or_default();
    add_new(document, &mut all, planned);
    add_new(document, &mut all, collections_of(manifest).err().unwrap_or_default());
    add_new(document, &mut all, faults(manifest, plugins));
    fault::sort(&mut all);
    all
}

fn add_new(document: &Item, all: &mut Vec<Fault>, found: Vec<Fault>) {
    let known = all.len();
    for fault in found {
        if all[..known].iter().all(|other| !fault.is_related_to(other)) {
            let placed = document.place_of(&fault.pointer).fault(fault.message);
            all.push(Fault { fix: fault.fix, ..placed });
        }
    }
}

/// What configs, literals and edges do not fit, with JSON Pointers into the manifest.
pub fn faults(manifest: &Manifest, plugins: &ResolvedPlugins) -> Vec<Fault> {
    let mut check = Check {
        manifest,
        plugins,
        validators: HashMap::new(),
        patterns: PatternBudget::new(PatternBudget::PLUGINS),
        bounded: HashMap::new(),
        arrays: Arrays::default(),
        budget: Budget::default(),
        faults: Faults::default(),
    };
    check.keys();
    for (grid, definition) in &manifest.grids {
        for (name, node) in &definition.nodes {
            if check.faults.is_full() {
                return check.faults.into_vec();
            }
            let pointer = format!("{}/nodes/{name}", pointer_join("/grids", grid));
            if let Some(plugin) = plugins.get(&node.plugin) {
                check.node(grid, &pointer, node, plugin);
            }
        }
    }
    check.faults.into_vec()
}

struct Check<'m> {
    manifest: &'m Manifest,
    plugins: &'m ResolvedPlugins,
    /// By the address of the schema. None: nothing can be checked with it.
    validators: HashMap<*const Value, Option<Validator>>,
    patterns: PatternBudget,
    /// The same for schemas that are looked through.
    bounded: HashMap<*const Value, bool>,
    arrays: Arrays,
    budget: Budget,
    faults: Faults,
}

impl<'m> Check<'m> {
    fn node(&mut self, grid: &str, pointer: &str, node: &'m NodeDefinition, plugin: &'m ResolvedPlugin) {
        let what = format!("config of plugin `{}`", node.plugin);
        self.value(&plugin.description.config, &node.config, &format!("{pointer}/config"), &what);
        for (port, origin) in &node.inputs {
            let Some(described) = plugin.description.inputs.get(port).map(|input| &input.schema) else { continue };
            let array = (arrays::taken_apart(node) == Some(port.as_str())).then(|| self.arrays.of(described));
            let taken = array.as_deref().unwrap_or(described);
            let pointer = pointer_join(&format!("{pointer}/inputs"), port);
            match origin {
                Origin::Literal(value) => {
                    let what = format!("literal for port `{port}` of plugin `{}`", node.plugin);
                    self.value(taken, value, &format!("{pointer}/literal"), &what);
                }
                Origin::Port { .. } | Origin::Event { .. } => {
                    let to = edges::Taker { port, plugin: &node.plugin, schema: taken, takes_apart: array.is_some() };
                    self.edge(grid, &pointer, origin, &to);
                }
            }
        }
    }

    /// A value that the manifest writes out.
    fn value(&mut self, schema: &Value, value: &Value, pointer: &str, what: &str) {
        let patterns = &mut self.patterns;
        let compiled = || patterns.takes(schema).then(|| Validator::new(schema).ok()).flatten();
        let validator = self.validators.entry(schema).or_insert_with(compiled);
        // Of a plugin that was uploaded before schemas were checked there, or whose patterns are too many together with others.
        let Some(validator) = validator else { return };
        for Misfit { pointer: part, message, fix } in validator.misfits(value) {
            let fault = Fault::at(format!("{pointer}{part}"), format!("{what}: {message}"));
            self.faults.push(match fix {
                Some(fix) => fault.fix(fix),
                None => fault.fix(
                    "`trellis plugin inspect FOLDER` or `trellis plugin show NAME@VERSION` tells what the plugin takes",
                ),
            });
        }
    }
}

#[cfg(test)]
mod tests;
