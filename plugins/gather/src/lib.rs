//! Collects the parts that `split` has sent, and puts them together again.
//!
//! Parts come in runs of their own, in any order and several at once. Each is kept under a key of its own, and one key says
//! which have arrived: of two runs that change it at the same time, the host runs one again, so that exactly one run finds
//! that all are there.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::collections::BTreeSet;

use service::{PARTS_MAX, Part, Span};
use trellis_sdk::*;

/// Where parts wait, and for how long.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// The store that they wait in.
    pub store: String,
    /// How long they wait for each other. After that, what has arrived is forgotten.
    pub keep: Span,
    /// Put values that are arrays together into one array. What was split and has no value of its own always is.
    pub flatten: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { store: "gather".into(), keep: Span::seconds(86_400), flatten: false }
    }
}

/// A part, and what has become of it.
#[inputs]
pub struct Arrival {
    /// The event that `split` has sent.
    part: Part,
    /// What has become of it. Without one, the elements themselves are collected.
    value: Option<Value>,
}

/// How far it is.
#[derive(Ports, Debug, PartialEq)]
pub enum Gathered {
    /// All values in the order of the parts, in the run of the part that arrived last.
    All(Vec<Value>),
    /// In all other runs.
    Waiting(Progress),
}

/// How many parts have arrived.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What the parts have in common.
    pub split: String,
    /// Parts that are here.
    pub arrived: usize,
    /// Parts that there are.
    pub count: u32,
}

/// What is known about a whole.
#[data]
#[derive(Default)]
struct Whole {
    arrived: BTreeSet<u32>,
    /// They were put together. Parts that come again after that change nothing.
    complete: bool,
}

/// Collects the parts that split has sent, and puts them together again.
#[transformer]
pub fn gather(input: Arrival, config: Config) -> Result<Gathered> {
    let Arrival { part, value } = input;
    check(&part)?;
    let store = storage::store(config.store);
    let whole_key = http::percent_encode(&part.split);
    let part_key = |index: u32| format!("{whole_key}/{index:03}");
    let mut whole: Whole = store.get_json(&whole_key)?.unwrap_or_default();
    if whole.complete {
        log::info!("part {} of {} has come again; they were put together before", part.index + 1, part.split);
        return Ok(Gathered::Waiting(progress(part, &whole)));
    }
    let flatten = config.flatten || value.is_none();
    let value = value.unwrap_or(Value::Array(part.items.clone()));
    whole.arrived.insert(part.index);
    whole.complete = whole.arrived.len() == part.count as usize;
    store.write(&whole_key).ttl(config.keep.0).json(&whole)?;
    if !whole.complete {
        store.write(&part_key(part.index)).ttl(config.keep.0).json(&value)?;
        return Ok(Gathered::Waiting(progress(part, &whole)));
    }
    let mut all = Vec::new();
    for index in 0..part.count {
        let value = if index == part.index { value.clone() } else { taken(&store, &part_key(index))? };
        match value {
            Value::Array(values) if flatten => all.extend(values),
            value => all.push(value),
        }
    }
    Ok(Gathered::All(all))
}

fn check(part: &Part) -> Result<()> {
    if part.index < part.count && part.count <= PARTS_MAX && !part.split.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_input(format_args!(
        "input `part`: part {} of {} is none that `split` sends: they are counted from 0, and there are at most {PARTS_MAX}",
        part.index, part.count
    )))
}

fn taken(store: &storage::Store, key: &str) -> Result<Value> {
    let value = store.get_json(key)?.ok_or_else(|| {
        Error::permanent(format_args!(
            "the part `{key}` has waited for longer than `keep` and is forgotten; raise `keep`"
        ))
    })?;
    store.delete(key)?;
    Ok(value)
}

fn progress(part: Part, whole: &Whole) -> Progress {
    Progress { split: part.split, arrived: whole.arrived.len(), count: part.count }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

    use super::*;

    fn arrive(index: u32, count: u32, value: Option<Value>, config: Value) -> Result<(String, Value)> {
        let part = json!({ "split": "run_1-split-1", "index": index, "count": count, "items": [index, index] });
        let mut inputs = json!({ "part": part });
        if let Some(value) = value {
            inputs["value"] = value;
        }
        let output = fake::call(gather, inputs, config)?.pop_first().expect("one port");
        fake::commit();
        Ok(output)
    }

    #[test]
    fn parts_are_put_together_in_order_when_the_last_has_arrived() {
        for (index, arrived) in [(2, 1), (0, 2)] {
            let (port, value) = arrive(index, 3, Some(json!({ "n": index })), json!({})).expect("kept");
            assert_eq!((port.as_str(), &value["arrived"]), ("waiting", &json!(arrived)));
        }
        let all = arrive(1, 3, Some(json!({ "n": 1 })), json!({})).expect("complete");
        assert_eq!(all, ("all".into(), json!([{ "n": 0 }, { "n": 1 }, { "n": 2 }])));
        assert_eq!(fake::storage("gather").keys(), ["run_1-split-1"], "the parts are gone");
    }

    #[test]
    fn elements_and_arrays_are_put_into_one_array() {
        arrive(0, 2, None, json!({})).expect("kept");
        assert_eq!(arrive(1, 2, None, json!({})).expect("complete").1, json!([0, 0, 1, 1]));
        fake::reset();
        arrive(0, 2, Some(json!([1])), json!({ "flatten": true })).expect("kept");
        assert_eq!(
            arrive(1, 2, Some(json!([2, 3])), json!({ "flatten": true })).expect("complete").1,
            json!([1, 2, 3])
        );
        fake::reset();
        arrive(0, 2, Some(json!([1])), json!({})).expect("kept");
        assert_eq!(arrive(1, 2, Some(json!([2, 3])), json!({})).expect("complete").1, json!([[1], [2, 3]]));
    }

    #[test]
    fn a_part_that_comes_again_changes_nothing() {
        for _ in 0..2 {
            assert_eq!(arrive(0, 2, None, json!({})).expect("kept").1["arrived"], json!(1));
        }
        assert_eq!(arrive(1, 2, None, json!({})).expect("complete").0, "all");
        assert_eq!(arrive(1, 2, None, json!({})).expect("again").0, "waiting");
    }

    #[test]
    fn parts_that_wait_too_long_are_forgotten() {
        arrive(0, 2, None, json!({ "keep": "10s" })).expect("kept");
        fake::advance(std::time::Duration::from_secs(10));
        assert_eq!(arrive(1, 2, None, json!({ "keep": "10s" })).expect("kept").1["arrived"], json!(1));
    }

    #[test]
    fn what_split_does_not_send_is_refused() {
        for (index, count) in [(2, 2), (0, 0), (0, PARTS_MAX + 1)] {
            assert_eq!(arrive(index, count, None, json!({})).expect_err("no part").kind(), ErrorKind::InvalidInput);
        }
        let error = arrive(0, 1, None, json!({ "keep": "soon" })).expect_err("a bad config");
        assert!(error.message().contains("`soon` is no duration"), "{error}");
    }
}
