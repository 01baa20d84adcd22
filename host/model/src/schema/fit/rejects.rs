//! Whether a schema rejects one value for certain: for schemas that list their values.
//!
//! Not the checking of values in general, which is the validator's: here what is not understood lets everything through.

use serde_json::Value;

use super::{Search, Term, kinds::Kinds, number::Range, pointer};

/// The values that a term lists: by `const` or `enum`.
pub fn listed<'s>(term: &Term<'s>) -> Option<Vec<&'s Value>> {
    match (term.key("const"), term.list("enum")) {
        (Some(one), _) => Some(vec![one]),
        (None, Some(many)) => Some(many.iter().collect()),
        (None, None) => None,
    }
}

/// Whether the value does not fit the term, whatever else holds.
pub fn rejects(search: &mut Search, term: Term<'_>, value: &Value) -> bool {
    // Comparing it with what a term lists takes as long as the list is.
    if !search.spend(if term.at.is_empty() { term.steps() } else { 1 }) {
        return false;
    }
    if let Some((step, rest)) = term.at.split_first() {
        return match found(value, step) {
            Some(part) => search.at(step.clone(), |search| rejects(search, Term { at: rest, ..term }, part)),
            None => true,
        };
    }
    match term.schema {
        Value::Bool(allows) => !allows,
        Value::Object(_) => rejects_by_reference(search, term, value),
        _ => false,
    }
}

fn found<'v>(value: &'v Value, step: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(pointer::index(step)?),
        _ => None,
    }
}

fn rejects_by_reference(search: &mut Search, term: Term<'_>, value: &Value) -> bool {
    if let Some(referred) = term.referred() {
        if rejects(search, referred, value) {
            return true;
        }
        if term.is_of_an_old_draft() {
            return false;
        }
    }
    let of_all = term.list("allOf").into_iter().flatten().any(|schema| rejects(search, term.with(schema), value));
    let mut of_choices =
        ["anyOf", "oneOf"].into_iter().filter_map(|key| term.list(key)).filter(|forms| !forms.is_empty());
    of_all
        || of_choices.any(|forms| forms.iter().all(|schema| rejects(search, term.with(schema), value)))
        || rejects_plainly(search, term, value)
}

fn rejects_plainly(search: &mut Search, term: Term<'_>, value: &Value) -> bool {
    let kinds = Kinds::of(&term);
    if !kinds.has(Kinds::of_value(value)) {
        return true;
    }
    if listed(&term).is_some_and(|values| values.iter().all(|listed| differ(listed, value))) {
        return true;
    }
    let is_outside = |length: usize, least: &str, most: &str| {
        let length = length as u64;
        term.count(least).is_some_and(|least| length < least) || term.count(most).is_some_and(|most| length > most)
    };
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            kinds.is_whole && number.fract() != 0.0 || Range::of([term].iter()).excludes(number)
        }
        Value::String(text) => is_outside(text.chars().count(), "minLength", "maxLength"),
        Value::Array(items) => {
            is_outside(items.len(), "minItems", "maxItems")
                || super::items_most(&term).is_some_and(|most| items.len() as u64 > most)
                || items.iter().enumerate().any(|(index, item)| {
                    let terms = super::items(&[term], index);
                    terms.into_iter().any(|term| rejects(search, term, item))
                })
        }
        Value::Object(fields) => {
            is_outside(fields.len(), "minProperties", "maxProperties")
                || super::required(&[term]).iter().any(|name| !fields.contains_key(*name))
                || fields
                    .iter()
                    .any(|(name, field)| super::property(&term, name).is_some_and(|term| rejects(search, term, field)))
        }
    }
}

/// Whether two values differ for certain. 1 and 1.0 are the same number.
fn differ(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() != other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() != other.len() || one.iter().zip(other).any(|(one, other)| differ(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() != other.len()
                || one.iter().any(|(name, value)| other.get(name).is_none_or(|other| differ(value, other)))
        }
        (one, other) => one != other,
    }
}
