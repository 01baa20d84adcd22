//! Lets each value pass once within a window of time.
//!
//! What has passed is in a store of the project, under a digest of its key: a value never shows there. Of two runs that bring
//! the same key at the same time the host runs one again, so that exactly one passes.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::fmt::Write as _;

use service::Span;
use sha2::{Digest as _, Sha256};
use trellis_sdk::*;

/// The attribute of an event that names the run whose replay this is.
const REPLAY_OF: &str = "replay-of";

/// The attribute that tells the elements of an array from each other, where the node is called for each.
const ELEMENT: &str = "element";

/// What makes two values the same, and for how long.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// JSON Pointers to what makes two values the same, such as `["/repository/id", "/number"]`. Empty: the whole value.
    pub key: Vec<String>,
    /// How long a value is remembered after it has passed.
    pub window: Span,
    /// The store that remembers. Nodes with the same store remember together.
    pub store: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { key: Vec::new(), window: Span::seconds(86_400), store: "dedupe".into() }
    }
}

/// Where the input goes, unchanged.
#[derive(Ports, Debug, PartialEq)]
pub enum Verdict {
    /// The input, if it is the first of its kind within the window.
    Out(Value),
    /// The input, if one of its kind has passed before.
    Duplicate(Value),
}

/// Lets each value pass once within a window of time.
#[transformer]
pub fn dedupe(input: Value, config: Config) -> Result<Verdict> {
    if config.window.0.is_zero() {
        return Err(Error::invalid_config(
            "`window` is 0, in which nothing is remembered; write a longer one, such as \"24h\"",
        ));
    }
    let key = digest(&key(&input, &config.key)?);
    let store = storage::store(config.store);
    let current = event::current();
    if let Some(earlier) = store.get(&key)?
        && !is_again(&earlier, &current)
    {
        return Ok(Verdict::Duplicate(input));
    }
    store.write(&key).ttl(config.window.0).bytes(passed_by(&current.run, &current))?;
    Ok(Verdict::Out(input))
}

/// Whether it was this very node that has let the value pass: a replay of its run goes where the run went.
fn is_again(earlier: &[u8], current: &event::Event) -> bool {
    let runs = [Some(current.run.as_str()), current.attribute(REPLAY_OF)];
    runs.into_iter().flatten().any(|run| earlier == passed_by(run, current).as_bytes())
}

fn passed_by(run: &str, current: &event::Event) -> String {
    format!("{run}/{}/{}", current.node, current.attribute(ELEMENT).unwrap_or_default())
}

/// The parts of a value that count, as JSON.
fn key(input: &Value, pointers: &[String]) -> Result<String> {
    if pointers.is_empty() {
        return Ok(input.to_string());
    }
    let parts = pointers.iter().map(|pointer| {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(Error::invalid_config(format_args!(
                "`key`: `{pointer}` is no JSON Pointer; write it like `/{pointer}`"
            )));
        }
        let part = input.pointer(pointer).cloned();
        part.ok_or_else(|| {
            Error::invalid_input(format_args!("the input has nothing at `{pointer}`, which `key` names"))
        })
    });
    Ok(parts.collect::<Result<Value>>()?.to_string())
}

fn digest(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        write!(hex, "{byte:02x}").expect("writing to a string does not fail");
    }
    hex
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

    use std::time::Duration;

    use super::*;

    /// The port that a value goes to, in a run of its own.
    fn port(run: &str, input: Value, config: Value) -> Result<String> {
        fake::event(event::Event { run: run.into(), ..event::Event::default() });
        let outputs = fake::call(dedupe, json!({ "in": input }), config)?;
        fake::commit();
        let (port, value) = outputs.into_iter().next().expect("one port");
        assert_eq!(value, input, "the value is unchanged");
        Ok(port)
    }

    #[test]
    fn each_key_passes_once_within_the_window() {
        let config = json!({ "key": ["/id", "/kind"], "window": "1h" });
        let at =
            |run, id, kind| port(run, json!({ "id": id, "kind": kind, "at": run }), config.clone()).expect("a port");
        assert_eq!(at("run_1", 7, "a"), "out");
        assert_eq!(at("run_2", 7, "a"), "duplicate");
        assert_eq!(at("run_3", 7, "b"), "out");
        assert_eq!(at("run_4", 8, "a"), "out");
        fake::advance(Duration::from_secs(3_600));
        assert_eq!(at("run_5", 7, "a"), "out");
    }

    #[test]
    fn the_whole_value_counts_without_a_key() {
        for (run, input, expected) in
            [("run_1", json!([1]), "out"), ("run_2", json!([1]), "duplicate"), ("run_3", json!(["1"]), "out")]
        {
            assert_eq!(port(run, input, json!({})).expect("a port"), expected);
        }
    }

    #[test]
    fn a_replay_goes_where_its_run_went() {
        let replayed = |run: &str, of: &str| {
            let attributes = vec![(REPLAY_OF.to_owned(), of.to_owned())];
            fake::event(event::Event { run: run.into(), attributes, ..event::Event::default() });
            let outputs = fake::call(dedupe, json!({ "in": 1 }), json!({})).expect("a port");
            fake::commit();
            outputs.into_keys().next().expect("one port")
        };
        assert_eq!(port("run_1", json!(1), json!({})).expect("a port"), "out");
        assert_eq!(replayed("run_2", "run_1"), "out");
        assert_eq!(replayed("run_3", "run_2"), "out", "a replay of the replay");
        assert_eq!(replayed("run_4", "run_0"), "duplicate", "a replay of another run");
        assert_eq!(port("run_3", json!(1), json!({})).expect("a port"), "out", "the same call after a crash");
    }

    #[test]
    fn equal_elements_of_one_array_are_duplicates() {
        let element = |place: &str| {
            let attributes = vec![(ELEMENT.to_owned(), place.to_owned())];
            fake::event(event::Event { attributes, ..event::Event::default() });
            let outputs = fake::call(dedupe, json!({ "in": 1 }), json!({})).expect("a port");
            fake::commit();
            outputs.into_keys().next().expect("one port")
        };
        assert_eq!([element("0"), element("1"), element("0")], ["out", "duplicate", "out"]);
    }

    #[test]
    fn keys_are_digests() {
        port("run_1", json!({ "mail": "ada@example.com" }), json!({})).expect("a port");
        let keys = fake::storage("dedupe").keys();
        assert!(
            keys.len() == 1 && keys[0].len() == 64 && keys[0].bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{keys:?}"
        );
    }

    #[test]
    fn what_the_input_lacks_and_a_bad_config_are_told() {
        for (config, kind, message) in [
            (json!({ "key": ["/id"] }), ErrorKind::InvalidInput, "nothing at `/id`"),
            (json!({ "key": ["id"] }), ErrorKind::InvalidConfig, "write it like `/id`"),
            (json!({ "window": "0s" }), ErrorKind::InvalidConfig, "`window` is 0"),
            (json!({ "window": "soon" }), ErrorKind::InvalidConfig, "`soon` is no duration"),
            (json!({ "keys": [] }), ErrorKind::InvalidConfig, "keys"),
        ] {
            let error = port("run_1", json!({}), config).expect_err("a failure");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(message), "{error}");
        }
    }
}
