//! Events for other grids, one by one.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bindings::trellis::plugin::outbox::{self, EmitOptions, OutboxError};

/// Grid, data as JSON text, attributes. The data is text, so that it can be none.
#[derive(Deserialize)]
pub struct Event(String, String, #[serde(default)] Vec<(String, String)>);

/// The results, in order: `"ok"`, or `{"error": …}`.
pub fn emit(events: &[Event]) -> Value {
    events.iter().map(Event::emit).collect()
}

/// How many of them were accepted, and what the first refusal said.
pub fn emit_times(event: &Event, times: u32) -> Value {
    let results: Vec<Value> = (0..times).map(|_| event.emit()).collect();
    let refusal = results.iter().find(|result| *result != "ok").cloned();
    json!([results.iter().filter(|result| *result == "ok").count(), refusal])
}

pub fn emit_to_all(grids: &[String], data: &Value) {
    for grid in grids {
        let answer = Event(grid.clone(), data.to_string(), Vec::new()).emit();
        assert_eq!(answer, "ok");
    }
}

impl Event {
    fn emit(&self) -> Value {
        let Self(grid, data, attributes) = self;
        let options = EmitOptions { attributes: attributes.clone() };
        match outbox::emit(grid, data, &options) {
            Ok(()) => json!("ok"),
            Err(error) => json!({ "error": shown(&error) }),
        }
    }
}

fn shown(error: &OutboxError) -> String {
    match error {
        OutboxError::Denied(text) => format!("denied: {text}"),
        OutboxError::Invalid(text) => format!("invalid: {text}"),
        OutboxError::Limit(text) => format!("limit: {text}"),
        OutboxError::HopLimit(text) => format!("hop limit: {text}"),
    }
}
