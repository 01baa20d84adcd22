//! What a node has emitted, as it is committed: with its attributes, on the revision of its own run.
//!
//! The own revision and not the newest one: its grids were checked against each other when it was deployed, and a run never
//! changes its revision in the middle. Which id the new run has is the committer's.

use trellis_model::{RunId, outbox, run::Event};
use trellis_store::commit::EmittedEvent;

use super::call::NodeCall;

/// The events of one call, which handled `source`.
pub fn emitted_events(call: &NodeCall, source: &Event, events: Vec<trellis_engine::EmittedEvent>) -> Vec<EmittedEvent> {
    let stored = |event: trellis_engine::EmittedEvent| {
        let trellis_engine::EmittedEvent { grid, data, attributes } = event;
        let attributes = outbox::attributes(&source.attributes, call.run, &call.planned().name, attributes);
        let payload = serde_json::to_vec(&Event { attributes, data });
        EmittedEvent {
            run: RunId(0),
            revision: call.revision.id,
            grid: grid.into(),
            payload: payload.expect("an event is plain data with text keys"),
        }
    };
    events.into_iter().map(stored).collect()
}
