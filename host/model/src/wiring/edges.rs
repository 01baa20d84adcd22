//! Edges: whether anything that comes from an origin can be what a port takes.

use serde_json::Value;

use super::Check;
use crate::{
    fault::Fault,
    manifest::Origin,
    schema::{
        self,
        fit::{self, Clash},
    },
};

/// The end of an edge.
pub(super) struct Taker<'m> {
    pub port: &'m str,
    pub plugin: &'m str,
    pub schema: &'m Value,
    /// Whether the node takes an array apart here, with `each`.
    pub takes_apart: bool,
}

/// What an edge cannot be.
enum Unfit {
    /// At this part of it there is never anything.
    Nothing(Clash),
    /// Nothing of what comes is what is taken.
    Other(Clash),
}

impl Check<'_> {
    pub(super) fn edge(&mut self, grid: &str, pointer: &str, origin: &Origin, to: &Taker<'_>) {
        let fault = match origin {
            Origin::Port { node, port, pointer: part } => {
                let manifest = self.manifest;
                let Some(from) = manifest.grids.get(grid).and_then(|grid| grid.nodes.get(node)) else { return };
                let Some(output) =
                    self.plugins.get(&from.plugin).and_then(|plugin| plugin.description.outputs.get(port))
                else {
                    return;
                };
                let what = format!("port `{port}` of plugin `{}` gives", from.plugin);
                // What comes out of a node that is called for each element is an array of what it emits.
                let array = from.each.as_ref().map(|_| self.arrays.of(&output.schema));
                let schema = array.as_deref().unwrap_or(&output.schema);
                self.unfit(schema, part, to).map(|unfit| told(&unfit, origin, part, &what, to))
            }
            Origin::Event { pointer: part } => self.event_fault(grid, origin, part, to),
            Origin::Literal(_) => None,
        };
        if let Some((message, fix)) = fault {
            self.faults.push(Fault::at(pointer, message).fix(fix));
        }
    }

    /// Events of triggers that say what theirs look like. A part that one trigger never has may come from another; what a
    /// trigger does have must be what is taken.
    fn event_fault(&mut self, grid: &str, origin: &Origin, part: &str, to: &Taker<'_>) -> Option<(String, String)> {
        let manifest = self.manifest;
        let triggers: Vec<_> = manifest.triggers.iter().filter(|trigger| trigger.grid == grid).collect();
        let (mut nothing, mut is_somewhere) = (None, false);
        for trigger in triggers {
            let unfit = trigger.http.schema.as_ref().and_then(|schema| self.unfit(schema.as_json(), part, to));
            let what = || format!("events of trigger `{}` give", trigger.name);
            match unfit {
                Some(unfit @ Unfit::Other(_)) => return Some(told(&unfit, origin, part, &what(), to)),
                Some(unfit @ Unfit::Nothing(_)) => nothing = Some(told(&unfit, origin, part, &what(), to)),
                None => is_somewhere = true,
            }
        }
        nothing.filter(|_| !is_somewhere)
    }

    fn is_bounded(&mut self, schema: &Value) -> bool {
        *self.bounded.entry(schema).or_insert_with(|| schema::is_bounded(schema))
    }

    fn unfit(&mut self, given: &Value, part: &str, to: &Taker<'_>) -> Option<Unfit> {
        // What is not bounded is not looked through.
        if self.is_bounded(given) && self.is_bounded(to.schema) {
            let nothing = fit::clash(given, part, &Value::Bool(true), &mut self.budget).map(Unfit::Nothing);
            return nothing.or_else(|| fit::clash(given, part, to.schema, &mut self.budget).map(Unfit::Other));
        }
        None
    }
}

/// What is wrong with an edge, and how to mend it.
fn told(unfit: &Unfit, origin: &Origin, part: &str, what: &str, to: &Taker<'_>) -> (String, String) {
    match unfit {
        Unfit::Nothing(clash) => {
            let at = if clash.pointer.is_empty() { String::new() } else { format!(" at `{}`", clash.pointer) };
            let message = format!("`{origin}` never has a value: {what} {}{at}, not {}", clash.given, clash.taken);
            (message, "point at a part that there is, or at all of it without `#`".to_owned())
        }
        Unfit::Other(clash) => {
            let at = clash.pointer.strip_prefix(part).unwrap_or(&clash.pointer);
            let at = if at.is_empty() { String::new() } else { format!(" at `{at}`") };
            let Taker { port, plugin, takes_apart, .. } = to;
            let each = if *takes_apart { ", of a node with `each`," } else { "" };
            let message = format!(
                "`{origin}` does not fit: {what} {}{at}, and port `{port}` of plugin `{plugin}`{each} takes {}",
                clash.given, clash.taken
            );
            let fix = "take it from another port, take a part of it with `#/…`, or put a node between them that turns one into the other";
            (message, fix.to_owned())
        }
    }
}
