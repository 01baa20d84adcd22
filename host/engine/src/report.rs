//! What a call hands back: emissions and effects or a failure, the log, and what it used.
//!
//! Effects exist only where a call succeeded: of a failed one, no read and no write survives.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trellis_model::{call_limits::CallLimits, description::Description, json};

use crate::{
    bindings::trellis::plugin::events,
    capabilities::{
        log::RunLog,
        outbox::EmittedEvent,
        storage::{ReadVersion, Write},
    },
    egress::targets::TargetFull,
    failure::{Failure, FailureKind, bytes},
};

/// Deepest nesting of an emission: parsers read 127 levels without asking, and an answer of the API adds a few.
const JSON_DEPTH_MAX: usize = 100;

/// The outcome of one call and all that is known about it.
#[derive(Debug)]
pub struct CallReport {
    pub outcome: Outcome,
    pub log: RunLog,
    /// Whether any request other than GET and HEAD was about to be sent. True for a failed call too.
    pub outside_effect: bool,
    pub metering: Metering,
}

#[derive(Debug)]
pub enum Outcome {
    Emitted(Effects),
    Failed(Failure),
    /// Broken off before anything had left it, because a target has no room for longer than it could wait: to be called
    /// again then, as if it had never been called.
    Suspended(TargetFull),
}

/// What a successful call wants: to be committed together, or not at all.
#[derive(Debug)]
pub struct Effects {
    /// At most one per port, in the order of the guest. Ports without one stay empty.
    pub emissions: Vec<Emission>,
    /// Sorted by store and key.
    pub reads: Vec<ReadVersion>,
    /// Sorted by store and key, at most one per key.
    pub writes: Vec<Write>,
    /// Events for other grids, in the order of the guest.
    pub events: Vec<EmittedEvent>,
}

/// A value for an output port that the plugin's description declares.
#[derive(Debug, Clone)]
pub struct Emission {
    pub port: String,
    pub json: Box<RawValue>,
}

/// What one call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metering {
    /// Waiting for a free slot, before the call's time began, and for turns to compute, in microseconds.
    pub queued_us: u64,
    /// From the call's begin to its end without waits for turns, in microseconds.
    pub wall_us: u64,
    /// On a CPU, host functions included, in microseconds.
    pub cpu_us: u64,
    /// The most linear memory at one time, in bytes.
    pub memory_bytes_max: u64,
    pub requests: u32,
    pub request_bytes: u64,
    /// Decoded, or as they came over the wire if that is more.
    pub response_bytes: u64,
    /// Waiting until targets had room, over all requests, in microseconds. Part of the wall time.
    pub target_wait_us: u64,
    pub storage_operations: u32,
    /// Events emitted to grids of the project; of a call that failed, too.
    pub events_emitted: u32,
    /// Logged and printed, those that were thrown away included.
    pub log_bytes: u64,
}

/// Holds what a guest returned to its limit.
///
/// # Errors
/// It is too much.
pub(crate) fn check_size(emitted: &[events::Emission], limits: &CallLimits) -> Result<(), Failure> {
    let total: usize = emitted.iter().map(|emission| emission.port.len() + emission.data.len()).sum();
    if total as u64 > limits.output_bytes {
        let message = format!("emitted {total} bytes, more than its limit of {}", bytes(limits.output_bytes));
        return Err(Failure::new(FailureKind::LimitExceeded, message));
    }
    Ok(())
}

/// Holds what a guest returned to its description and its limit.
///
/// # Errors
/// What the guest should not have emitted.
pub(crate) fn check_emissions(
    emitted: Vec<events::Emission>,
    description: &Description,
    limits: &CallLimits,
) -> Result<Vec<Emission>, Failure> {
    check_size(&emitted, limits)?;
    for (place, emission) in emitted.iter().enumerate() {
        check_port(&emission.port, description)?;
        // Few enough to compare: every one before was to another declared port.
        if emitted[..place].iter().any(|earlier| earlier.port == emission.port) {
            let message = format!("emitted twice to the port `{}`", emission.port);
            return Err(Failure::new(FailureKind::Permanent, message));
        }
    }
    emitted.into_iter().map(check_json).collect()
}

fn check_port(port: &str, description: &Description) -> Result<(), Failure> {
    if description.outputs.contains_key(port) {
        return Ok(());
    }
    let declared: Vec<String> = description.outputs.keys().map(|name| format!("`{name}`")).collect();
    let declared = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
    let shown: String = port.escape_debug().take(100).collect();
    let message =
        format!("emitted to the port `{shown}`, which its description does not declare; declared: {declared}");
    Err(Failure::new(FailureKind::Permanent, message))
}

fn check_json(emission: events::Emission) -> Result<Emission, Failure> {
    let events::Emission { port, data } = emission;
    match parse_json(data) {
        Ok(json) => Ok(Emission { port, json }),
        Err(reason) => {
            let message = format!("what it emitted to the port `{port}` is {reason}");
            Err(Failure::new(FailureKind::Permanent, message))
        }
    }
}

/// JSON text of a guest, if it is any and not too deep.
///
/// # Errors
/// What it is instead.
pub(crate) fn parse_json(text: String) -> Result<Box<RawValue>, String> {
    if nesting(&text) > JSON_DEPTH_MAX {
        return Err(format!("JSON that is nested deeper than {JSON_DEPTH_MAX} levels"));
    }
    json::readable(text).map_err(|error| format!("no JSON: {error}"))
}

/// How deep arrays and objects are nested. Exact for valid JSON.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match inside {
                        b'\\' => _ = bytes.next(),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(emitted: &[(&str, &str)], expected: Result<usize, (FailureKind, &str)>) {
        let description = Description::parse(r#"{"outputs":{"out":{},"rest":{}}}"#).expect("valid");
        let limits = CallLimits { output_bytes: 1_000, ..CallLimits::default() };
        let emissions = emitted
            .iter()
            .map(|(port, data)| events::Emission { port: (*port).to_owned(), data: (*data).to_owned() })
            .collect();
        match (check_emissions(emissions, &description, &limits), expected) {
            (Ok(emissions), Ok(count)) => assert_eq!(emissions.len(), count),
            (Err(failure), Err((kind, text))) => {
                assert_eq!(failure.kind, kind, "{failure}");
                assert!(failure.message.contains(text), "{failure}");
            }
            (result, expected) => panic!("{result:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn emissions_are_json_on_declared_ports() {
        check(&[], Ok(0));
        check(&[("out", r#"{"a":[1,2,"]]"]}"#), ("rest", " null ")], Ok(2));
        check(&[("out", "{")], Err((FailureKind::Permanent, "port `out` is no JSON")));
        check(&[("out", "")], Err((FailureKind::Permanent, "no JSON")));
        check(&[("out", "1 2")], Err((FailureKind::Permanent, "no JSON")));
        check(
            &[("outt", "1")],
            Err((
                FailureKind::Permanent,
                "port `outt`, which its description does not declare; declared: `out`, `rest`",
            )),
        );
        check(&[("out", "1"), ("out", "2")], Err((FailureKind::Permanent, "twice")));
    }

    #[test]
    fn emissions_are_bounded_in_size_and_depth() {
        check(
            &[("out", &format!("\"{}\"", "x".repeat(2_000)))],
            Err((FailureKind::LimitExceeded, "more than its limit of 1000 bytes")),
        );
        check(&[("out", &format!("{}{}", "[".repeat(JSON_DEPTH_MAX), "]".repeat(JSON_DEPTH_MAX)))], Ok(1));
        check(
            &[("out", &format!("{}{}", "[".repeat(JSON_DEPTH_MAX + 1), "]".repeat(JSON_DEPTH_MAX + 1)))],
            Err((FailureKind::Permanent, "nested deeper")),
        );
    }

    #[test]
    fn brackets_in_strings_are_no_nesting() {
        assert_eq!(nesting(r#"{"a\"[":"[[[[","b":[]}"#), 2);
    }
}
