//! The grid plan: a grid of the manifest joined with its plugins' descriptions, checked and put in order.
//!
//! Everything that can be known before a run is decided here, so that running a grid only follows indices.

mod each;
mod reply;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub use self::{
    each::{PlannedEach, array_of},
    reply::{PlannedReply, plan_replies},
};
use crate::{
    PluginId,
    backoff::RetryPolicy,
    call_limits::OwnCallLimits,
    description::Description,
    fault::{Fault, did_you_mean},
    grant::Grants,
    manifest::{GridDefinition, Manifest, NodeDefinition, Origin, document::pointer_join, reader::Faults},
    place::GridOrder,
};

/// An uploaded plugin that a manifest's plugin name stands for.
#[derive(Clone, Debug)]
pub struct ResolvedPlugin {
    pub id: PluginId,
    pub description: Arc<Description>,
}

/// The plugins of a manifest by the names it gives them.
pub type ResolvedPlugins = BTreeMap<String, ResolvedPlugin>;

/// One grid, ready to run. Nodes stand in topological order: what a node needs comes before it.
#[derive(Clone, Debug)]
pub struct GridPlan {
    pub name: String,
    /// In which order and how many at once its runs are started.
    pub order: GridOrder,
    pub nodes: Vec<PlannedNode>,
}

impl GridPlan {
    /// Whether any of its nodes has a use for a credential.
    pub fn needs_credentials(&self) -> bool {
        self.nodes.iter().any(|node| !node.grants.credential_names().is_empty())
    }
}

/// One node of a plan.
#[derive(Clone, Debug)]
pub struct PlannedNode {
    pub name: String,
    pub plugin: PluginId,
    pub inputs: Vec<PlannedInput>,
    /// The node's config as JSON text.
    pub config: Arc<str>,
    pub grants: Arc<Grants>,
    pub limits: OwnCallLimits,
    pub retry: RetryPolicy,
    /// From the moment that its inputs are there to its first call, in milliseconds.
    pub delay_ms: u64,
    /// Some: it is called once for every element of an array.
    pub each: Option<PlannedEach>,
}

#[derive(Clone, Debug)]
pub struct PlannedInput {
    pub port: String,
    pub origin: PlannedOrigin,
    /// Whether the node is skipped when this input has no value.
    pub required: bool,
}

/// Where an input's value comes from.
#[derive(Clone, Debug)]
pub enum PlannedOrigin {
    Event {
        pointer: String,
    },
    /// A port of the node at this index, which is smaller than the index of the node that has the input.
    Port {
        node: usize,
        port: String,
        pointer: String,
    },
    /// JSON text.
    Literal(Arc<str>),
}

/// Plans every grid of a manifest.
///
/// # Errors
/// Cycles, edges to ports that do not exist, required inputs without an origin: all of them, with their pointers.
pub fn plan_grids(manifest: &Manifest, plugins: &ResolvedPlugins) -> Result<BTreeMap<String, GridPlan>, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut plans = BTreeMap::new();
    for (name, grid) in &manifest.grids {
        let mut planner = Planner { grid, pointer: pointer_join("/grids", name), plugins, faults: &mut faults };
        plans.insert(name.clone(), planner.plan(name));
    }
    reply::plan(manifest, plugins, &mut faults);
    faults.into_result(plans)
}

struct Planner<'a> {
    grid: &'a GridDefinition,
    pointer: String,
    plugins: &'a ResolvedPlugins,
    faults: &'a mut Faults,
}

impl<'a> Planner<'a> {
    fn plan(&mut self, name: &str) -> GridPlan {
        let order = self.order();
        let index: HashMap<&str, usize> = order.iter().enumerate().map(|(index, node)| (*node, index)).collect();
        let nodes = order.iter().map(|node| self.plan_node(node, &index)).collect();
        GridPlan { name: name.to_owned(), order: self.grid.order.clone(), nodes }
    }

    /// Topological order by Kahn's method; ties in name order, so that a plan is the same every time.
    fn order(&mut self) -> Vec<&'a str> {
        let upstream: BTreeMap<&str, Vec<&str>> =
            self.grid.nodes.iter().map(|(name, node)| (name.as_str(), self.known_upstream(node))).collect();
        let mut missing: BTreeMap<&str, usize> = upstream.iter().map(|(name, nodes)| (*name, nodes.len())).collect();
        let mut downstream: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, nodes) in &upstream {
            for node in nodes {
                downstream.entry(node).or_default().push(name);
            }
        }
        let mut ready: std::collections::BTreeSet<&str> =
            missing.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        let mut order = Vec::with_capacity(upstream.len());
        while let Some(name) = ready.pop_first() {
            order.push(name);
            for next in downstream.get(name).into_iter().flatten() {
                let count = missing.get_mut(next).expect("every node is counted");
                *count -= 1;
                if *count == 0 {
                    ready.insert(next);
                }
            }
        }
        if order.len() < upstream.len() {
            self.report_cycle(&upstream, &order);
        }
        order
    }

    fn known_upstream(&self, node: &'a NodeDefinition) -> Vec<&'a str> {
        let mut names: Vec<&str> = node
            .inputs
            .values()
            .filter_map(|origin| match origin {
                Origin::Port { node, .. } if self.grid.nodes.contains_key(node) => Some(node.as_str()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Every node left without an order has a left-over node upstream: following one of them must come round.
    fn report_cycle(&mut self, upstream: &BTreeMap<&str, Vec<&str>>, order: &[&str]) {
        let left = |name: &&str| !order.contains(name);
        let Some(start) = upstream.keys().copied().find(left) else {
            return;
        };
        let mut walk = vec![start];
        let cycle = loop {
            let last = walk.last().expect("the walk has a start");
            let Some(next) = upstream[last].iter().copied().find(left) else {
                return;
            };
            if let Some(at) = walk.iter().position(|seen| *seen == next) {
                break walk.split_off(at);
            }
            walk.push(next);
        };
        let mut path: Vec<&str> = cycle.iter().rev().copied().collect();
        let first = path.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
        path.rotate_left(first);
        path.push(path[0]);
        let message = format!("the grid has a cycle: {}", path.join(" → "));
        self.faults.push(Fault::at(format!("{}/nodes", self.pointer), message).fix("take one of these edges out"));
    }

    fn plan_node(&mut self, name: &str, index: &HashMap<&str, usize>) -> PlannedNode {
        let node = &self.grid.nodes[name];
        let pointer = format!("{}/nodes/{name}", self.pointer);
        let plugin = self.plugins.get(&node.plugin);
        let inputs = self.plan_inputs(node, &pointer, index);
        if let Some(plugin) = plugin {
            self.check_required_inputs(node, plugin, &pointer);
        }
        let description = plugin.map(|plugin| &*plugin.description);
        let each = node.each.as_ref().and_then(|each| each::plan(each, node, description, &pointer, self.faults));
        PlannedNode {
            name: name.to_owned(),
            // A plugin that did not resolve is a fault already, and no plan with faults is ever used.
            plugin: plugin.map_or(PluginId(0), |plugin| plugin.id),
            inputs,
            config: node.config.to_string().into(),
            grants: Arc::new(node.grants.clone()),
            limits: node.limits,
            retry: node.retry,
            delay_ms: node.delay_ms,
            each,
        }
    }

    fn plan_inputs(&mut self, node: &NodeDefinition, pointer: &str, index: &HashMap<&str, usize>) -> Vec<PlannedInput> {
        let description = self.plugins.get(&node.plugin).map(|plugin| Arc::clone(&plugin.description));
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (port, origin) in &node.inputs {
            let pointer = format!("{pointer}/inputs/{port}");
            let described = description.as_ref().map(|description| description.inputs.get(port));
            if described == Some(None) {
                let known = description.iter().flat_map(|description| description.inputs.keys());
                let message = format!("plugin `{}` has no input port `{port}`", node.plugin);
                self.faults.push(Fault::at(&pointer, message).fix(port_suggestion(port, known)));
            }
            if let Some(origin) = self.plan_origin(origin, &pointer, index) {
                inputs.push(PlannedInput {
                    port: port.clone(),
                    origin,
                    required: described.flatten().is_none_or(|input| input.required),
                });
            }
        }
        inputs
    }

    fn plan_origin(&mut self, origin: &Origin, pointer: &str, index: &HashMap<&str, usize>) -> Option<PlannedOrigin> {
        match origin {
            Origin::Event { pointer } => Some(PlannedOrigin::Event { pointer: pointer.clone() }),
            Origin::Literal(value) => Some(PlannedOrigin::Literal(value.to_string().into())),
            Origin::Port { node, port, pointer: value_pointer } => {
                let Some(from) = self.grid.nodes.get(node) else {
                    let known = self.grid.nodes.keys().map(String::as_str);
                    let fault = Fault::at(pointer, format!("node `{node}` does not exist in this grid"));
                    self.faults.push(match did_you_mean(node, known) {
                        Some(near) => fault.fix(format!("did you mean `{near}`?")),
                        None => fault.fix("name a node of this grid, or `event`"),
                    });
                    return None;
                };
                self.check_output(from, port, pointer);
                let node = *index.get(node.as_str())?;
                Some(PlannedOrigin::Port { node, port: port.clone(), pointer: value_pointer.clone() })
            }
        }
    }

    fn check_output(&mut self, from: &NodeDefinition, port: &str, pointer: &str) {
        let Some(plugin) = self.plugins.get(&from.plugin) else {
            return;
        };
        if !plugin.description.outputs.contains_key(port) {
            let message = format!("plugin `{}` has no output port `{port}`", from.plugin);
            let fix = port_suggestion(port, plugin.description.outputs.keys());
            self.faults.push(Fault::at(pointer, message).fix(fix));
        }
    }

    fn check_required_inputs(&mut self, node: &NodeDefinition, plugin: &ResolvedPlugin, pointer: &str) {
        for (port, input) in &plugin.description.inputs {
            if input.required && !node.inputs.contains_key(port) {
                let message = format!("input port `{port}` of plugin `{}` has no origin", node.plugin);
                let fix = format!("add `{port} = \"event\"`, or another origin, to `inputs`");
                self.faults.push(Fault::at(pointer_join(&format!("{pointer}/inputs"), port), message).fix(fix));
            }
        }
    }
}

fn port_suggestion<'p>(written: &str, known: impl Iterator<Item = &'p String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    match did_you_mean(written, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it has none".to_owned(),
        None => format!("it has: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugins() -> ResolvedPlugins {
        let description = |json| Arc::new(Description::parse(json).expect("valid"));
        let plain = description(r#"{"inputs":{"in":{}},"outputs":{"out":{}}}"#);
        let two = description(r#"{"inputs":{"left":{},"right":{"required":false}},"outputs":{"sum":{},"rest":{}}}"#);
        BTreeMap::from([
            ("plain".to_owned(), ResolvedPlugin { id: PluginId(1), description: plain }),
            ("two".to_owned(), ResolvedPlugin { id: PluginId(2), description: two }),
        ])
    }

    fn plan(nodes: &str) -> Result<BTreeMap<String, GridPlan>, Vec<Fault>> {
        let text = format!(
            "[project]\nname = \"p\"\n[plugins]\nplain = \"plain@1\"\ntwo = \"two@1\"\n[grids.g.nodes]\n{nodes}"
        );
        plan_grids(&Manifest::from_toml(&text).expect("a readable manifest"), &plugins())
    }

    #[test]
    fn nodes_stand_behind_what_they_need() {
        let plans = plan(
            "a = { plugin = \"two\", inputs = { left = \"c.out\", right = \"b.out\" } }\n\
             b = { plugin = \"plain\", inputs = { in = \"event#/x\" } }\n\
             c = { plugin = \"plain\", inputs = { in = \"b.out\" } }",
        )
        .expect("valid");
        let names: Vec<&str> = plans["g"].nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "a"]);
        let right = &plans["g"].nodes[2].inputs[1];
        assert!(!right.required && matches!(right.origin, PlannedOrigin::Port { node: 0, .. }));
    }

    fn check(nodes: &str, pointer: &str, expected: &str) {
        let faults = plan(nodes).expect_err(nodes);
        let found = faults.iter().any(|fault| fault.pointer == pointer && fault.to_string().contains(expected));
        assert!(found, "{expected} at {pointer} not in {faults:#?}");
    }

    #[test]
    fn what_cannot_run_is_named_with_its_place() {
        check(
            "a = { plugin = \"plain\", inputs = { in = \"b.out\" } }\nb = { plugin = \"plain\", inputs = { in = \"a.out\" } }",
            "/grids/g/nodes",
            "a → b → a",
        );
        check("a = { plugin = \"plain\", inputs = { in = \"a.out\" } }", "/grids/g/nodes", "a → a");
        check(
            "a = { plugin = \"plain\", inputs = { inn = \"event\" } }",
            "/grids/g/nodes/a/inputs/inn",
            "did you mean `in`?",
        );
        check(
            "a = { plugin = \"plain\" }",
            "/grids/g/nodes/a/inputs/in",
            "input port `in` of plugin `plain` has no origin",
        );
        check(
            "a = { plugin = \"plain\", inputs = { in = \"b.out\" } }",
            "/grids/g/nodes/a/inputs/in",
            "does not exist",
        );
        check(
            "a = { plugin = \"two\", inputs = { left = \"event\", right = \"event\" }, each = true }",
            "/grids/g/nodes/a/each",
            "which of the inputs is the array: left, right",
        );
        check(
            "a = { plugin = \"two\", inputs = { left = \"event\" }, each = { input = \"lft\" } }",
            "/grids/g/nodes/a/each/input",
            "did you mean `left`?",
        );
        check(
            "a = { plugin = \"plain\", inputs = { in = { literal = 1 } }, each = true }",
            "/grids/g/nodes/a/each",
            "its literal is no array",
        );
        check(
            "a = { plugin = \"two\", inputs = { left = \"event\" } }\nb = { plugin = \"plain\", inputs = { in = \"a.summ\" } }",
            "/grids/g/nodes/b/inputs/in",
            "did you mean `sum`?",
        );
    }
}
