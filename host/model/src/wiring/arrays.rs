//! Nodes with `each`: what their plugin describes is about one element, and what flows is an array of them.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value, json};

use crate::manifest::NodeDefinition;

/// Schemas of arrays of what other schemas describe, made once for each.
#[derive(Default)]
pub(super) struct Arrays(HashMap<*const Value, Arc<Value>>);

impl Arrays {
    pub fn of(&mut self, schema: &Value) -> Arc<Value> {
        Arc::clone(self.0.entry(schema).or_insert_with(|| Arc::new(array_of(schema))))
    }
}

/// The port of a node that is taken apart, if one is.
pub(super) fn taken_apart(node: &NodeDefinition) -> Option<&str> {
    let each = node.each.as_ref()?;
    let only = || if node.inputs.len() == 1 { node.inputs.keys().next().map(String::as_str) } else { None };
    each.input.as_deref().or_else(only)
}

/// Keys below which values stand, and no schemas.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keys below which schemas stand by names of their own.
const TABLES: [&str; 7] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependencies",
    "dependentRequired",
];

fn array_of(schema: &Value) -> Value {
    let mut items = moved(schema);
    let mut array = json!({ "type": "array" });
    // What holds for the whole of a schema is said at its root.
    if let Some(keys) = items.as_object_mut() {
        keys.remove("$id");
        if let Some(draft) = keys.remove("$schema") {
            array["$schema"] = draft;
        }
    }
    array["items"] = items;
    array
}

/// A schema as it has to be written at `/items` of another one: references lead there.
fn moved(schema: &Value) -> Value {
    let key = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value.as_str().and_then(|text| text.strip_prefix('#'))) {
            ("$ref", Some(fragment)) => Value::String(format!("#/items{fragment}")),
            (name, _) if VALUES.contains(&name) => value.clone(),
            (name, _) if TABLES.contains(&name) => each_moved(value),
            _ => moved(value),
        };
        (name.clone(), value)
    };
    match schema {
        Value::Object(keys) => Value::Object(keys.iter().map(key).collect::<Map<_, _>>()),
        Value::Array(schemas) => schemas.iter().map(moved).collect(),
        other => other.clone(),
    }
}

/// A table of schemas, whatever they are called.
fn each_moved(table: &Value) -> Value {
    let Some(schemas) = table.as_object() else { return moved(table) };
    Value::Object(schemas.iter().map(|(name, schema)| (name.clone(), moved(schema))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_to_the_same_after_a_schema_was_moved() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "$id": "http://a.example/",
            "$ref": "#/$defs/a", "enum": [{ "$ref": "#/kept" }],
            "properties": { "x": { "$ref": "#" }, "$ref": { "type": "string" }, "default": { "$ref": "#/$defs/a" } },
        });
        let mut arrays = Arrays::default();
        let array = arrays.of(&schema);
        assert_eq!(
            array["items"],
            json!({
                "$ref": "#/items/$defs/a", "enum": [{ "$ref": "#/kept" }],
                "properties": {
                    "x": { "$ref": "#/items" }, "$ref": { "type": "string" }, "default": { "$ref": "#/items/$defs/a" },
                },
            })
        );
        assert_eq!(array["$schema"], schema["$schema"]);
        assert!(Arc::ptr_eq(&array, &arrays.of(&schema)), "it is made once, so that what is known of it is known");
    }
}
