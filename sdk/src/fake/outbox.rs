//! What was emitted to other grids.

use serde_json::Value;

use crate::outbox::Error;

use super::with_state;

/// An event that was emitted.
///
/// ```
/// use trellis_sdk::{fake, outbox};
///
/// outbox::emit("pick", &7)?;
/// assert_eq!(fake::emitted()[0].grid, "pick");
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The grid that it is for.
    pub grid: String,
    /// Its data.
    pub data: Value,
    /// The attributes that the transformer gave it, without those that a host adds.
    pub attributes: Vec<(String, String)>,
}

#[derive(Default)]
pub(super) struct OutboxState {
    events: Vec<Emitted>,
    /// How many of them are committed.
    committed: usize,
}

impl OutboxState {
    pub(super) fn emit(&mut self, grid: &str, json: &str, attributes: Vec<(String, String)>) -> Result<(), Error> {
        let data = serde_json::from_str(json).map_err(|error| Error::Invalid(error.to_string()))?;
        self.events.push(Emitted { grid: grid.into(), data, attributes });
        Ok(())
    }

    pub(super) fn commit(&mut self) {
        self.committed = self.events.len();
    }

    pub(super) fn rollback(&mut self) {
        self.events.truncate(self.committed);
    }
}

/// The events that were emitted so far, in order, without those that a [`super::rollback`] has taken back.
///
/// ```
/// use trellis_sdk::{fake, json, outbox};
///
/// outbox::emit("pick", &json!({ "sku": "a" }))?;
/// assert_eq!(fake::emitted()[0].data, json!({ "sku": "a" }));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn emitted() -> Vec<Emitted> {
    with_state(|state| state.outbox.events.clone())
}
