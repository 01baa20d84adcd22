//! Values as an index has them, in the host's order: null, false, true, numbers, texts by their bytes, arrays and objects.

use std::{cmp::Ordering, mem::discriminant};

use serde_json::{Number, Value};

/// As in the host: of longer texts an index has the beginning.
pub(super) const TEXT_BYTES_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IndexValue {
    Null,
    Bool(bool),
    Number(Exact),
    Text {
        beginning: Vec<u8>,
        is_cut: bool,
    },
    /// An array or an object: they are all the same to an index.
    Composite,
}

impl IndexValue {
    /// The value at a JSON Pointer; one that is absent is null.
    pub(super) fn at(data: &Value, pointer: &str) -> Self {
        data.pointer(pointer).map_or(Self::Null, Self::of)
    }

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(Exact::of(number)),
            Value::String(text) => {
                let bytes = text.as_bytes();
                let beginning = bytes[..bytes.len().min(TEXT_BYTES_MAX)].to_vec();
                Self::Text { beginning, is_cut: bytes.len() > TEXT_BYTES_MAX }
            }
            Value::Array(_) | Value::Object(_) => Self::Composite,
        }
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        discriminant(self) == discriminant(other)
    }

    pub(super) fn begins_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text { beginning, .. }, Self::Text { beginning: prefix, .. }) => beginning.starts_with(prefix),
            _ => false,
        }
    }
}

/// A number without loss: the nearest float, and what an integer has beyond it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    nearest: f64,
    rest: i128,
}

impl Exact {
    fn of(number: &Number) -> Self {
        let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        // Adding 0 makes a plain zero of a negative one.
        let nearest = number.as_f64().unwrap_or_default() + 0.0;
        Self { nearest, rest: integer.map_or(0, |integer| integer - nearest as i128) }
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nearest.total_cmp(&other.nearest).then(self.rest.cmp(&other.rest))
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Exact {}
