//! What a schema may cost: how deep it goes, how often it looks at one value, how many steps a check of a value takes.
//!
//! The library that checks values recurses, and has neither a budget nor a floor under its stack. So what it is given is
//! measured first; what would take too much is refused. Knows nothing of the values' meaning.

use std::collections::HashMap;

use serde_json::Value;

use super::pointer;

/// Levels of subschemas below each other, references followed. 256: far more than data has, and room on any stack.
pub const DEPTH_MAX: u32 = 256;
/// Schemas that look at the same value one through the other, by references, choices and their kin. 32: data types of
/// libraries come to about ten.
pub const SAME_VALUE_MAX: u32 = 32;
/// Patterns of one schema: each is a program of its own.
pub const PATTERNS_MAX: u32 = 100;

/// Why a schema is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbounded {
    #[error("`{0}` is not supported; refer by `$ref` with a JSON Pointer, such as \"#/$defs/order\"")]
    Keyword(&'static str),
    #[error("`{0}` refers out of the schema, which nobody follows; put what it means under `$defs`")]
    Outside(String),
    #[error("`{0}` leads to nothing in the schema")]
    Dangling(String),
    #[error("`{0}` leads back to itself without a step into the value")]
    Circle(String),
    #[error("it looks at one value through more than {SAME_VALUE_MAX} schemas in a row")]
    Chain,
    #[error("it goes more than {DEPTH_MAX} levels deep")]
    Deep,
    #[error("it has more than {PATTERNS_MAX} patterns")]
    Patterns,
}

/// What a check with a schema costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Schemas in a row that look at one value.
    pub same_value: u32,
    /// Steps per value below and including the one that is checked, at the most.
    pub steps: u64,
    /// The same for telling all that is wrong; none where nobody can say, because the schema refers to itself.
    pub telling_steps: Option<u64>,
}

/// Measures a schema.
///
/// # Errors
/// See [`Unbounded`].
pub fn measure(schema: &Value) -> Result<Costs, Unbounded> {
    let mut survey = Survey { root: schema, same: HashMap::new(), all: HashMap::new(), patterns: 0 };
    let unrolled = survey.unrolled(schema, 0)?;
    if survey.patterns > PATTERNS_MAX {
        return Err(Unbounded::Patterns);
    }
    let (mut same_value, mut steps) = (1, 0_u64);
    for known in survey.same.values().flatten() {
        same_value = same_value.max(known.chain);
        steps = steps.saturating_add(known.width);
    }
    Ok(Costs { same_value, steps, telling_steps: unrolled })
}

/// What one schema does with one value, before it steps into it.
#[derive(Clone, Copy)]
struct SameValue {
    chain: u32,
    width: u64,
}

struct Survey<'s> {
    root: &'s Value,
    /// By address; none while it is being looked at.
    same: HashMap<*const Value, Option<SameValue>>,
    /// Steps with all that is below; none while it is being looked at, or where it refers to itself.
    all: HashMap<*const Value, Option<u64>>,
    patterns: u32,
}

const SAME_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SAME_ONES: [&str; 4] = ["not", "if", "then", "else"];
const SAME_TABLES: [&str; 2] = ["dependentSchemas", "dependencies"];
const BELOW_ONES: [&str; 8] = [
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "items",
    "additionalItems",
    "contains",
    "unevaluatedItems",
    "contentSchema",
];
const BELOW_LISTS: [&str; 2] = ["prefixItems", "items"];
const BELOW_TABLES: [&str; 2] = ["properties", "patternProperties"];
const UNSUPPORTED: [&str; 5] = ["$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor", "$anchor"];

impl<'s> Survey<'s> {
    /// Steps of a schema with everything below it, as if each reference were written out. None: it has no end.
    fn unrolled(&mut self, schema: &'s Value, depth: u32) -> Result<Option<u64>, Unbounded> {
        if depth > DEPTH_MAX {
            return Err(Unbounded::Deep);
        }
        let key: *const Value = schema;
        if let Some(known) = self.all.get(&key) {
            return Ok(*known);
        }
        self.all.insert(key, None);
        self.check_keywords(schema)?;
        self.same_value(schema, 0)?;
        let mut total = Some(1_u64);
        for next in self.next_to(schema)?.into_iter().chain(below(schema)) {
            let steps = self.unrolled(next, depth + 1)?;
            total = total.zip(steps).map(|(total, steps)| total.saturating_add(steps));
        }
        self.all.insert(key, total);
        Ok(total)
    }

    fn same_value(&mut self, schema: &'s Value, depth: u32) -> Result<SameValue, Unbounded> {
        if depth >= SAME_VALUE_MAX {
            return Err(Unbounded::Chain);
        }
        let key: *const Value = schema;
        match self.same.get(&key) {
            Some(Some(known)) if depth + known.chain > SAME_VALUE_MAX => return Err(Unbounded::Chain),
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err(Unbounded::Circle(shown(schema))),
            None => {}
        }
        self.same.insert(key, None);
        let mut own = SameValue { chain: 1, width: 1 };
        for next in self.next_to(schema)? {
            let one = self.same_value(next, depth + 1)?;
            own.chain = own.chain.max(one.chain + 1);
            own.width = own.width.saturating_add(one.width);
        }
        self.same.insert(key, Some(own));
        Ok(own)
    }

    /// The schemas that look at the same value as this one.
    fn next_to(&self, schema: &'s Value) -> Result<Vec<&'s Value>, Unbounded> {
        let mut found = Vec::new();
        found.extend(SAME_LISTS.iter().filter_map(|key| schema.get(key)?.as_array()).flatten());
        found.extend(SAME_ONES.iter().filter_map(|key| schema.get(key)));
        let tables = SAME_TABLES.iter().filter_map(|key| schema.get(key)?.as_object());
        found.extend(tables.flat_map(serde_json::Map::values).filter(|schema| !schema.is_array()));
        if let Some(reference) = schema.get("$ref") {
            found.push(self.referred(reference)?);
        }
        Ok(found)
    }

    fn referred(&self, reference: &'s Value) -> Result<&'s Value, Unbounded> {
        let text = reference.as_str().unwrap_or_default();
        let Some(fragment) = text.strip_prefix('#') else { return Err(Unbounded::Outside(cut(text))) };
        pointer::of_fragment(self.root, fragment).ok_or_else(|| Unbounded::Dangling(cut(text)))
    }

    fn check_keywords(&mut self, schema: &'s Value) -> Result<(), Unbounded> {
        let Some(keys) = schema.as_object() else { return Ok(()) };
        if let Some(keyword) = UNSUPPORTED.iter().find(|keyword| keys.contains_key(**keyword)) {
            return Err(Unbounded::Keyword(keyword));
        }
        // It would change what references within it mean.
        if keys.contains_key("$id") && !std::ptr::eq(schema, self.root) {
            return Err(Unbounded::Keyword("$id"));
        }
        let of_names = keys.get("patternProperties").and_then(Value::as_object).map_or(0, serde_json::Map::len);
        let patterns = u32::try_from(of_names).unwrap_or(u32::MAX).saturating_add(keys.contains_key("pattern").into());
        self.patterns = self.patterns.saturating_add(patterns);
        Ok(())
    }
}

/// The schemas that look at parts of the value.
fn below(schema: &Value) -> impl Iterator<Item = &Value> {
    let ones = BELOW_ONES.iter().filter_map(|key| schema.get(key)).filter(|schema| !schema.is_array());
    let lists = BELOW_LISTS.iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    let tables = BELOW_TABLES.iter().filter_map(|key| schema.get(key)?.as_object()).flat_map(serde_json::Map::values);
    ones.chain(lists).chain(tables)
}

fn shown(schema: &Value) -> String {
    cut(schema.get("$ref").and_then(Value::as_str).unwrap_or("allOf"))
}

fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}

/// How many values a value consists of, itself included, and how many levels it has.
pub fn size(value: &Value) -> (u64, u32) {
    let parts: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => return (1, 1),
    };
    let (mut values, mut levels) = (1, 1);
    for (more, deep) in parts.map(size) {
        values += more;
        levels = levels.max(deep + 1);
    }
    (values, levels)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_would_take_without_end_is_refused_with_the_reason() {
        let chain = |length: u32, below: bool| {
            let next = |number: u32| {
                let reference = json!({ "$ref": format!("#/$defs/d{}", number + 1) });
                if below { json!({ "properties": { "x": reference } }) } else { reference }
            };
            let mut defs: serde_json::Map<String, Value> =
                (0..length).map(|number| (format!("d{number}"), next(number))).collect();
            defs.insert(format!("d{length}"), json!(true));
            json!({ "$ref": "#/$defs/d0", "$defs": defs })
        };
        for (schema, reason) in [
            (json!({ "$ref": "#" }), "leads back to itself"),
            (json!({ "allOf": [{ "anyOf": [{ "$ref": "#" }] }] }), "leads back to itself"),
            (json!({ "$ref": "https://example.com/order.json" }), "refers out of the schema"),
            (json!({ "properties": { "x": { "$ref": "#/$defs/none" } } }), "leads to nothing"),
            (json!({ "properties": { "x": { "$dynamicRef": "#a" } } }), "`$dynamicRef` is not supported"),
            (json!({ "properties": { "x": { "$id": "a" } } }), "`$id` is not supported"),
            (chain(40, false), "more than 32 schemas in a row"),
            (chain(10_000, false), "more than 32 schemas in a row"),
            (chain(10_000, true), "more than 256 levels deep"),
            (json!({ "allOf": vec![json!({ "pattern": "a" }); 101] }), "more than 100 patterns"),
        ] {
            let refused = measure(&schema).expect_err(reason).to_string();
            assert!(refused.contains(reason), "{refused}; expected {reason}");
        }
    }

    #[test]
    fn what_a_schema_costs_is_known_before_it_is_used() {
        let tree = json!({ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } });
        assert_eq!(measure(&tree).expect("bounded").telling_steps, None, "it has no end");
        let plain = measure(&json!({ "properties": { "a": { "type": "string" } } })).expect("bounded");
        assert_eq!((plain.same_value, plain.telling_steps), (1, Some(2)));
        // Each level doubles what is done with one value.
        let defs: serde_json::Map<String, Value> = (0..20)
            .map(|number| {
                (
                    format!("d{number}"),
                    json!({ "anyOf": vec![json!({ "$ref": format!("#/$defs/d{}", number + 1) }); 2] }),
                )
            })
            .take(12)
            .chain([("d12".to_owned(), json!(true))])
            .collect();
        let doubling = measure(&json!({ "$ref": "#/$defs/d0", "$defs": defs })).expect("bounded");
        assert!(doubling.steps > 4_096, "{doubling:?}");
    }
}
