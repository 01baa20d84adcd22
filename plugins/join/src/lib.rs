//! Puts the values of several nodes together.
//!
//! All inputs are optional: what was skipped or filtered out upstream is left out, and so branches of a grid meet again.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::collections::BTreeMap;

use trellis_sdk::*;

/// How the values are put together.
#[data]
#[derive(Clone, Debug, Default)]
#[serde(default)]
pub struct Config {
    /// What is made of them.
    pub into: Shape,
    /// Keys of the object by input, such as `{ a = "order" }`. Those without one are called as their inputs.
    pub names: BTreeMap<String, String>,
}

/// What is made of the values.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// An object with a key for each value.
    #[default]
    Object,
    /// An array of the values, in the order of the inputs.
    Array,
    /// One object with the members of all: of two with the same key, the later input's counts.
    Merge,
    /// One array with the elements of all.
    Concat,
    /// The first value that there is.
    First,
}

/// What is put together.
#[inputs]
#[expect(missing_docs, reason = "they are the ports")]
#[derive(Default)]
pub struct Values {
    pub a: Option<Value>,
    pub b: Option<Value>,
    pub c: Option<Value>,
    pub d: Option<Value>,
    pub e: Option<Value>,
    pub f: Option<Value>,
    pub g: Option<Value>,
    pub h: Option<Value>,
}

const INPUTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Puts the values of several nodes together.
#[transformer]
pub fn join(input: Values, config: Config) -> Result<Option<Out<Value>>> {
    let names = names(&config)?;
    let Values { a, b, c, d, e, f, g, h } = input;
    let given = INPUTS.into_iter().zip([a, b, c, d, e, f, g, h]);
    let mut values = given.filter_map(|(port, value)| Some((port, value?)));
    Ok(Some(Out(match config.into {
        Shape::Object => values.map(|(port, value)| (names[port], value)).collect(),
        Shape::Array => values.map(|(_, value)| value).collect(),
        Shape::Merge => merged(values)?,
        Shape::Concat => Value::Array(concatenated(values)?),
        Shape::First => match values.next() {
            Some((_, value)) => value,
            None => return Ok(None),
        },
    })))
}

/// The key of each input in the object.
fn names(config: &Config) -> Result<BTreeMap<&str, &str>> {
    if let Some(unknown) = config.names.keys().find(|name| !INPUTS.contains(&name.as_str())) {
        return Err(Error::invalid_config(format_args!(
            "`names`: there is no input `{unknown}`; the inputs are a to h"
        )));
    }
    if config.into != Shape::Object && !config.names.is_empty() {
        return Err(Error::invalid_config("`names` has a meaning with `into = \"object\"` only; leave it out"));
    }
    let mut names = BTreeMap::new();
    for port in INPUTS {
        let name = config.names.get(port).map_or(port, String::as_str);
        if let Some((other, _)) = names.iter().find(|(_, known)| **known == name) {
            return Err(Error::invalid_config(format_args!(
                "`names`: the inputs {other} and {port} are both called `{name}`"
            )));
        }
        names.insert(port, name);
    }
    Ok(names)
}

fn merged(values: impl Iterator<Item = (&'static str, Value)>) -> Result<Value> {
    let mut merged = Vec::new();
    for (port, value) in values {
        let Value::Object(members) = value else { return Err(unfit(port, "object", "merge")) };
        merged.extend(members);
    }
    Ok(merged.into_iter().collect())
}

fn concatenated(values: impl Iterator<Item = (&'static str, Value)>) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for (port, value) in values {
        let Value::Array(elements) = value else { return Err(unfit(port, "array", "concat")) };
        all.extend(elements);
    }
    Ok(all)
}

fn unfit(port: &str, kind: &str, into: &str) -> Error {
    Error::invalid_input(format_args!("input `{port}` is no {kind}, which `into = \"{into}\"` takes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

    use super::*;

    fn joined(inputs: Value, config: Value) -> Result<Option<Value>> {
        fake::call(join, inputs, config).map(|mut outputs| outputs.remove("out"))
    }

    #[test]
    fn values_are_put_together_in_every_way() {
        let objects = json!({ "c": { "x": 3, "z": 3 }, "a": { "x": 1, "y": 1 } });
        for (into, expected) in [
            ("object", json!({ "a": { "x": 1, "y": 1 }, "c": { "x": 3, "z": 3 } })),
            ("array", json!([{ "x": 1, "y": 1 }, { "x": 3, "z": 3 }])),
            ("merge", json!({ "x": 3, "y": 1, "z": 3 })),
            ("first", json!({ "x": 1, "y": 1 })),
        ] {
            assert_eq!(joined(objects.clone(), json!({ "into": into })).expect("a value"), Some(expected), "{into}");
        }
        let lists = json!({ "b": [1], "a": [], "h": [2, [3]] });
        assert_eq!(joined(lists, json!({ "into": "concat" })).expect("a value"), Some(json!([1, 2, [3]])));
    }

    #[test]
    fn what_is_missing_or_null_is_left_out() {
        let inputs = json!({ "a": null, "b": 2 });
        assert_eq!(joined(inputs.clone(), json!({})).expect("a value"), Some(json!({ "b": 2 })));
        assert_eq!(joined(inputs, json!({ "into": "first" })).expect("a value"), Some(json!(2)));
        assert_eq!(joined(json!({}), json!({ "into": "array" })).expect("a value"), Some(json!([])));
        assert_eq!(joined(json!({}), json!({ "into": "first" })).expect("nothing"), None);
    }

    #[test]
    fn an_object_has_the_names_of_the_config() {
        let config = json!({ "names": { "a": "order", "b": "customer" } });
        let output = joined(json!({ "a": 1, "b": 2, "c": 3 }), config).expect("a value");
        assert_eq!(output, Some(json!({ "order": 1, "customer": 2, "c": 3 })));
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        let error = joined(json!({ "a": {}, "b": [1] }), json!({ "into": "merge" })).expect_err("an array");
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::InvalidInput, "input `b` is no object, which `into = \"merge\"` takes")
        );
        let error = joined(json!({ "a": 1 }), json!({ "into": "concat" })).expect_err("a number");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_bad_config_is_named() {
        for (config, message) in [
            (json!({ "names": { "order": "a" } }), "no input `order`"),
            (json!({ "names": { "a": "b" } }), "inputs a and b are both called `b`"),
            (json!({ "names": { "a": "x" }, "into": "array" }), "leave it out"),
            (json!({ "into": "table" }), "unknown variant `table`"),
        ] {
            let error = joined(json!({ "a": 1 }), config).expect_err("a bad config");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(message), "{error}");
        }
    }

    #[test]
    fn all_inputs_are_optional() {
        let description = fake::describe(join);
        let inputs = description["inputs"].as_object().expect("ports");
        assert_eq!(inputs.keys().collect::<Vec<_>>(), INPUTS);
        assert!(inputs.values().all(|port| port["required"] == json!(false)));
    }
}
