//! Events for other grids of the project.
//!
//! ```
//! use trellis_sdk::*;
//!
//! #[data]
//! struct Order { id: String, items: Vec<Item> }
//!
//! #[data]
//! struct Item { sku: String }
//!
//! /// Starts a run of the grid `pick` for every item of an order.
//! #[transformer]
//! fn split(input: Order) -> Result<()> {
//!     for item in &input.items {
//!         outbox::emit("pick", item)?;
//!     }
//!     outbox::event("audit").attribute("order", &input.id).emit("split")?;
//!     Ok(())
//! }
//!
//! # fn main() {
//! let items = vec![Item { sku: "a".into() }, Item { sku: "b".into() }];
//! split(Order { id: "7".into(), items }).unwrap();
//! let emitted = fake::emitted();
//! assert_eq!(emitted.len(), 3);
//! assert_eq!((emitted[0].grid.as_str(), &emitted[0].data), ("pick", &json!({ "sku": "a" })));
//! assert_eq!(emitted[2].attributes, [("order".to_owned(), "7".to_owned())]);
//! # }
//! ```
//!
//! Events are part of the node's transaction: they are committed together with its completion and its storage writes, or not
//! at all, and each committed one starts exactly one run, on the revision of this run. They are never refused for the
//! account's rate limit: they wait.
//!
//! Does not know which grids the node was granted (`grants = { emit = ["pick"] }`): the host answers [`Error::Denied`]. Grids
//! that emit to each other end at the host's limit of hops, with [`Error::HopLimit`].

use serde::Serialize;

use crate::host;

/// Why an event was not emitted. None of these is retryable: the next attempt would fail in the same way.
///
/// ```
/// use trellis_sdk::{Error, ErrorKind, outbox};
///
/// let error = Error::from(outbox::Error::Denied("grid `pick` is not granted".into()));
/// assert_eq!(error.kind(), ErrorKind::Permanent);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node has no grant for this grid.
    #[error("emitting denied: {0}")]
    Denied(String),
    /// The data cannot be written as JSON, or an attribute is not acceptable.
    #[error("the event is invalid: {0}")]
    Invalid(String),
    /// A limit of the call is used up.
    #[error("outbox limit reached: {0}")]
    Limit(String),
    /// Too many emissions lie between this event and one from outside.
    #[error("hop limit reached: {0}")]
    HopLimit(String),
}

/// Emits an event to a grid of the project.
///
/// ```
/// use trellis_sdk::{fake, outbox};
///
/// outbox::emit("pick", &7)?;
/// assert_eq!(fake::emitted()[0].data, 7);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
///
/// # Errors
/// See [`Error`].
pub fn emit(grid: &str, data: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    event(grid).emit(data)
}

/// Begins an event for a grid of the project, to give it attributes; ends with [`NewEvent::emit`].
///
/// ```
/// use trellis_sdk::{fake, outbox};
///
/// outbox::event("audit").attribute("order", "7").emit("split")?;
/// assert_eq!(fake::emitted()[0].grid, "audit");
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn event(grid: impl Into<String>) -> NewEvent {
    NewEvent { grid: grid.into(), attributes: Vec::new() }
}

/// An event being put together; see [`event()`].
///
/// ```
/// use trellis_sdk::{fake, outbox};
///
/// let mut event = outbox::event("audit");
/// for (name, value) in [("order", "7"), ("user", "ann")] {
///     event = event.attribute(name, value);
/// }
/// event.emit("split")?;
/// assert_eq!(fake::emitted()[0].attributes.len(), 2);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "an event is emitted with `emit`"]
pub struct NewEvent {
    grid: String,
    attributes: Vec<(String, String)>,
}

impl NewEvent {
    /// Adds an attribute, which [`crate::event::Event::attribute`] finds in the new run. The host sets `trigger`, `hops`,
    /// `source-run`, `source-node`, `received-at` and the trace itself.
    ///
    /// ```
    /// use trellis_sdk::{fake, outbox};
    ///
    /// outbox::event("audit").attribute("order", "7").emit("split")?;
    /// assert_eq!(fake::emitted()[0].attributes, [("order".to_owned(), "7".to_owned())]);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Emits it, with this data.
    ///
    /// ```
    /// use trellis_sdk::{fake, outbox};
    ///
    /// outbox::event("audit").emit(&["split", "picked"])?;
    /// assert_eq!(fake::emitted()[0].data[1], "picked");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn emit(self, data: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let json = serde_json::to_string(data).map_err(|error| Error::Invalid(error.to_string()))?;
        host::emit(&self.grid, json, self.attributes)
    }
}
