//! Which kinds of values a term allows.

use serde_json::Value;

use super::Term;
use crate::schema::{pointer, words};

const NAMES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

/// A set of the kinds of JSON values, and whether numbers are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    set: u8,
    pub is_whole: bool,
}

impl Kinds {
    pub const ALL: Self = Self { set: 0b11_1111, is_whole: false };

    fn one(name: &str) -> Self {
        match name {
            "integer" => Self { is_whole: true, ..Self::one("number") },
            // A word that is no type allows nothing, which nobody means: it says nothing.
            name => NAMES
                .iter()
                .position(|known| *known == name)
                .map_or(Self::ALL, |at| Self { set: 1 << at, is_whole: false }),
        }
    }

    pub fn of(term: &Term<'_>) -> Self {
        if let Some(step) = term.at.first() {
            let object = Self::one("object");
            return if pointer::index(step).is_some() { object.or(Self::one("array")) } else { object };
        }
        match term.key("type") {
            Some(Value::String(name)) => Self::one(name),
            Some(Value::Array(names)) if !names.is_empty() => {
                let kinds = names.iter().map(|name| name.as_str().map_or(Self::ALL, Self::one));
                kinds.reduce(Self::or).unwrap_or(Self::ALL)
            }
            _ => Self::ALL,
        }
    }

    pub fn of_value(value: &Value) -> &'static str {
        match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }

    pub fn and(self, other: Self) -> Self {
        Self { set: self.set & other.set, is_whole: self.is_whole || other.is_whole }
    }

    fn or(self, other: Self) -> Self {
        // Whole where every one of them that has numbers says so.
        let is_whole = [self, other].iter().filter(|kinds| kinds.has("number")).all(|kinds| kinds.is_whole);
        Self { set: self.set | other.set, is_whole: is_whole && (self.has("number") || other.has("number")) }
    }

    pub fn is_empty(self) -> bool {
        self.set == 0
    }

    pub fn has(self, name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_some_and(|at| self.set & (1 << at) != 0)
    }

    /// Whether there is a kind whose values no keyword tells apart.
    pub fn has_constant(self) -> bool {
        self.has("null") || self.has("boolean")
    }

    pub fn words(self) -> String {
        if self.set == Self::ALL.set {
            return "any value".to_owned();
        }
        let names = NAMES.iter().filter(|name| self.has(name));
        words::kinds(names.map(|name| if *name == "number" && self.is_whole { "integer" } else { name }))
    }
}
