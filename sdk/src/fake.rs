//! The host, as native tests see it: a transformer is a function, and what it asks of the host goes here.
//!
//! ```
//! use trellis_sdk::*;
//!
//! #[data]
//! struct Repository { name: String }
//!
//! #[data]
//! struct Stars { count: u64 }
//!
//! /// Counts the stars of a repository.
//! #[transformer]
//! fn stars(input: Repository) -> Result<Out<Stars>> {
//!     let answer = http::get(format!("https://api.example.com/{}", input.name)).send()?.error_for_status()?;
//!     log::info!("{} answered", input.name);
//!     Ok(Out(answer.json()?))
//! }
//!
//! # fn main() {
//! fake::http("GET", "https://api.example.com/trellis").reply_json(200, &json!({ "count": 12 }));
//! let Out(stars) = stars(Repository { name: "trellis".into() }).unwrap();
//! assert_eq!(stars.count, 12);
//! assert_eq!(fake::logs()[0].message, "trellis answered");
//! # }
//! ```
//!
//! Everything here belongs to the thread, and the test runner gives every test a thread of its own: tests do not see each
//! other's fakes. There are no limits, no grants and no sandbox here; `trellis-testing` runs the component itself with all
//! of them.

mod call;
pub(crate) mod host;
mod http;
mod outbox;
mod progress;
mod records;
mod storage;

use std::{cell::RefCell, time::Duration};

use crate::{event::Event, log::Level};

pub use call::{call, describe};
pub use http::{Answer, HttpFake, answer, http, requests};
pub use outbox::{Emitted, emitted};
pub use progress::progress;
pub use records::{CollectionFake, collection};
pub use storage::{StorageFake, storage};

/// A message that was logged.
///
/// ```
/// use trellis_sdk::{fake, log};
///
/// log::warn!("nearly full");
/// assert_eq!(fake::logs()[0].level, log::Level::Warn);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    /// How much it matters.
    pub level: Level,
    /// The module that logged it.
    pub context: String,
    /// The text.
    pub message: String,
}

#[derive(Default)]
struct State {
    logs: Vec<LogMessage>,
    config: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
    http: http::HttpState,
    storage: storage::StorageState,
    records: records::RecordsState,
    outbox: outbox::OutboxState,
    progress: Vec<(f64, String)>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn with_state<T>(use_state: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(use_state)
}

/// Forgets everything: for several scenes in one test.
///
/// ```
/// use trellis_sdk::{fake, log};
///
/// log::info!("the first scene");
/// fake::reset();
/// assert!(fake::logs().is_empty());
/// ```
pub fn reset() {
    with_state(|state| *state = State::default());
    crate::event::set_current(None);
}

/// What was logged so far, in order.
///
/// ```
/// use trellis_sdk::{fake, log};
///
/// log::info!("{} orders", 3);
/// assert_eq!(fake::logs()[0].message, "3 orders");
/// ```
pub fn logs() -> Vec<LogMessage> {
    with_state(|state| state.logs.clone())
}

/// What [`crate::event::current`] answers from now on.
///
/// ```
/// use trellis_sdk::{event, fake};
///
/// fake::event(event::Event { node: "sum".into(), ..event::Event::default() });
/// assert_eq!(event::current().node, "sum");
/// ```
pub fn event(event: Event) {
    crate::event::set_current(Some(event));
}

/// What [`crate::config::get`] answers for this name from now on.
///
/// ```
/// use trellis_sdk::{config, fake};
///
/// fake::config("region", "eu");
/// assert_eq!(config::get("region")?.as_deref(), Some("eu"));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn config(name: impl Into<String>, value: impl Into<String>) {
    let name = name.into();
    with_state(|state| {
        state.config.retain(|(known, _)| *known != name);
        state.config.push((name, value.into()));
    });
}

/// What [`crate::secrets::get`] answers for this name from now on.
///
/// ```
/// use trellis_sdk::{fake, secrets};
///
/// fake::secret("key", "correct horse");
/// assert_eq!(secrets::get("key")?, "correct horse");
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn secret(name: impl Into<String>, value: impl Into<String>) {
    let name = name.into();
    with_state(|state| {
        state.secrets.retain(|(known, _)| *known != name);
        state.secrets.push((name, value.into()));
    });
}

/// Commits the writes of storage and records and the emitted events so far, as the host does when the node completes.
///
/// ```
/// use trellis_sdk::{fake, storage};
///
/// storage::store("visits").set("ann", "1")?;
/// assert_eq!(storage::store("visits").entry("ann")?.unwrap().revision, 0, "not committed yet");
/// fake::commit();
/// assert_ne!(storage::store("visits").entry("ann")?.unwrap().revision, 0);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn commit() {
    with_state(|state| {
        state.storage.commit();
        state.records.commit();
        state.outbox.commit();
    });
}

/// Forgets the writes of storage and records and the emitted events since the last [`commit`], as the host does when the node
/// fails.
///
/// ```
/// use trellis_sdk::{fake, storage};
///
/// storage::store("visits").set("ann", "1")?;
/// fake::rollback();
/// assert_eq!(storage::store("visits").get("ann")?, None);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn rollback() {
    with_state(|state| {
        state.storage.rollback();
        state.records.rollback();
        state.outbox.rollback();
    });
}

/// Lets time pass for keys with a time to live.
///
/// ```
/// use std::time::Duration;
/// use trellis_sdk::{fake, storage};
///
/// storage::store("locks").write("nightly").ttl(Duration::from_secs(60)).bytes("taken")?;
/// fake::commit();
/// fake::advance(Duration::from_secs(61));
/// assert_eq!(storage::store("locks").get("nightly")?, None);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn advance(duration: Duration) {
    with_state(|state| state.storage.advance(duration));
}
