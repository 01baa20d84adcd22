//! What a plugin says of itself: the JSON that `describe` returns, kept at upload and used when edges are checked.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{fault::Fault, manifest::document::pointer_join, schema::Validator};

/// A plugin's ports and schemas. Unknown fields are kept out but not refused: descriptions may gain fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub summary: String,
    #[serde(default)]
    pub inputs: BTreeMap<String, InputPort>,
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputPort>,
    /// JSON Schema of the node's `config`; `true` accepts anything.
    #[serde(default = "any_value")]
    pub config: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InputPort {
    #[serde(default = "any_value")]
    pub schema: Value,
    /// Whether the node waits for this input, and is skipped when it stays empty.
    #[serde(default = "yes")]
    pub required: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutputPort {
    #[serde(default = "any_value")]
    pub schema: Value,
}

fn any_value() -> Value {
    Value::Bool(true)
}

fn yes() -> bool {
    true
}

/// Largest description, in bytes: lists of plugins carry it.
pub const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;

/// Ports of one plugin, inputs and outputs each: more than a person can wire.
pub const PORTS_MAX: usize = 64;

impl Description {
    /// Reads what `describe` returned.
    ///
    /// # Errors
    /// Everything that is wrong with it, as faults with pointers into the description.
    pub fn parse(json: &str) -> Result<Self, Vec<Fault>> {
        if json.len() > DESCRIPTION_BYTES_MAX {
            let message = format!("`describe` returned {} bytes, at most {DESCRIPTION_BYTES_MAX} are kept", json.len());
            return Err(vec![Fault::at("", message).fix("leave out what the schemas do not need")]);
        }
        // The database holds no NUL; JSON can write it in this one way alone.
        if json.contains("\\u0000") {
            return Err(vec![
                Fault::at("", "`describe` returned text with a NUL character").fix("take the character out"),
            ]);
        }
        let description: Self = serde_json::from_str(json).map_err(|error| {
            vec![
                Fault::at("", format!("`describe` returned no valid description: {error}"))
                    .fix("return a JSON object with `inputs`, `outputs` and `config`, as the SDK does"),
            ]
        })?;
        let mut faults = description.faults();
        faults.extend(description.schema_faults());
        if faults.is_empty() { Ok(description) } else { Err(faults) }
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (side, names) in
            [("inputs", self.inputs.keys().collect::<Vec<_>>()), ("outputs", self.outputs.keys().collect())]
        {
            if names.len() > PORTS_MAX {
                faults.push(Fault::at(
                    format!("/{side}"),
                    format!("{} ports, at most {PORTS_MAX} are allowed", names.len()),
                ));
            }
            for name in names.into_iter().take(PORTS_MAX) {
                if let Err(reason) = check_name(name) {
                    faults.push(Fault::at(format!("/{side}/{name}"), format!("port name `{name}` {reason}")));
                }
            }
        }
        faults
    }
}

impl Description {
    /// What no value could ever be checked with.
    fn schema_faults(&self) -> Vec<Fault> {
        let inputs = self.inputs.iter().map(|(name, port)| (pointer_join("/inputs", name) + "/schema", &port.schema));
        let outputs =
            self.outputs.iter().map(|(name, port)| (pointer_join("/outputs", name) + "/schema", &port.schema));
        let all = inputs.chain(outputs).chain([("/config".to_owned(), &self.config)]);
        let fault = |(pointer, schema): (String, &Value)| {
            let error = Validator::new(schema).err()?;
            let message = format!("not a JSON Schema that is used here: {error}");
            Some(
                Fault::at(format!("{pointer}{}", error.pointer()), message)
                    .fix("mend the schema, or leave it out: `true` takes anything"),
            )
        };
        all.filter_map(fault).take(PORTS_MAX).collect()
    }
}

/// Longest name of a project, grid, node, port, store, plugin or trigger, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The rule for every name in Trellis: letters, digits, `_` and `-`, beginning with a letter.
///
/// # Errors
/// The rule that is broken, to be put behind the name in a message.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let mut letters = name.bytes();
    match letters.next() {
        None => return Err("is empty"),
        Some(first) if !first.is_ascii_alphabetic() => return Err("does not begin with a letter"),
        Some(_) => {}
    }
    if name.len() > NAME_BYTES_MAX {
        return Err("is longer than 64 bytes");
    }
    if !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Err("has characters other than letters, digits, `_` and `-`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_ports_and_keeps_unknown_fields_out() {
        let description = Description::parse(
            r#"{"title":"t","inputs":{"in":{"schema":{"type":"object"}}},"outputs":{"out":{}},"since":1}"#,
        )
        .expect("valid");
        assert!(description.inputs["in"].required);
        assert_eq!(description.outputs["out"].schema, Value::Bool(true));
    }

    #[test]
    fn odd_port_names_are_all_reported() {
        let faults = Description::parse(r#"{"inputs":{"1":{},"a b":{}},"outputs":{"":{}}}"#).expect_err("three faults");
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn schemas_that_nothing_can_be_checked_with_are_reported() {
        let faults = Description::parse(
            r##"{"inputs":{"in":{"schema":{"type":"strin"}}},"outputs":{"out":{"schema":{"$ref":"#"}}},"config":7}"##,
        )
        .expect_err("three faults");
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert!(pointers[0].starts_with("/inputs/in/schema/type"), "{faults:?}");
        assert_eq!(pointers[1..], ["/outputs/out/schema", "/config"], "{faults:?}");
    }

    #[test]
    fn text_that_is_no_description_is_explained() {
        let faults = Description::parse("[1").expect_err("a fault");
        assert!(faults[0].message.contains("describe"), "{faults:?}");
    }
}
