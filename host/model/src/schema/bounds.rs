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

/// Ways through a schema that are gone one by one, where it refers to itself. 100,000: a hundred times what languages of
/// expressions and statements come to.
const WAYS_MAX: u32 = 100_000;

/// Why a schema is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbounded {
    #[error("`{0}` is not supported; refer by `$ref` with a JSON Pointer, such as \"#/$defs/order\"")]
    Keyword(&'static str),
    #[error(
        "`{0}` is not supported below the root of a schema, where it would change what references mean; leave it out"
    )]
    Base(&'static str),
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
    #[error("it looks at the same things again and again, by too many ways; say less with `anyOf`, `allOf` and `$ref`")]
    Ways,
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
    pub patterns: u32,
}

/// Measures a schema.
///
/// # Errors
/// See [`Unbounded`].
pub fn measure(schema: &Value) -> Result<Costs, Unbounded> {
    let mut survey = Survey {
        root: schema,
        is_draft_4: schema.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04")),
        same: HashMap::new(),
        known: HashMap::new(),
        on_the_way: HashMap::new(),
        referred: Vec::new(),
        ways: 0,
        has_unevaluated: false,
        patterns: 0,
    };
    let whole = survey.effort(schema)?;
    if survey.patterns > PATTERNS_MAX {
        return Err(Unbounded::Patterns);
    }
    let same_value = survey.same.values().flatten().map(|known| known.chain).max().unwrap_or(1);
    let again = survey.effort_again()?;
    Ok(Costs {
        same_value,
        steps: whole.checks.saturating_add(again.unwrap_or(0)),
        telling_steps: again.is_none().then_some(whole.checks),
        patterns: survey.patterns,
    })
}

/// What one schema does with one value, before it steps into it.
#[derive(Clone, Copy)]
struct SameValue {
    chain: u32,
    width: u64,
    /// Without the others.
    own: u64,
}

/// What one schema does with a value and all that is below it, as if each reference were written out; a reference to a schema
/// that is being gone through already is one step: the library remembers what came of that for each part of the value.
#[derive(Clone, Copy, Default)]
struct Effort {
    checks: u64,
    /// Steps to find out which parts of the value it has looked at, for `unevaluatedProperties` and `unevaluatedItems`: what is
    /// below each of them is checked once more.
    marking: u64,
    /// The first schema on the way that it refers back to, by its place there.
    back_to: Option<usize>,
    /// Whether something below it refers back to it.
    is_circle: bool,
}

impl Effort {
    fn add(&mut self, part: Self) {
        self.checks = self.checks.saturating_add(part.checks);
        self.back_to = [self.back_to, part.back_to].into_iter().flatten().min();
    }

    fn mark(&mut self, steps: u64) {
        self.marking = self.marking.saturating_add(steps);
    }
}

struct Survey<'s> {
    root: &'s Value,
    is_draft_4: bool,
    /// By address; none while it is being looked at.
    same: HashMap<*const Value, Option<SameValue>>,
    /// Of schemas that refer back to none on the way to them.
    known: HashMap<*const Value, Effort>,
    /// Places of those that are being gone through.
    on_the_way: HashMap<*const Value, usize>,
    /// What references lead to, each once for each of them.
    referred: Vec<&'s Value>,
    ways: u32,
    has_unevaluated: bool,
    patterns: u32,
}

const SAME_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SAME_ONES: [&str; 4] = ["not", "if", "then", "else"];
const SAME_TABLES: [&str; 2] = ["dependentSchemas", "dependencies"];
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
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
    fn effort(&mut self, schema: &'s Value) -> Result<Effort, Unbounded> {
        let (key, place): (*const Value, usize) = (schema, self.on_the_way.len());
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        if let Some(&place) = self.on_the_way.get(&key) {
            return Ok(Effort { checks: 1, marking: 1, back_to: Some(place), is_circle: false });
        }
        if place > DEPTH_MAX as usize {
            return Err(Unbounded::Deep);
        }
        self.ways += 1;
        if self.ways > WAYS_MAX {
            return Err(Unbounded::Ways);
        }
        let own = self.same_value(schema, 0)?.own;
        self.on_the_way.insert(key, place);
        let mut effort = self.effort_of_parts(schema, own)?;
        self.on_the_way.remove(&key);
        effort.is_circle = effort.back_to == Some(place);
        // What leads back to this one alone is the same wherever it is gone through from.
        if effort.back_to.is_none_or(|back_to| back_to >= place) {
            effort.back_to = None;
            self.known.insert(key, effort);
        }
        Ok(effort)
    }

    fn effort_of_parts(&mut self, schema: &'s Value, own: u64) -> Result<Effort, Unbounded> {
        let mut effort = Effort { checks: own, marking: own, ..Effort::default() };
        for next in self.next_to(schema)? {
            let part = self.effort(next)?;
            effort.add(part);
            effort.mark(part.checks.saturating_add(part.marking));
        }
        for next in below(schema) {
            let part = self.effort(next)?;
            effort.add(part);
        }
        let unevaluated = UNEVALUATED.iter().filter_map(|key| schema.get(key));
        let mut has_unevaluated = false;
        for next in unevaluated {
            let again = self.effort(next)?;
            effort.mark(again.checks);
            has_unevaluated = true;
        }
        if has_unevaluated {
            self.has_unevaluated = true;
            effort.checks = effort.checks.saturating_add(effort.marking);
        }
        Ok(effort)
    }

    /// Steps per value by those schemas that the library comes back to: each once for each part of a value, and again for
    /// parts that have none of their own, of which it remembers nothing. None: there are none.
    fn effort_again(&mut self) -> Result<Option<u64>, Unbounded> {
        let mut referred = std::mem::take(&mut self.referred);
        referred.sort_unstable_by_key(|schema| std::ptr::from_ref(*schema));
        referred.dedup_by_key(|schema| std::ptr::from_ref(*schema));
        let (mut steps, mut factor, mut is_circular) = (0_u64, 1, false);
        for schema in referred {
            let effort = self.effort(schema)?;
            if effort.is_circle {
                is_circular = true;
                steps = steps.saturating_add(effort.checks);
                factor = factor.max(self.same_value(schema, 0)?.width);
                factor = if self.has_unevaluated { factor.max(effort.marking) } else { factor };
            }
        }
        Ok(is_circular.then(|| steps.saturating_mul(factor)))
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
        self.check_keywords(schema)?;
        let steps = listed(schema).saturating_add(1);
        let mut own = SameValue { chain: 1, width: steps, own: steps };
        if let Some(reference) = schema.get("$ref") {
            let referred = self.referred(reference)?;
            self.referred.push(referred);
        }
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
        let way = pointer::way_of_fragment(self.root, fragment).ok_or_else(|| Unbounded::Dangling(cut(text)))?;
        way.iter().try_for_each(|part| self.check_base(part))?;
        way.last().copied().ok_or_else(|| Unbounded::Dangling(cut(text)))
    }

    fn check_keywords(&mut self, schema: &'s Value) -> Result<(), Unbounded> {
        let Some(keys) = schema.as_object() else { return Ok(()) };
        if let Some(keyword) = UNSUPPORTED.iter().find(|keyword| keys.contains_key(**keyword)) {
            return Err(Unbounded::Keyword(keyword));
        }
        self.check_base(schema)?;
        let of_names = keys.get("patternProperties").and_then(Value::as_object).map_or(0, serde_json::Map::len);
        let patterns = u32::try_from(of_names).unwrap_or(u32::MAX).saturating_add(keys.contains_key("pattern").into());
        self.patterns = self.patterns.saturating_add(patterns);
        Ok(())
    }

    /// Whether references mean the same within a part as at the root.
    fn check_base(&self, part: &'s Value) -> Result<(), Unbounded> {
        if std::ptr::eq(part, self.root) {
            return Ok(());
        }
        let old = if self.is_draft_4 { "id" } else { "$id" };
        let changed =
            ["$id", "$schema", old].into_iter().find(|keyword| part.get(keyword).is_some_and(Value::is_string));
        changed.map_or(Ok(()), |keyword| Err(Unbounded::Base(keyword)))
    }
}

/// What is looked through item by item for each value.
fn listed(schema: &Value) -> u64 {
    let values = ["enum", "const"].iter().filter_map(|key| schema.get(key)).map(|values| size(values).0);
    let required = schema.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let of_table =
        |table: &Value| table.as_object().map(|names| names.values().map(|names| size(names).0).sum::<u64>());
    let dependent = ["dependentRequired", "dependencies"].iter().filter_map(|key| of_table(schema.get(key)?));
    values.chain(dependent).sum::<u64>() + required
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
            (
                json!({ "properties": { "x": { "$schema": "http://json-schema.org/draft-04/schema#" } } }),
                "`$schema` is not",
            ),
            (
                json!({ "$ref": "#/$defs/a/properties/x", "$defs": { "a": { "$id": "a", "properties": { "x": true } } } }),
                "`$id` is not",
            ),
            (
                json!({ "$schema": "http://json-schema.org/draft-04/schema#", "items": { "id": "a" } }),
                "`id` is not supported",
            ),
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
