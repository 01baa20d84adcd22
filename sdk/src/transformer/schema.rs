//! JSON Schemas (draft 2020-12) of ports and configs.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

/// What an input port accepts.
pub(super) fn of_input<T: JsonSchema>() -> Value {
    generate::<T>(SchemaSettings::draft2020_12())
}

/// What an output port carries: the fields that the type has, and no others, so that an edge which points at one that is not
/// there is found at deployment.
pub(super) fn of_output<T: JsonSchema>() -> Value {
    closed(generate::<T>(SchemaSettings::draft2020_12().for_serialize()))
}

/// What a config may be. Keys are known to the last one, so that a slip of the pen is found at deployment.
pub(super) fn of_config<T: JsonSchema>() -> Value {
    closed(of_input::<T>())
}

fn closed(mut schema: Value) -> Value {
    if let Value::Object(schema) = &mut schema {
        close(schema);
    }
    schema
}

fn generate<T: JsonSchema>(settings: SchemaSettings) -> Value {
    // The dialect is the contract's and need not be repeated in every schema.
    let settings = settings.with(|settings| settings.meta_schema = None);
    match settings.into_generator().into_root_schema_for::<T>().to_value() {
        // A name alone says nothing about the value.
        Value::Object(schema) if schema.keys().all(|key| key == "title") => Value::Bool(true),
        schema => schema,
    }
}

/// A schema with the description of its port in place of its type's.
pub(super) fn described(schema: Value, description: &str) -> Value {
    let mut schema = match schema {
        schema if description.is_empty() => return schema,
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.insert("description".into(), description.into());
    Value::Object(schema)
}

/// Refuses unknown keys of an object, at the top. What is put together of several schemas cannot be closed by
/// `additionalProperties`; nested objects are left to the decoder, which is strict all the way down.
fn close(schema: &mut Map<String, Value>) {
    let is_object = schema.get("type").is_some_and(|kind| kind == "object");
    let is_open = !schema.contains_key("additionalProperties");
    let is_composed =
        ["allOf", "anyOf", "oneOf", "$ref", "patternProperties"].iter().any(|key| schema.contains_key(*key));
    if is_object && is_open && !is_composed {
        schema.insert("additionalProperties".into(), Value::Bool(false));
    }
}
