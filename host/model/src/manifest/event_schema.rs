//! `schema` of a trigger: what its events look like.

use std::sync::Arc;

use serde_json::Value;

use super::{
    document::{Item, ItemKind},
    reader::Faults,
};
use crate::schema::{Misfit, PatternBudget, Validator};

/// Longest schema of a trigger, as JSON, in bytes: each host keeps it compiled.
const SCHEMA_BYTES_MAX: usize = 256 * 1024;

/// A JSON Schema that events are held against.
#[derive(Clone, Debug)]
pub struct EventSchema {
    schema: Value,
    validator: Arc<Validator>,
}

impl EventSchema {
    /// The schema as it was written.
    pub fn as_json(&self) -> &Value {
        &self.schema
    }

    /// Whether [`Self::misfits`] takes no longer than reading the event did.
    pub fn is_quick(&self, event: &Value) -> bool {
        self.validator.is_quick(event)
    }

    /// What of an event does not fit; nothing if all of it does.
    pub fn misfits(&self, event: &Value) -> Vec<Misfit> {
        self.validator.misfits(event)
    }
}

impl PartialEq for EventSchema {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
    }
}

impl Eq for EventSchema {}

/// `patterns`: those that are left for the schemas of the manifest's triggers.
pub(super) fn read(faults: &mut Faults, item: &Item, patterns: &mut PatternBudget) -> Option<EventSchema> {
    match &item.kind {
        ItemKind::Table(_) | ItemKind::Bool(_) => {}
        ItemKind::Text(path) => {
            let fault = item.place.fault(format!("`{path}` is a file, which means nothing to a server"));
            let fix = "deploy with `trellis deploy`, which puts the file in, or write the schema itself here";
            faults.push(fault.fix(fix));
            return None;
        }
        _ => {
            let fault = item.place.fault(format!("expected a JSON Schema, found {}", item.kind_name()));
            faults.push(fault.fix("write `schema = { type = \"object\", … }`, or the name of a file"));
            return None;
        }
    }
    let schema = item.to_json();
    let bytes = schema.to_string().len();
    if bytes > SCHEMA_BYTES_MAX {
        let fault = item.place.fault(format!("a schema of {bytes} bytes, at most {SCHEMA_BYTES_MAX} are allowed"));
        faults.push(fault.fix("describe only what the grid needs"));
        return None;
    }
    if !patterns.takes(&schema) {
        let most = PatternBudget::MANIFEST;
        let fault = item.place.fault(format!("the schemas of all triggers have more than {most} patterns"));
        faults.push(fault.fix("leave some of them out"));
        return None;
    }
    match Validator::new(&schema) {
        Ok(validator) => Some(EventSchema { schema, validator: Arc::new(validator) }),
        Err(error) => {
            let place = item.place_of(error.pointer());
            faults.push(place.fault(format!("not a JSON Schema that is used here: {error}")).fix("mend the schema"));
            None
        }
    }
}
