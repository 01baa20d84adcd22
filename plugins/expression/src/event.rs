//! What an expression sees as `$event`.

use serde_json::{Map, Value, json};
use trellis_sdk::event;

/// The event that is being handled: `run`, `node`, `attempt`, `idempotency_key`, and `attributes` by name.
pub fn current_event() -> Value {
    let event = event::current();
    let attributes: Map<String, Value> =
        event.attributes.into_iter().map(|(name, value)| (name, value.into())).collect();
    json!({
        "run": event.run,
        "node": event.node,
        "attempt": event.attempt,
        "idempotency_key": event.idempotency_key,
        "attributes": attributes,
    })
}
