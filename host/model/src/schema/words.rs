//! Kinds of JSON values as a person calls them.

use serde_json::Value;

/// Of a value.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Of a schema's `type`.
pub fn of_type(name: &str) -> &str {
    match name {
        "boolean" => "a boolean",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "an array",
        "object" => "an object",
        other => other,
    }
}

/// Several of them, `null` last.
pub fn kinds<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let (mut named, mut has_null) = (Vec::new(), false);
    for name in names {
        if name == "null" { has_null = true } else { named.push(of_type(name)) }
    }
    if has_null {
        named.push("null");
    }
    named.join(" or ")
}
