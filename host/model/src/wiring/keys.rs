//! Keys that are taken from events: whether events of a trigger that says what they look like can have one there.
//!
//! An event without a key is run like any other, so a pointer that leads nowhere would never be noticed.

use serde_json::Value;

use super::Check;
use crate::{
    fault::Fault,
    manifest::{Dedupe, Trigger, TriggerAuth},
    schema::fit::{self, Clash},
};

impl Check<'_> {
    /// `dedupe` of triggers, and `concurrency_key` of grids.
    pub(super) fn keys(&mut self) {
        let manifest = self.manifest;
        for (index, trigger) in manifest.triggers.iter().enumerate() {
            let Some(Dedupe::Pointer(key)) = trigger.http.dedupe.as_ref().filter(|_| !is_of_the_scheme(trigger)) else {
                continue;
            };
            if let Some(clash) = self.without(trigger, key) {
                self.no_key(&format!("/triggers/{index}/dedupe"), key, trigger, &clash);
            }
        }
        for (name, grid) in &manifest.grids {
            let Some(key) = &grid.order.concurrency_key else { continue };
            // What nodes emit to the grid may have it.
            let mut nodes = manifest.grids.values().flat_map(|grid| grid.nodes.values());
            if nodes.any(|node| node.grants.emit.contains(name)) {
                continue;
            }
            let own: Vec<&Trigger> = manifest.triggers.iter().filter(|trigger| trigger.grid == *name).collect();
            let clashes: Option<Vec<Clash>> = own.iter().map(|trigger| self.without(trigger, key)).collect();
            if let (Some(clash), Some(trigger)) = (clashes.as_deref().and_then(<[_]>::first), own.first()) {
                self.no_key(&format!("/grids/{name}/concurrency_key"), key, trigger, clash);
            }
        }
    }

    /// Why no event of a trigger has anything there.
    fn without(&mut self, trigger: &Trigger, key: &str) -> Option<Clash> {
        let schema = trigger.http.schema.as_ref()?.as_json();
        fit::clash(schema, key, &Value::Bool(true), &mut self.budget)
    }

    fn no_key(&mut self, pointer: &str, key: &str, trigger: &Trigger, clash: &Clash) {
        let at = if clash.pointer.is_empty() { String::new() } else { format!(" at `{}`", clash.pointer) };
        let message = format!(
            "events never have a key at `{key}`: by the schema of trigger `{}` they are {}{at}, not {}",
            trigger.name, clash.given, clash.taken
        );
        self.faults.push(Fault::at(pointer, message).fix("point at a part that there is, or let the schema have it"));
    }
}

/// Whether nobody has written it: senders of this kind have it.
fn is_of_the_scheme(trigger: &Trigger) -> bool {
    let TriggerAuth::Signature(signature) = &trigger.http.auth else { return false };
    signature.scheme.event_id().and_then(|id| id.parse().ok()) == trigger.http.dedupe
}
