//! What clashes and what does not; and that nothing clashes which any value fits.

use proptest::{prelude::*, test_runner::Config};
use serde_json::{Value, json};

use super::{Budget, clash};
use crate::schema::Validator;

#[expect(clippy::needless_pass_by_value, reason = "cases are written as literals")]
fn check(given: Value, at: &str, taken: Value, expected: Option<(&str, &str, &str)>) {
    let found = clash(&given, at, &taken, &mut Budget::default());
    let found = found.as_ref().map(|clash| (clash.pointer.as_str(), clash.given.as_str(), clash.taken.as_str()));
    assert_eq!(found, expected, "{given} at `{at}` for {taken}");
}

#[test]
fn kinds_and_values_that_have_nothing_in_common_clash() {
    check(json!({ "type": "string" }), "", json!({ "type": "number" }), Some(("", "a string", "a number")));
    check(json!({ "type": "integer" }), "", json!({ "type": "number" }), None);
    check(json!({ "type": "number" }), "", json!({ "type": "integer" }), None);
    check(json!({ "type": ["string", "null"] }), "", json!({ "type": ["number", "null"] }), None);
    check(
        json!({ "type": ["string", "boolean"] }),
        "",
        json!({ "type": ["number", "null"] }),
        Some(("", "a boolean or a string", "a number or null")),
    );
    check(json!({ "enum": ["a", "b"] }), "", json!({ "enum": ["c"] }), Some(("", "one of \"a\", \"b\"", "\"c\"")));
    check(json!({ "enum": ["a", "b"] }), "", json!({ "const": "b" }), None);
    check(json!({ "const": 1 }), "", json!({ "const": 1.0 }), None);
    check(json!({ "const": 1 }), "", json!({ "type": "string" }), Some(("", "1", "a string")));
    check(json!({ "enum": ["abc"] }), "", json!({ "maxLength": 2 }), Some(("", "\"abc\"", "any value")));
    check(json!(true), "", json!({ "type": "string" }), None);
    check(json!(false), "", json!({ "type": "string" }), Some(("", "nothing", "a string")));
}

#[test]
fn ranges_and_lengths_that_do_not_meet_clash() {
    check(
        json!({ "type": "number", "minimum": 5 }),
        "",
        json!({ "type": "number", "maximum": 3 }),
        Some(("", "a number of at least 5", "a number of at most 3")),
    );
    check(json!({ "type": "number", "minimum": 3 }), "", json!({ "type": "number", "maximum": 3 }), None);
    check(
        json!({ "type": "number", "exclusiveMinimum": 3 }),
        "",
        json!({ "type": "number", "maximum": 3 }),
        Some(("", "a number of more than 3", "a number of at most 3")),
    );
    check(
        json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }),
        "",
        json!({ "type": "integer" }),
        Some(("", "a number of more than 0 and less than 1", "an integer")),
    );
    check(
        json!({ "type": "string", "minLength": 5 }),
        "",
        json!({ "type": "string", "maxLength": 3 }),
        Some(("", "a string of at least 5 characters", "a string of at most 3 characters")),
    );
    // Where doubles cannot tell, nothing is told.
    check(
        json!({ "type": "integer", "exclusiveMinimum": 9_007_199_254_740_992_i64 }),
        "",
        json!({ "type": "integer", "maximum": 9_007_199_254_740_993_i64 }),
        None,
    );
}

#[test]
fn objects_clash_by_what_one_requires_and_the_other_does_not_have() {
    let closed = json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": false });
    let needs = json!({ "type": "object", "properties": { "b": {} }, "required": ["b"] });
    check(closed.clone(), "", needs.clone(), Some(("", "an object without `b`", "an object with `b`")));
    check(needs.clone(), "", closed, Some(("", "an object with `b`", "an object without `b`")));
    check(json!({ "type": "object" }), "", needs.clone(), None);
    check(json!({ "additionalProperties": false, "patternProperties": { "^b": {} } }), "", needs, None);
    let total = |kind: &str, required: &[&str]| json!({ "type": "object", "properties": { "total": { "type": kind } }, "required": required });
    let clash = Some(("/total", "a string", "a number"));
    check(total("string", &["total"]), "", total("number", &[]), clash);
    check(total("string", &[]), "", total("number", &["total"]), clash);
    check(total("string", &[]), "", total("number", &[]), None);
}

#[test]
fn lists_clash_by_their_items_unless_one_of_them_is_of_nothing() {
    let list = |kind: &str| json!({ "type": "array", "items": { "type": kind } });
    check(list("string"), "", list("number"), Some(("/0", "a string", "a number")));
    check(list("integer"), "", list("number"), None);
    check(json!({ "type": "array", "maxItems": 0 }), "", list("number"), None);
    check(json!({ "type": "array", "items": false }), "", list("number"), None);
    let nothing = json!({ "type": "string", "minLength": 2, "maxLength": 1 });
    check(json!({ "type": "array", "items": nothing }), "", list("number"), None);
    check(list("number"), "", json!({ "type": "array", "items": nothing }), None);
    check(
        json!({ "type": ["array", "null"], "items": { "type": "string" } }),
        "",
        json!({ "anyOf": [list("number"), { "type": "null" }] }),
        None,
    );
    check(
        json!({ "type": "array", "minItems": 3 }),
        "",
        json!({ "type": "array", "maxItems": 2 }),
        Some(("", "an array of at least 3 items", "an array of at most 2 items")),
    );
    let pair = json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "number" }], "minItems": 2 });
    check(pair.clone(), "", list("string"), Some(("/1", "a number", "a string")));
    check(pair, "/1", json!({ "type": "string" }), Some(("/1", "a number", "a string")));
}

#[test]
fn references_choices_and_conjunctions_are_looked_through() {
    let given = json!({ "$ref": "#/$defs/Order", "$defs": {
        "Order": { "type": "object", "properties": { "to": { "$ref": "#/$defs/To" } }, "required": ["to"] },
        "To": { "oneOf": [{ "type": "string" }, { "type": "integer" }] },
    } });
    let taken = |kind: &str| json!({ "properties": { "to": { "allOf": [{ "$ref": "#/definitions/X" }] } }, "definitions": { "X": { "type": kind } } });
    check(given.clone(), "", taken("boolean"), Some(("/to", "a string or an integer", "a boolean")));
    check(given.clone(), "", taken("number"), None);
    check(given.clone(), "/to", json!({ "type": "array" }), Some(("/to", "a string or an integer", "an array")));
    check(given, "/from", json!({ "type": "array" }), None);
    let maybe = |kind: &str| json!({ "anyOf": [{ "type": kind }, { "type": "null" }] });
    check(maybe("string"), "", maybe("number"), None);
    check(maybe("string"), "", json!({ "type": "number" }), Some(("", "a string or null", "a number")));
    // In old drafts nothing counts besides a reference.
    let old = json!({ "$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/definitions/X", "type": "string", "definitions": { "X": {} } });
    check(old, "", json!({ "type": "number" }), None);
}

#[test]
fn what_is_not_there_is_not_to_be_had() {
    let closed =
        json!({ "type": "object", "properties": { "a": { "type": "object" } }, "additionalProperties": false });
    check(closed.clone(), "/b", json!(true), Some(("", "an object without `b`", "an object with `b`")));
    check(closed.clone(), "/a", json!(true), None);
    check(closed, "/a/b", json!({ "type": "string" }), None);
    check(json!({ "type": "string" }), "/a", json!(true), Some(("", "a string", "a value with `a`")));
    check(
        json!({ "type": "array", "maxItems": 2 }),
        "/2",
        json!(true),
        Some(("", "an array of at most 2 items", "an array")),
    );
}

#[test]
fn lists_are_closed_by_what_closes_them_in_their_draft() {
    let three = json!({ "type": "array", "minItems": 3 });
    check(json!({ "type": "array", "additionalItems": false }), "", three.clone(), None);
    check(json!({ "prefixItems": [true], "additionalItems": false, "type": "array" }), "", three.clone(), None);
    let at = |given: Value| clash(&given, "", &three, &mut Budget::default());
    assert!(at(json!({ "type": "array", "items": [true], "additionalItems": false })).is_some());
    assert!(at(json!({ "type": "array", "prefixItems": [true], "items": false })).is_some());
}

#[test]
fn what_would_take_for_ever_fits() {
    let list = json!({ "type": "object", "properties": { "next": { "$ref": "#" } }, "required": ["next"] });
    check(list.clone(), "", list, None);
    check(json!({ "$ref": "#" }), "", json!({ "type": "string" }), None);
    let choice = json!({ "anyOf": vec![json!({ "type": "string" }); 30] });
    let many = json!({ "allOf": vec![choice; 30] });
    check(many.clone(), "", json!({ "type": "string" }), None);
    // Each form is looked at beside all that holds with it.
    let terms: Vec<Value> = (0..3_000).map(|name| json!({ "required": [format!("k{name}")] })).collect();
    let forms = vec![json!({ "minProperties": 1 }); 3_000];
    let began = std::time::Instant::now();
    check(json!({ "allOf": terms, "anyOf": forms.clone() }), "", json!({ "anyOf": forms }), None);
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    let mut budget = Budget { left: 5 };
    assert_eq!(clash(&many, "", &json!({ "type": "number" }), &mut budget), None, "nothing is left to look with");
}

/// Schemas of a few kinds, so that two of them often have something to do with each other.
fn schema() -> impl Strategy<Value = Value> {
    let number = || prop::sample::select(vec![json!(0), json!(1), json!(2), json!(2.5)]);
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!(false)),
        prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"])
            .prop_map(|kind| json!({ "type": kind })),
        Just(json!({ "type": ["string", "null"] })),
        Just(json!({ "type": ["integer", "array"] })),
        prop::sample::subsequence(values(), 1..4).prop_map(|values| json!({ "enum": values })),
        number().prop_map(|least| json!({ "minimum": least })),
        number().prop_map(|most| json!({ "exclusiveMaximum": most, "type": "number" })),
        (0..3_u32).prop_map(|least| json!({ "minLength": least, "minItems": least, "minProperties": least })),
        (0..2_u32).prop_map(|most| json!({ "maxLength": most, "maxItems": most, "maxProperties": most })),
        Just(json!({ "$ref": "#/$defs/text" })),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        let name = || prop::sample::select(vec!["a", "b"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|forms| json!({ "anyOf": forms })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|forms| json!({ "oneOf": forms })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|forms| json!({ "allOf": forms })),
            inner.clone().prop_map(|items| json!({ "type": "array", "items": items })),
            (inner.clone(), inner.clone())
                .prop_map(|(first, further)| json!({ "prefixItems": [first], "items": further })),
            (name(), inner.clone(), any::<bool>(), prop::sample::subsequence(vec!["a", "b"], 0..2)).prop_map(
                |(name, property, is_closed, required)| {
                    let mut schema =
                        json!({ "type": "object", "properties": { name: property }, "required": required });
                    if is_closed {
                        schema["additionalProperties"] = json!(false);
                    }
                    schema
                }
            ),
            (inner.clone(), inner).prop_map(|(one, not)| json!({ "allOf": [one], "not": not })),
        ]
    })
}

/// A few values of every kind and of some depth. None has an empty list in it: about those more is said than is certain.
fn values() -> Vec<Value> {
    let small = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(1.5),
        json!(3),
        json!(""),
        json!("x"),
        json!("xyz"),
        json!({}),
    ];
    let mut all: Vec<Value> = small.to_vec();
    for one in &small {
        all.push(json!([one]));
        all.push(json!({ "a": one }));
        all.push(json!({ "b": one }));
        for other in &small {
            all.push(json!([one, other]));
            all.push(json!({ "a": one, "b": other }));
        }
        all.push(json!({ "a": { "a": one } }));
        all.push(json!({ "a": [one] }));
        all.push(json!([{ "b": one }]));
        all.push(json!([[one]]));
    }
    all
}

fn with_text(mut schema: Value) -> Value {
    if let Some(keys) = schema.as_object_mut() {
        keys.insert("$defs".to_owned(), json!({ "text": { "type": "string" } }));
    }
    schema
}

proptest! {
    #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn nothing_clashes_that_any_value_fits(
        given in schema(),
        taken in schema(),
        at in prop::sample::select(vec!["", "/a", "/b", "/0", "/a/a"]),
    ) {
        let (given, taken) = (with_text(given), with_text(taken));
        let Some(clash) = clash(&given, at, &taken, &mut Budget::default()) else { return Ok(()) };
        let comes = Validator::new(&given).expect("a schema");
        let goes = Validator::new(&taken).expect("a schema");
        for value in values() {
            let Some(part) = value.pointer(at) else { continue };
            let fits = comes.misfits(&value).is_empty() && goes.misfits(part).is_empty();
            prop_assert!(!fits, "{value} fits both {given} and, at `{at}`, {taken}: {clash:?}");
        }
    }
}
