//! What a call is told of itself: the same in a run, in a shadow run and in a test that replays one.

use std::fmt;

use super::Event;
use crate::RunId;

/// Tells every call when its run's event was accepted.
const RECEIVED_ATTRIBUTE: &str = "received-at";
/// Tells the call of an element its place in the array.
const ELEMENT_ATTRIBUTE: &str = "element";

/// The same for every attempt. A dot is in no node's name.
pub fn idempotency_key(run: impl fmt::Display, node: &str, element: Option<u32>) -> String {
    match element {
        Some(element) => format!("{run}-{node}.{element}"),
        None => format!("{run}-{node}"),
    }
}

/// What the calls of a run are told of its event besides the data.
pub fn event_attributes(event: &Event, run: RunId) -> Vec<(String, String)> {
    let mut attributes = event.attributes.clone();
    if let Ok(received_at) = jiff::Timestamp::from_millisecond(run.accepted_at_ms()) {
        attributes.push((RECEIVED_ATTRIBUTE.to_owned(), format!("{received_at:.3}")));
    }
    attributes
}

/// Those of the event, and which element this is.
pub fn call_attributes(of_event: &[(String, String)], element: Option<u32>) -> Vec<(String, String)> {
    let Some(element) = element else { return of_event.to_vec() };
    let others = of_event.iter().filter(|(name, _)| name != ELEMENT_ATTRIBUTE);
    others.cloned().chain([(ELEMENT_ATTRIBUTE.to_owned(), element.to_string())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_has_a_key_and_an_attribute_of_its_own() {
        assert_eq!(idempotency_key("run_1", "a", None), "run_1-a");
        assert_eq!(idempotency_key("run_1", "a", Some(3)), "run_1-a.3");
        let of_event = [("element".to_owned(), "9".to_owned()), ("trigger".to_owned(), "tasks".to_owned())];
        assert_eq!(call_attributes(&of_event, None), of_event);
        let expected = [("trigger".to_owned(), "tasks".to_owned()), ("element".to_owned(), "3".to_owned())];
        assert_eq!(call_attributes(&of_event, Some(3)), expected);
    }
}
