//! Examples for the document: made from schemas, with words of one small shop, so that every operation has some and none can
//! go stale.
//!
//! Pure: a schema in, a value out. An example that a type or a route brings along is taken before any of this.

use serde_json::{Map, Value, json};

/// Deeper than this nothing is shown: schemas may refer to themselves.
const DEPTH_MAX: usize = 16;

/// What fields and parameters are called, and what could stand in them. The first that fits the schema is taken.
const WORDS: &[(&str, &str)] = &[
    ("account", "acme"),
    ("project", "shop"),
    ("grid", "order"),
    ("node", "tally"),
    ("plugin", "tally"),
    ("store", "tally"),
    ("collection", "issues"),
    ("schema", "issue"),
    ("filter", "{\"state\":\"open\"}"),
    ("order", "-updated"),
    ("credential", "github"),
    ("name", "tally"),
    ("title", "the manifest is not accepted"),
    ("type", "/problems/invalid-manifest"),
    ("problem", "invalid-manifest"),
    ("detail", "plugin `taly` is not defined in this manifest; did you mean `tally`?"),
    ("message", "plugin `taly` is not defined in this manifest"),
    ("fix", "did you mean `tally`?"),
    ("pointer", "/grids/order/nodes/tally/plugin"),
    ("summary", "Adds up an order."),
    ("run", "run_03ex1hh2y0000"),
    ("before", "run_03ex1hh2y0000"),
    ("replay_of", "run_03ex1hh2y0000"),
    ("replayed_as", "run_03ex1hh2y0001"),
    ("version", "1.2.0"),
    ("digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("imports", "trellis:plugin/storage@0.1.0"),
    ("methods", "POST"),
    ("url", "https://trellis.example.com/hooks/acme/shop/orders"),
    ("path", "orders"),
    ("key", "orders/2026-11-21"),
    ("prefix", "orders/"),
    ("token", "trl_a…"),
    ("value", "the text of the secret"),
    ("error", "node `tally`: the service answered 503"),
    ("error_contains", "503"),
    ("level", "info"),
    ("context", "tally"),
    ("expires_at", "2026-12-21T08:00:00Z"),
    ("refused", "its grid is gone"),
    ("next", "42"),
    ("scopes", "runs:read"),
    ("kind", "retryable"),
];

/// Fields of requests that only the next request of a series has.
const CURSORS: [&str; 2] = ["after", "before"];

/// An example of what a schema describes. `name`: what the field or parameter is called; `definitions`: what `$ref`s lead to,
/// by their last step.
pub fn of(name: &str, schema: &Value, definitions: &Value) -> Value {
    at_depth(name, schema, definitions, 0)
}

/// An example of a body that is taken in: without cursors, and without what is optional and has parts of its own.
pub fn of_body(schema: &Value, definitions: &Value) -> Value {
    if let Some(given) = given(schema) {
        return given;
    }
    let Some(fields) = schema["properties"].as_object() else { return of("body", schema, definitions) };
    let is_required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let is_plain = |field: &Value| field["properties"].is_null() && field["anyOf"].is_null();
    let shown =
        fields.iter().filter(|(name, field)| is_required(name) || is_plain(field) && !CURSORS.contains(&name.as_str()));
    shown.map(|(name, field)| (name.clone(), at_depth(name, field, definitions, 1))).collect::<Map<_, _>>().into()
}

/// What a schema brings along.
fn given(schema: &Value) -> Option<Value> {
    let first = schema["examples"].as_array().and_then(|all| all.first());
    first.or_else(|| schema.get("example")).or_else(|| schema.get("const")).cloned()
}

fn at_depth(name: &str, schema: &Value, definitions: &Value, depth: usize) -> Value {
    if let Some(given) = given(schema) {
        return given;
    }
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|pointer| pointer.rsplit('/').next()) {
        return at_depth(name, &definitions[target], definitions, depth + 1);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().find(|word| !word.is_null()).cloned().unwrap_or_default();
    }
    for choices in ["anyOf", "oneOf"] {
        let choice = schema[choices].as_array().and_then(|all| all.iter().find(|choice| choice["type"] != "null"));
        if let Some(choice) = choice {
            return at_depth(name, choice, definitions, depth + 1);
        }
    }
    match kind(schema) {
        "object" => object(name, schema, definitions, depth),
        // What refers to itself ends with an empty list.
        "array" if depth > DEPTH_MAX / 2 => json!([]),
        "array" => Value::Array(vec![at_depth(name, &schema["items"], definitions, depth + 1)]),
        "integer" => integer(schema),
        "number" => json!(schema["minimum"].as_f64().unwrap_or(0.5)),
        "boolean" => json!(false),
        "null" => Value::Null,
        "string" => json!(text(name, schema)),
        // Any value will do: what events of the shop look like.
        _ => json!({ "id": "order-7", "euros": 12.5 }),
    }
}

/// The first of its types that is not null.
fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default(),
        _ if schema["properties"].is_object() => "object",
        _ => "",
    }
}

fn object(name: &str, schema: &Value, definitions: &Value, depth: usize) -> Value {
    if let Some(fields) = schema["properties"].as_object() {
        let field = |(name, field): (&String, &Value)| (name.clone(), at_depth(name, field, definitions, depth + 1));
        return fields.iter().map(field).collect::<Map<_, _>>().into();
    }
    match &schema["additionalProperties"] {
        Value::Bool(false) => json!({}),
        any if any.is_object() => json!({ "tally": at_depth(name, any, definitions, depth + 1) }),
        _ => json!({}),
    }
}

fn integer(schema: &Value) -> Value {
    let least = schema["minimum"].as_i64().unwrap_or(0);
    let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
    json!(42.clamp(least, most.max(least)))
}

fn text(name: &str, schema: &Value) -> String {
    if schema["format"] == "date-time" || name.ends_with("_at") || name.starts_with("accepted_") {
        return "2026-11-21T08:00:00.000Z".to_owned();
    }
    let word = WORDS.iter().find(|(known, _)| *known == name).map(|(_, word)| *word);
    word.unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schema_says_is_what_its_example_shows() {
        let definitions = json!({ "Item": { "type": "object", "properties": { "run": { "type": "string" } } } });
        let cases = [
            (json!({ "type": "string", "examples": ["mine"] }), json!("mine")),
            (json!({ "enum": [null, "full"] }), json!("full")),
            (json!({ "type": ["integer", "null"], "minimum": 100, "maximum": 200 }), json!(100)),
            (json!({ "type": "integer", "maximum": 10 }), json!(10)),
            (json!({ "anyOf": [{ "type": "null" }, { "$ref": "#/x/Item" }] }), json!({ "run": "run_03ex1hh2y0000" })),
            (json!({ "type": "array", "items": { "$ref": "#/x/Item" } }), json!([{ "run": "run_03ex1hh2y0000" }])),
            (json!({ "type": "object", "additionalProperties": { "type": "boolean" } }), json!({ "tally": false })),
        ];
        for (schema, expected) in cases {
            assert_eq!(of("field", &schema, &definitions), expected, "{schema}");
        }
    }

    #[test]
    fn a_body_shows_neither_cursors_nor_what_is_optional_and_large() {
        let schema = json!({ "required": ["project"], "properties": {
            "project": { "type": "string" },
            "after": { "type": "string" },
            "limit": { "type": "integer", "minimum": 1, "maximum": 500 },
            "calls": { "properties": { "cpu_ms": { "type": "integer" } } },
        } });
        assert_eq!(of_body(&schema, &json!({})), json!({ "project": "shop", "limit": 42 }));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let definitions = json!({ "Tree": { "type": "array", "items": { "$ref": "#/x/Tree" } } });
        assert!(of("tree", &json!({ "$ref": "#/x/Tree" }), &definitions).is_array());
    }
}
