//! Limits of calls as the API's document describes them: read from the list, so that no limit and no bound can be missing.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::{CALL_LIMITS, CallLimit, CallLimitsChange, OwnCallLimits};

impl JsonSchema for OwnCallLimits {
    fn schema_name() -> Cow<'static, str> {
        "OwnCallLimits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        object_of(|limit| json!({ "type": "integer", "minimum": limit.least, "maximum": limit.highest }))
    }
}

impl JsonSchema for CallLimitsChange {
    fn schema_name() -> Cow<'static, str> {
        "CallLimitsChange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        object_of(|limit| json!({ "type": ["integer", "null"], "minimum": limit.least, "maximum": limit.highest }))
    }
}

fn object_of(value: impl Fn(&CallLimit) -> Value) -> Schema {
    let properties: Map<String, Value> =
        CALL_LIMITS.iter().map(|limit| (limit.name.to_owned(), value(limit))).collect();
    json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
}
