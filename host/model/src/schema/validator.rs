//! Whether a value fits a schema, and where it does not.

use std::fmt;

use jsonschema::PatternOptions;
use serde_json::Value;

use super::{
    bounds::{self, Costs, Unbounded},
    misfit,
};

/// Steps that a check may take: values times what each is looked at. 20,000,000: a second at the worst.
const STEPS_MAX: u64 = 20_000_000;
/// Steps that are no work worth mentioning. 50,000: two milliseconds at the worst.
const QUICK_STEPS_MAX: u64 = 50_000;
/// Steps that telling all that is wrong may take. 100,000: each may leave an error in memory, before the first of them is told.
const TELLING_STEPS_MAX: u64 = 100_000;
/// Schemas that look at values within each other at one time: what the stack of any thread of a host holds.
const NESTED_MAX: u32 = 1_024;
/// A compiled pattern, and what is remembered of its matches, in bytes.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// Misfits told of one value: more are no help to anybody.
pub(super) const MISFITS_MAX: usize = 20;

/// A part of a value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// A JSON Pointer into the value.
    pub pointer: String,
    /// What is wrong, with the offending value.
    pub message: String,
    /// How to mend it, where that is known.
    pub fix: Option<String>,
}

/// A schema that no value can be checked with.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSchema {
    #[error(transparent)]
    Unbounded(#[from] Unbounded),
    /// It breaks the rules of JSON Schema.
    #[error("{message}")]
    Invalid {
        /// Into the schema.
        pointer: String,
        message: String,
    },
}

impl InvalidSchema {
    /// Where in the schema it is, as a JSON Pointer, as far as that is known.
    pub fn pointer(&self) -> &str {
        match self {
            Self::Unbounded(_) => "",
            Self::Invalid { pointer, .. } => pointer,
        }
    }
}

/// A schema, compiled.
pub struct Validator {
    schema: Value,
    compiled: jsonschema::Validator,
    costs: Costs,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").field("costs", &self.costs).finish_non_exhaustive()
    }
}

impl Validator {
    /// Compiles a schema, of draft 2020-12 where it does not say. Nothing is fetched from anywhere.
    ///
    /// # Errors
    /// See [`InvalidSchema`].
    pub fn new(schema: &Value) -> Result<Self, InvalidSchema> {
        let costs = bounds::measure(schema)?;
        if costs.steps > STEPS_MAX {
            return Err(Unbounded::Ways.into());
        }
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let compiled = jsonschema::options().with_pattern_options(patterns).build(schema);
        let compiled = compiled.map_err(|error| InvalidSchema::Invalid {
            pointer: error.instance_path().as_str().to_owned(),
            message: misfit::cut(&error.to_string()),
        })?;
        Ok(Self { schema: schema.clone(), compiled, costs })
    }

    /// What of a value does not fit; nothing if all of it does.
    pub fn misfits(&self, value: &Value) -> Vec<Misfit> {
        let (values, levels) = bounds::size(value);
        if let Some(refused) = self.refused(values, levels) {
            return vec![refused];
        }
        if self.compiled.is_valid(value) {
            return Vec::new();
        }
        let steps = self.costs.telling_steps.map(|steps| steps.saturating_mul(values));
        if steps.is_none_or(|steps| steps > TELLING_STEPS_MAX) {
            return vec![whole("it does not fit its schema, and is too large to say where")];
        }
        let told = misfit::tell(&self.schema, self.compiled.iter_errors(value));
        // It does not fit: silence would let it through.
        if told.is_empty() { vec![whole("it does not fit its schema")] } else { told }
    }

    /// Whether a check takes no longer than reading the value did.
    pub fn is_quick(&self, value: &Value) -> bool {
        bounds::size(value).0.saturating_mul(self.costs.steps) <= QUICK_STEPS_MAX
    }

    fn refused(&self, values: u64, levels: u32) -> Option<Misfit> {
        if levels.saturating_mul(self.costs.same_value) > NESTED_MAX {
            return Some(whole(format!("it is {levels} levels deep, too deep for its schema")));
        }
        let is_costly = values.saturating_mul(self.costs.steps) > STEPS_MAX;
        is_costly.then(|| whole(format!("it consists of {values} values, too many for its schema")))
    }
}

fn whole(message: impl Into<String>) -> Misfit {
    Misfit { pointer: String::new(), message: message.into(), fix: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, value: &Value, expected: &[(&str, &str)]) {
        let misfits = Validator::new(schema).unwrap_or_else(|error| panic!("{schema}: {error}")).misfits(value);
        let told = |misfit: &Misfit| {
            let fix = misfit.fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default();
            (misfit.pointer.clone(), format!("{}{fix}", misfit.message))
        };
        let found: Vec<(String, String)> = misfits.iter().map(told).collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(pointer, text)| ((*pointer).to_owned(), (*text).to_owned())).collect();
        assert_eq!(found, expected, "{value} by {schema}");
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place_and_its_fix() {
        let order = json!({
            "type": "object",
            "properties": {
                "id": { "type": "string", "minLength": 1, "pattern": "^[a-z]+$" },
                "total": { "type": "number", "minimum": 0 },
                "currency": { "enum": ["EUR", "USD"] },
                "note": { "anyOf": [{ "$ref": "#/$defs/Note" }, { "type": "null" }] },
                "lines": { "type": "array", "maxItems": 2, "items": { "type": ["integer", "null"] } },
            },
            "required": ["id"],
            "additionalProperties": false,
            "$defs": { "Note": { "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] } },
        });
        check(&order, &json!({ "id": "a", "total": 1, "currency": "EUR", "note": null, "lines": [1, null] }), &[]);
        check(&order, &json!([]), &[("", "expected an object, found an array")]);
        check(&order, &json!({}), &[("", "`id` is missing")]);
        check(&order, &json!({ "id": 7 }), &[("/id", "expected a string, found a number")]);
        check(
            &order,
            &json!({ "id": "" }),
            &[
                ("/id", "\"\" is too short; at least 1 character is expected"),
                ("/id", "\"\" does not match the pattern `^[a-z]+$`"),
            ],
        );
        check(&order, &json!({ "id": "a", "totl": 1 }), &[("/totl", "unknown key `totl`; did you mean `total`?")]);
        check(
            &order,
            &json!({ "id": "a", "x": 1 }),
            &[("/x", "unknown key `x`; known here: currency, id, lines, note, total")],
        );
        check(&order, &json!({ "id": "a", "total": -1 }), &[("/total", "-1 is too small; at least 0 is expected")]);
        check(
            &order,
            &json!({ "id": "a", "currency": "EURO" }),
            &[("/currency", "\"EURO\" is not known here; did you mean \"EUR\"?")],
        );
        check(
            &order,
            &json!({ "id": "a", "currency": 3 }),
            &[("/currency", "3 is not known here; one of \"EUR\", \"USD\" is expected")],
        );
        check(&order, &json!({ "id": "a", "note": {} }), &[("/note", "`text` is missing")]);
        check(&order, &json!({ "id": "a", "note": 5 }), &[("/note", "expected an object or null, found a number")]);
        check(
            &order,
            &json!({ "id": "a", "lines": [1, 2, 3] }),
            &[("/lines", "it has 3 items; at most 2 are expected")],
        );
        check(
            &order,
            &json!({ "id": "a", "lines": ["x"] }),
            &[("/lines/0", "expected an integer or null, found a string")],
        );
    }

    #[test]
    fn a_schema_that_is_none_says_where() {
        let error = Validator::new(&json!({ "properties": { "a": { "type": "strin" } } })).expect_err("no type");
        assert!(error.pointer().starts_with("/properties/a/type"), "{error:?}");
        assert!(Validator::new(&json!({ "pattern": "(" })).is_err());
        assert!(Validator::new(&json!({ "pattern": format!("{}{{1000}}", "(a{1000})") })).is_err());
        assert!(Validator::new(&json!(7)).is_err());
    }

    #[test]
    fn a_value_that_its_schema_makes_costly_is_refused_and_not_checked() {
        let many = json!(vec![0; 200_000]);
        let wide = json!({ "allOf": vec![json!({ "items": { "minimum": 0 } }); 100] });
        check(&wide, &many, &[("", "it consists of 200001 values, too many for its schema")]);
        check(
            &json!({ "items": { "minimum": 1 } }),
            &many,
            &[("", "it does not fit its schema, and is too large to say where")],
        );
        let tree = json!({ "type": "object", "additionalProperties": { "$ref": "#" } });
        check(&tree, &json!({ "a": { "b": {} } }), &[]);
        check(&tree, &json!({ "a": { "b": 1 } }), &[("", "it does not fit its schema, and is too large to say where")]);
    }

    /// `{ "$ref": "#/$defs/d0" }`, where each of these looks at what is below it by the next, `times` times.
    fn chain(length: u32, times: usize, last: &Value) -> Value {
        let next = |number: u32| {
            let below = json!({ "properties": { "x": { "$ref": format!("#/$defs/d{}", number + 1) } } });
            json!({ "allOf": vec![below; times] })
        };
        let defs = (0..length).map(|number| (format!("d{number}"), next(number)));
        let defs: serde_json::Map<String, Value> = defs.chain([(format!("d{length}"), last.clone())]).collect();
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    }

    #[test]
    fn a_schema_that_looks_at_the_same_again_and_again_is_refused() {
        let unevaluated = (0..20).fold(
            json!({ "properties": { "a": true } }),
            |inner, _| json!({ "anyOf": [inner], "unevaluatedProperties": { "type": "integer" } }),
        );
        for schema in [chain(40, 2, &json!(true)), chain(40, 2, &json!({ "$ref": "#/$defs/d0" })), unevaluated] {
            let refused = Validator::new(&schema).expect_err("too many ways").to_string();
            assert!(refused.contains("again and again"), "{refused}");
        }
        let nested = (0..40).fold(json!(1), |value, _| json!({ "x": value }));
        check(&chain(40, 1, &json!({ "type": "integer" })), &nested, &[]);
        let thousand = json!(vec![7; 1_000]);
        let many: Vec<u32> = (0..30_000).collect();
        check(
            &json!({ "items": { "enum": many } }),
            &thousand,
            &[("", "it consists of 1001 values, too many for its schema")],
        );
        let names: serde_json::Map<String, Value> =
            (0..30_000).map(|name| (format!("k{name}"), json!(["z"]))).collect();
        check(
            &json!({ "items": { "dependentRequired": names } }),
            &thousand,
            &[("", "it consists of 1001 values, too many for its schema")],
        );
    }

    #[test]
    fn a_schema_of_a_language_refers_to_itself_in_many_places_and_is_used() {
        let of = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
        let kind = |name: &str, parts: &[&str]| {
            let parts: serde_json::Map<String, Value> =
                parts.iter().map(|part| ((*part).to_owned(), of("any"))).collect();
            let mut properties = parts.clone();
            properties.insert("is".to_owned(), json!({ "const": name }));
            properties.insert("then".to_owned(), json!({ "type": "array", "items": of("any") }));
            json!({ "type": "object", "properties": properties, "required": ["is"], "additionalProperties": false })
        };
        let names: Vec<String> = (0..12).map(|number| format!("kind{number}")).collect();
        let mut defs: serde_json::Map<String, Value> =
            names.iter().map(|name| (name.clone(), kind(name, &["left", "right", "over"]))).collect();
        let kinds: Vec<Value> = names.iter().map(|name| of(name)).chain([json!({ "type": "integer" })]).collect();
        defs.insert("any".to_owned(), json!({ "anyOf": kinds }));
        let language = json!({ "$ref": "#/$defs/any", "$defs": defs });
        let mut term = json!(7);
        for name in names.iter().cycle().take(30) {
            term = json!({ "is": name, "left": term, "right": 3, "then": vec![json!({ "is": name, "over": 1 }); 20] });
        }
        check(&language, &term, &[]);
    }

    #[test]
    fn what_references_mean_is_changed_nowhere_below_the_root() {
        let inner = chain(30, 2, &json!({ "type": "string" }))["$defs"].clone();
        let hidden =
            json!({ "$id": "http://a.example/", "$defs": inner, "properties": { "x": { "$ref": "#/$defs/d0" } } });
        let schema = json!({ "$ref": "#/$defs/a/properties/x", "$defs": { "a": hidden, "d0": true } });
        assert!(Validator::new(&schema).expect_err("hidden").to_string().contains("`$id` is not supported below"));
        let schema = json!({ "$id": "http://a.example/", "properties": { "id": { "type": "string" }, "$id": true } });
        check(&schema, &json!({ "id": "a" }), &[]);
    }

    /// Deep as it may be: on the small stack of a worker, in a build without optimisation.
    #[test]
    fn the_deepest_check_fits_on_a_small_stack() {
        const STACK_BYTES: usize = 2 * 1024 * 1024;
        let defs: serde_json::Map<String, Value> = (0..14)
            .map(|number| (format!("d{number}"), json!({ "anyOf": [{ "$ref": format!("#/$defs/d{}", number + 1) }] })))
            .chain([("d14".to_owned(), json!({ "items": { "$ref": "#/$defs/d0" } }))])
            .collect();
        let same = json!({ "$ref": "#/$defs/d0", "$defs": defs });
        let below: serde_json::Map<String, Value> = (0..80)
            .map(|number| (format!("d{number}"), json!({ "items": { "$ref": format!("#/$defs/d{}", number + 1) } })))
            .chain([("d80".to_owned(), json!(true))])
            .collect();
        let below = json!({ "$ref": "#/$defs/d0", "$defs": below });
        let check = move || {
            let validator = Validator::new(&same).expect("bounded");
            let levels = NESTED_MAX / validator.costs.same_value;
            let nested = (0..levels - 1).fold(json!([]), |value, _| json!([value]));
            assert_eq!(validator.misfits(&nested), []);
            assert!(!validator.misfits(&json!([nested])).is_empty(), "one level more is refused");
            assert_eq!(Validator::new(&below).expect("bounded").misfits(&json!([])), []);
        };
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(check).expect("a thread").join().expect("it fits");
    }
}
