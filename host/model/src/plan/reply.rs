//! Triggers that answer with a result, as they are planned: which node's output on which port it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{ResolvedPlugins, port_suggestion};
use crate::{
    fault::{Fault, did_you_mean},
    manifest::{GridDefinition, Manifest, Origin, Reply, ReplyFrom, reader::Faults},
};

/// Whose output is the answer to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedReply {
    pub node: String,
    pub port: String,
    /// In milliseconds; none: as long as the host lets a sender wait.
    pub timeout_ms: Option<u64>,
}

/// The answers of a manifest's triggers, by the trigger's name; of those that answer with a result.
///
/// # Errors
/// Nodes and ports that do not exist, and results that could be several.
pub fn plan_replies(
    manifest: &Manifest,
    plugins: &ResolvedPlugins,
) -> Result<BTreeMap<String, PlannedReply>, Vec<Fault>> {
    let mut faults = Faults::default();
    let replies = plan(manifest, plugins, &mut faults);
    faults.into_result(replies)
}

pub(super) fn plan(
    manifest: &Manifest,
    plugins: &ResolvedPlugins,
    faults: &mut Faults,
) -> BTreeMap<String, PlannedReply> {
    let mut replies = BTreeMap::new();
    for (index, trigger) in manifest.triggers.iter().enumerate() {
        let (Reply::Result(from), Some(grid)) = (&trigger.http.reply, manifest.grids.get(&trigger.grid)) else {
            continue;
        };
        let pointer = format!("/triggers/{index}/reply");
        let Some(node) = node(from, grid, &pointer, faults) else { continue };
        if let Some(port) = port(from, grid, &node, plugins, &pointer, faults) {
            replies.insert(trigger.name.clone(), PlannedReply { node, port, timeout_ms: from.timeout_ms });
        }
    }
    replies
}

fn node(from: &ReplyFrom, grid: &GridDefinition, pointer: &str, faults: &mut Faults) -> Option<String> {
    if let Some(named) = &from.node {
        if grid.nodes.contains_key(named) {
            return Some(named.clone());
        }
        let fault = Fault::at(format!("{pointer}/node"), format!("the trigger's grid has no node `{named}`"));
        faults.push(match did_you_mean(named, grid.nodes.keys().map(String::as_str)) {
            Some(near) => fault.fix(format!("did you mean `{near}`?")),
            None => fault.fix("name a node of the grid"),
        });
        return None;
    }
    let origins = grid.nodes.values().flat_map(|node| node.inputs.values());
    let taken: BTreeSet<&str> = origins
        .filter_map(|origin| match origin {
            Origin::Port { node, .. } => Some(node.as_str()),
            _ => None,
        })
        .collect();
    let last: Vec<&str> = grid.nodes.keys().map(String::as_str).filter(|name| !taken.contains(name)).collect();
    match last.as_slice() {
        [only] => Some((*only).to_owned()),
        // A grid that goes round in circles has a fault of its own.
        [] => None,
        [first, ..] => {
            let message = format!("the result could be that of several nodes: {}", last.join(", "));
            faults.push(Fault::at(pointer, message).fix(format!("write `reply = {{ node = \"{first}\" }}`")));
            None
        }
    }
}

fn port(
    from: &ReplyFrom,
    grid: &GridDefinition,
    node: &str,
    plugins: &ResolvedPlugins,
    pointer: &str,
    faults: &mut Faults,
) -> Option<String> {
    let plugin = &grid.nodes[node].plugin;
    let outputs = &plugins.get(plugin)?.description.outputs;
    if let Some(named) = &from.port {
        if outputs.contains_key(named) {
            return Some(named.clone());
        }
        let message = format!("plugin `{plugin}` has no output port `{named}`");
        let fault = Fault::at(format!("{pointer}/port"), message);
        faults.push(fault.fix(port_suggestion(named, outputs.keys())));
        return None;
    }
    let known: Vec<&str> = outputs.keys().map(String::as_str).collect();
    match known.as_slice() {
        [only] => Some((*only).to_owned()),
        [] => {
            faults.push(
                Fault::at(pointer, format!("node `{node}` has no output that could be the answer"))
                    .fix("name another node, or leave `reply` out"),
            );
            None
        }
        [first, ..] => {
            let message = format!("node `{node}` has several outputs: {}", known.join(", "));
            let fix = format!("write `reply = {{ node = \"{node}\", port = \"{first}\" }}`");
            faults.push(Fault::at(pointer, message).fix(fix));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{PluginId, description::Description, plan::ResolvedPlugin};

    const NODES: &str = "a = { plugin = \"one\", inputs = { in = \"event\" } }\n\
                         b = { plugin = \"two\", inputs = { in = \"a.out\" } }\n";

    fn plan(nodes: &str, reply: &str) -> Result<Option<PlannedReply>, Vec<Fault>> {
        let plugin = |id, outputs: &str| {
            let json = format!("{{\"inputs\":{{\"in\":{{}}}},\"outputs\":{{{outputs}}}}}");
            ResolvedPlugin { id: PluginId(id), description: Arc::new(Description::parse(&json).expect("valid")) }
        };
        let plugins = BTreeMap::from([
            ("one".to_owned(), plugin(1, "\"out\":{}")),
            ("two".to_owned(), plugin(2, "\"sum\":{},\"rest\":{}")),
        ]);
        let text = format!(
            "[project]\nname = \"p\"\n[plugins]\none = \"one@1\"\ntwo = \"two@1\"\n[[triggers]]\nname = \"t\"\n\
             kind = \"http\"\ngrid = \"g\"\npath = \"/t\"\nreply = {reply}\n[grids.g.nodes]\n{nodes}"
        );
        let mut replies = plan_replies(&Manifest::from_toml(&text)?, &plugins)?;
        Ok(replies.remove("t"))
    }

    #[test]
    fn the_result_is_named_or_the_only_one_that_can_be_meant() {
        let planned = |node: &str, port: &str, timeout_ms| {
            Some(PlannedReply { node: node.to_owned(), port: port.to_owned(), timeout_ms })
        };
        let only = NODES.split_inclusive('\n').next().expect("a line");
        for (nodes, reply, expected) in [
            (NODES, "\"accepted\"", None),
            (only, "\"result\"", planned("a", "out", None)),
            (NODES, "{ node = \"a\" }", planned("a", "out", None)),
            (NODES, "{ node = \"b\", port = \"sum\", timeout = \"5s\" }", planned("b", "sum", Some(5_000))),
        ] {
            assert_eq!(plan(nodes, reply).expect(reply), expected, "{reply}");
        }
    }

    #[test]
    fn a_result_that_is_not_there_or_could_be_several_is_a_fault() {
        let two_last = format!("{NODES}c = {{ plugin = \"one\", inputs = {{ in = \"event\" }} }}");
        for (nodes, reply, pointer, expected) in [
            (NODES, "\"results\"", "/triggers/0/reply", "did you mean `result`?"),
            (NODES, "{ port = \"out\" }", "/triggers/0/reply", "`node` is missing"),
            (NODES, "{ node = \"aa\" }", "/triggers/0/reply/node", "did you mean `a`?"),
            (NODES, "{ node = \"b\" }", "/triggers/0/reply", "node `b` has several outputs: rest, sum"),
            (NODES, "{ node = \"b\", port = \"summ\" }", "/triggers/0/reply/port", "did you mean `sum`?"),
            (NODES, "{ node = \"a\", timeout = \"2h\" }", "/triggers/0/reply/timeout", "is allowed"),
            (&two_last, "\"result\"", "/triggers/0/reply", "several nodes: b, c"),
        ] {
            let faults = plan(nodes, reply).expect_err(reply);
            let found = faults.iter().any(|fault| fault.pointer == pointer && fault.to_string().contains(expected));
            assert!(found, "{expected} at {pointer} not in {faults:#?}");
        }
    }
}
