//! Events that a node emits to grids of its project: what they say of where they come from, and how long a chain of them
//! may grow.
//!
//! Says nothing of how they are stored or when their runs begin.

use crate::{RunId, replay::REPLAY_OF};

/// The attribute `trigger` of an emitted event.
pub const TRIGGER: &str = "outbox";
/// The attribute that counts the emissions, and the requests to triggers of a host, between an event from outside and this one.
pub const HOPS: &str = "hops";
/// The header that carries the same count along with every request that a guest sends, so that a grid which calls its own
/// trigger over HTTP comes to an end, too.
pub const HOPS_HEADER: &str = "trellis-hops";
/// Attributes that follow an event to those that its run emits.
const FOLLOWING: [&str; 2] = ["traceparent", "tracestate"];
/// Attributes that are the host's to set.
const RESERVED: [&str; 8] =
    ["trigger", "received-at", "source-run", "source-node", REPLAY_OF, HOPS, FOLLOWING[0], FOLLOWING[1]];

/// Attributes of its own that an emitted event may have.
pub const ATTRIBUTES_MAX: usize = 32;

/// How many emissions lie between an event from outside and the event with these attributes: 0 for one from outside.
pub fn hops(attributes: &[(String, String)]) -> u32 {
    attributes.iter().find(|(name, _)| name == HOPS).and_then(|(_, hops)| hops.parse().ok()).unwrap_or(0)
}

/// Whether a guest may give an emitted event attributes of these names.
///
/// # Errors
/// What is wrong with them, and how to mend it.
pub fn check_attributes(attributes: &[(String, String)]) -> Result<(), String> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(format!("{} attributes, at most {ATTRIBUTES_MAX} are allowed", attributes.len()));
    }
    for (place, (name, value)) in attributes.iter().enumerate() {
        let shown = name.escape_debug();
        if let Err(reason) = crate::description::check_name(name) {
            return Err(format!("the attribute name `{shown}` {reason}"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("the attribute `{shown}` is set by the host; choose another name"));
        }
        if attributes[..place].iter().any(|(earlier, _)| earlier == name) {
            return Err(format!("the attribute `{shown}` is given twice; keep one of them"));
        }
        if value.contains('\0') {
            return Err(format!("the attribute `{shown}` has a NUL character"));
        }
    }
    Ok(())
}

/// The attributes of an event that the node `node` of the run `run` emits, whose own event has the attributes `source`.
pub fn attributes(
    source: &[(String, String)],
    run: RunId,
    node: &str,
    own: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let set = |name: &str, value: String| (name.to_owned(), value);
    let mut attributes = vec![
        set("trigger", TRIGGER.to_owned()),
        set("source-run", run.to_string()),
        set("source-node", node.to_owned()),
        set(HOPS, hops(source).saturating_add(1).to_string()),
    ];
    attributes.extend(source.iter().filter(|(name, _)| FOLLOWING.contains(&name.as_str())).cloned());
    attributes.extend(own);
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_emission_is_one_hop_more_and_keeps_the_trace() {
        let outside = pairs(&[("trigger", "orders"), ("traceparent", "00-1"), ("query", "a=1")]);
        assert_eq!(hops(&outside), 0);
        let first = attributes(&outside, RunId(1), "split", pairs(&[("tenant", "7")]));
        let expected = [
            ("trigger", "outbox"),
            ("source-run", "run_0000000000001"),
            ("source-node", "split"),
            ("hops", "1"),
            ("traceparent", "00-1"),
            ("tenant", "7"),
        ];
        assert_eq!(first, pairs(&expected));
        let second = attributes(&first, RunId(2), "send", Vec::new());
        assert_eq!(hops(&second), 2);
        assert!(!second.iter().any(|(name, _)| name == "tenant"), "{second:?}");
    }

    fn check_refused(own: &[(&str, &str)], expected: &str) {
        let reason = check_attributes(&pairs(own)).expect_err(expected);
        assert!(reason.contains(expected), "{reason}");
    }

    #[test]
    fn a_guest_cannot_set_what_the_host_says() {
        assert_eq!(check_attributes(&pairs(&[("tenant", "7"), ("why", "ünlimited\nlines")])), Ok(()));
        for reserved in RESERVED {
            check_refused(&[(reserved, "x")], "is set by the host");
        }
        check_refused(&[("", "x")], "is empty");
        check_refused(&[("a b", "x")], "has characters other than");
        check_refused(&[("a", "1"), ("a", "2")], "is given twice");
        check_refused(&[("a", "\0")], "has a NUL character");
        let many: Vec<String> = (0..=ATTRIBUTES_MAX).map(|number| format!("a{number}")).collect();
        check_refused(&many.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>(), "33 attributes, at most 32");
    }
}
