//! The event that is being handled: which run, node and attempt this call belongs to, and what came along with it.
//!
//! Does not hold the inputs: they are the arguments of the transformer.

use std::cell::RefCell;

thread_local! {
    static CURRENT: RefCell<Option<Event>> = const { RefCell::new(None) };
}

/// One call of a node.
///
/// ```
/// use trellis_sdk::{event, fake};
///
/// fake::event(event::Event { attempt: 3, ..event::Event::default() });
/// assert_eq!(event::current().attempt, 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The run that this call belongs to.
    pub run: String,
    /// The node of the grid that is called.
    pub node: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The same for every attempt of this node in this run: hand it to services that want an idempotency key. (Requests of
    /// [`crate::http`] carry one by themselves.)
    pub idempotency_key: String,
    /// About the event: `trigger`, `received-at`, `traceparent`, and the request headers that the trigger let through.
    pub attributes: Vec<(String, String)>,
}

impl Event {
    /// The first attribute of this name, upper and lower case alike.
    ///
    /// ```
    /// use trellis_sdk::event::Event;
    ///
    /// let event = Event { attributes: vec![("trigger".into(), "tasks".into())], ..Event::default() };
    /// assert_eq!(event.attribute("Trigger"), Some("tasks"));
    /// ```
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let known = |(attribute, _): &&(String, String)| attribute.eq_ignore_ascii_case(name);
        self.attributes.iter().find(known).map(|(_, value)| value.as_str())
    }
}

/// What [`current`] answers where no event was set, as in a native test that does not care.
impl Default for Event {
    fn default() -> Self {
        Self {
            run: "run_test".into(),
            node: "test".into(),
            attempt: 1,
            idempotency_key: "run_test-test-1".into(),
            attributes: Vec::new(),
        }
    }
}

/// The event that is being handled.
///
/// ```
/// use trellis_sdk::event;
///
/// let first = event::current().attempt == 1;
/// assert!(first);
/// ```
pub fn current() -> Event {
    CURRENT.with_borrow(|event| event.clone().unwrap_or_default())
}

pub(crate) fn set_current(event: Option<Event>) {
    CURRENT.set(event);
}
