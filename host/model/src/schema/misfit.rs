//! Misfits in the words of this project: what the checking library found, said shortly and with a way out.

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value;

use super::{
    validator::{MISFITS_MAX, Misfit},
    words,
};
use crate::{fault::did_you_mean, manifest::document::pointer_join};

/// Longest piece of a value that a message quotes, in characters.
const QUOTED_MAX: usize = 60;

/// All that is wrong, in words; at most [`MISFITS_MAX`].
pub fn tell<'e>(schema: &Value, errors: impl Iterator<Item = ValidationError<'e>>) -> Vec<Misfit> {
    let mut told = Vec::new();
    for error in errors {
        if told.len() >= MISFITS_MAX {
            break;
        }
        tell_one(schema, &error, &mut told);
    }
    told.truncate(MISFITS_MAX);
    told
}

fn tell_one(schema: &Value, error: &ValidationError<'_>, told: &mut Vec<Misfit>) {
    let pointer = error.instance_path().as_str();
    let value = error.instance();
    let mut push = |pointer: &str, message: String, fix: Option<String>| {
        told.push(Misfit { pointer: pointer.to_owned(), message: cut(&message), fix: fix.map(|fix| cut(&fix)) });
    };
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            push(pointer, format!("expected {}, found {}", expected(kind), words::kind(value)), None);
        }
        ValidationErrorKind::Required { property } => {
            push(pointer, format!("`{}` is missing", property.as_str().unwrap_or_default()), None);
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            for name in unexpected.iter().take(MISFITS_MAX) {
                let fix = known_keys(schema, error).map(|known| near_or_all(name, &known));
                push(&pointer_join(pointer, name), format!("unknown key `{name}`"), fix);
            }
        }
        ValidationErrorKind::Enum { options } => {
            let (message, fix) = no_option(value, options.as_array().map_or(&[][..], Vec::as_slice));
            push(pointer, message, Some(fix));
        }
        ValidationErrorKind::Constant { expected_value } => {
            push(
                pointer,
                format!("{} is not what is expected", quoted(value)),
                Some(format!("write {expected_value}")),
            );
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            tell_choice(schema, error, context, told);
        }
        kind => {
            let (message, fix) =
                bound(kind, value).unwrap_or_else(|| (error.masked_with("the value").to_string(), None));
            push(pointer, message, fix);
        }
    }
}

/// The one form of several that was meant, if that can be seen; or that it is none of them.
fn tell_choice(
    schema: &Value,
    error: &ValidationError<'_>,
    forms: &[Vec<ValidationError<'_>>],
    told: &mut Vec<Misfit>,
) {
    let pointer = error.instance_path();
    let of_type = |error: &ValidationError<'_>| match error.kind() {
        ValidationErrorKind::Type { kind } if error.instance_path() == pointer => Some(expected(kind)),
        _ => None,
    };
    let meant: Vec<&Vec<ValidationError<'_>>> =
        forms.iter().filter(|form| form.iter().all(|error| of_type(error).is_none())).collect();
    if let [form] = meant.as_slice() {
        form.iter().for_each(|error| tell_one(schema, error, told));
        return;
    }
    let value = error.instance();
    let message = if meant.is_empty() {
        let mut kinds: Vec<String> = forms.iter().flatten().filter_map(of_type).collect();
        kinds.dedup();
        format!("expected {}, found {}", kinds.join(" or "), words::kind(value))
    } else {
        format!("{} is none of the {} forms that are possible here", quoted(value), forms.len())
    };
    told.push(Misfit { pointer: pointer.as_str().to_owned(), message: cut(&message), fix: None });
}

fn expected(kind: &TypeKind) -> String {
    let names: Vec<String> = match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(many) => many.iter().map(|one| one.to_string()).collect(),
    };
    words::kinds(names.iter().map(String::as_str))
}

/// The names that the closed object knows.
fn known_keys<'s>(schema: &'s Value, error: &ValidationError<'_>) -> Option<Vec<&'s str>> {
    let (closed, _) = error.schema_path().as_str().rsplit_once('/')?;
    let known = schema.pointer(closed)?.get("properties")?.as_object()?;
    let mut known: Vec<&str> = known.keys().map(String::as_str).collect();
    known.sort_unstable();
    Some(known)
}

fn near_or_all(written: &str, known: &[&str]) -> String {
    match did_you_mean(written, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none are known here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

fn no_option(value: &Value, options: &[Value]) -> (String, String) {
    let message = format!("{} is not known here", quoted(value));
    let words: Vec<&str> = options.iter().filter_map(Value::as_str).collect();
    let near = value.as_str().and_then(|written| did_you_mean(written, words.iter().copied()));
    let fix = match near {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => {
            let all: Vec<String> = options.iter().take(20).map(ToString::to_string).collect();
            format!("one of {} is expected", all.join(", "))
        }
    };
    (message, fix)
}

/// Bounds of all kinds.
fn bound(kind: &ValidationErrorKind, value: &Value) -> Option<(String, Option<String>)> {
    use ValidationErrorKind as Kind;
    let shown = quoted(value);
    let length = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    let (message, fix) = match kind {
        Kind::Minimum { limit } => (format!("{shown} is too small"), format!("at least {limit} is expected")),
        Kind::ExclusiveMinimum { limit } => (format!("{shown} is too small"), format!("more than {limit} is expected")),
        Kind::Maximum { limit } => (format!("{shown} is too large"), format!("at most {limit} is expected")),
        Kind::ExclusiveMaximum { limit } => (format!("{shown} is too large"), format!("less than {limit} is expected")),
        Kind::MultipleOf { multiple_of } => {
            (format!("{shown} is no multiple of {multiple_of}"), format!("write a multiple of {multiple_of}"))
        }
        Kind::MinLength { limit: 1 } => {
            (format!("{shown} is too short"), "at least 1 character is expected".to_owned())
        }
        Kind::MinLength { limit } => {
            (format!("{shown} is too short"), format!("at least {limit} characters are expected"))
        }
        Kind::MaxLength { limit } => {
            (format!("{shown} is too long"), format!("at most {limit} characters are expected"))
        }
        Kind::MinItems { limit } => (format!("it has {length} items"), format!("at least {limit} are expected")),
        Kind::MaxItems { limit } => (format!("it has {length} items"), format!("at most {limit} are expected")),
        Kind::MinProperties { limit } => (format!("it has {length} keys"), format!("at least {limit} are expected")),
        Kind::MaxProperties { limit } => (format!("it has {length} keys"), format!("at most {limit} are expected")),
        Kind::Pattern { pattern } => return Some((format!("{shown} does not match the pattern `{pattern}`"), None)),
        Kind::Format { format } => return Some((format!("{shown} is no `{format}`"), None)),
        Kind::FalseSchema => ("nothing is expected here".to_owned(), "leave it out".to_owned()),
        _ => return None,
    };
    Some((message, Some(fix)))
}

/// A value as JSON, cut where it is long.
fn quoted(value: &Value) -> String {
    let text = match value {
        Value::Array(_) | Value::Object(_) => return words::kind(value).to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(QUOTED_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Text of the library, which may quote whatever it has met.
pub fn cut(text: &str) -> String {
    const LETTERS_MAX: usize = 400;
    match text.char_indices().nth(LETTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
