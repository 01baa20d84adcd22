//! What a node has emitted, as it is committed: with its attributes, on the revision of its own run.
//!
//! The own revision and not the newest one: its grids were checked against each other when it was deployed, and a run never
//! changes its revision in the middle. Which id the new run has is the committer's.

use trellis_model::{RunId, outbox, run::Event};
use trellis_store::jobs::NewJob;

use super::call::NodeCall;

/// The jobs of the events of one call, which handled `source`. They have no id yet, and so no shard.
pub fn emitted_jobs(call: &NodeCall, source: &Event, events: Vec<trellis_engine::EmittedEvent>) -> Vec<NewJob> {
    let job = |event: trellis_engine::EmittedEvent| {
        let trellis_engine::EmittedEvent { grid, data, attributes } = event;
        let attributes = outbox::attributes(&source.attributes, call.run, &call.planned().name, attributes);
        let event = Event { attributes, data };
        NewJob {
            shard: call.queue.shard,
            place: call.revision.place(&grid, &event),
            account: call.queue.account,
            run: RunId(0),
            project: call.revision.project,
            revision: call.revision.id,
            grid: grid.into(),
            payload: serde_json::to_vec(&event).expect("an event is plain data with text keys"),
        }
    };
    events.into_iter().map(job).collect()
}
