//! What an index finds in a record, as bytes whose order is the order of the values: null, false, true, numbers, texts by
//! their bytes, and then arrays and objects, which are all the same to an index.
//!
//! One column of bytes with one B-tree serves every type. The form is stored: it changes by making indexes anew, or never.
//!
//! ```text
//! null 01 · false 02 · true 03 · number 04, 8 bytes, 2 bytes · text 05, its bytes · array or object 06
//! ```
//!
//! A number is the nearest float, with its sign bit turned (and all bits of a negative one), and then what an integer has
//! beyond that float: so integers of 64 bits keep their exact order among each other and among floats. A text is cut behind
//! its first [`INDEX_TEXT_BYTES_MAX`] bytes; then a byte 01 follows, so that it is like no text that is whole.

use std::{fmt, ops::Range};

use serde_json::{Number, Value};

/// Of longer texts an index has the beginning, in bytes. 512: a line, and little enough for a page of the database.
pub const INDEX_TEXT_BYTES_MAX: usize = 512;

const NULL: u8 = 0x01;
const FALSE: u8 = 0x02;
const TRUE: u8 = 0x03;
const NUMBER: u8 = 0x04;
const TEXT: u8 = 0x05;
const COMPOSITE: u8 = 0x06;
const CUT: u8 = 0x01;
/// What is added to the rest of an integer, which may be negative: it is no more than half the distance of two floats.
const REST_MIDDLE: i128 = 0x8000;

/// A value in the order of an index.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexValue(Vec<u8>);

impl IndexValue {
    /// The value at a JSON Pointer of a record; one that is absent is null.
    pub fn at(record: &Value, pointer: &str) -> Self {
        Self::of(record.pointer(pointer).unwrap_or(&Value::Null))
    }

    pub fn of(value: &Value) -> Self {
        Self(match value {
            Value::Null => vec![NULL],
            Value::Bool(false) => vec![FALSE],
            Value::Bool(true) => vec![TRUE],
            Value::Number(number) => number_bytes(number),
            Value::String(text) => text_bytes(text),
            Value::Array(_) | Value::Object(_) => vec![COMPOSITE],
        })
    }

    /// As it was stored.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// First bytes of all values of the same type.
    pub(super) fn type_bytes(&self) -> Range<u8> {
        match self.0.first().copied().unwrap_or(NULL) {
            FALSE | TRUE => FALSE..NUMBER,
            first => first..first + 1,
        }
    }
}

impl fmt::Debug for IndexValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexValue({})", self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

fn number_bytes(number: &Number) -> Vec<u8> {
    let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    // Adding 0 makes a plain zero of a negative one.
    let nearest = number.as_f64().unwrap_or_default() + 0.0;
    let bits = nearest.to_bits();
    let ordered = if nearest.is_sign_negative() { !bits } else { bits | 1 << 63 };
    let rest = integer.map_or(0, |integer| integer - nearest as i128);
    let rest = u16::try_from(rest + REST_MIDDLE).expect("a float is near its integer");
    [&[NUMBER][..], &ordered.to_be_bytes(), &rest.to_be_bytes()].concat()
}

fn text_bytes(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let mut bytes = Vec::with_capacity(text.len().min(INDEX_TEXT_BYTES_MAX) + 2);
    bytes.push(TEXT);
    match text.get(..INDEX_TEXT_BYTES_MAX) {
        Some(beginning) if text.len() > INDEX_TEXT_BYTES_MAX => {
            bytes.extend_from_slice(beginning);
            bytes.push(CUT);
        }
        _ => bytes.extend_from_slice(text),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_every_type_keep_their_order() {
        let (whole, cut) = ("x".repeat(INDEX_TEXT_BYTES_MAX), "x".repeat(INDEX_TEXT_BYTES_MAX + 1));
        let ordered = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1e300),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-2),
            json!(-1.5),
            json!(0),
            json!(5e-324),
            json!(1),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64),
            json!(i64::MAX - 1),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("\0"),
            json!("Z"),
            json!("a"),
            json!("a\0"),
            json!("a\0b"),
            json!("aa"),
            json!(whole),
            json!(cut),
            json!("ä"),
            json!("\u{10FFFF}"),
            json!([]),
        ];
        for pair in ordered.windows(2) {
            assert!(IndexValue::of(&pair[0]) < IndexValue::of(&pair[1]), "{} before {}", pair[0], pair[1]);
        }
        assert_eq!(IndexValue::of(&json!({})), IndexValue::of(&json!([1])));
        assert_eq!(IndexValue::of(&json!(-0.0)), IndexValue::of(&json!(0)));
        assert_eq!(IndexValue::of(&json!(2.0)), IndexValue::of(&json!(2)));
        assert_eq!(IndexValue::at(&json!({ "a": 1 }), "/b"), IndexValue::of(&json!(null)));
        assert!(IndexValue::of(&json!("y".repeat(10_000))).as_bytes().len() <= INDEX_TEXT_BYTES_MAX + 2);
    }

    proptest! {
        #[test]
        fn integers_keep_their_exact_order(a: i64, b: i64, c: u64) {
            let of = |value: Value| IndexValue::of(&value);
            prop_assert_eq!(of(json!(a)).cmp(&of(json!(b))), a.cmp(&b));
            prop_assert_eq!(of(json!(a)).cmp(&of(json!(c))), i128::from(a).cmp(&i128::from(c)));
        }

        #[test]
        fn floats_keep_their_order(a in -1e18_f64..1e18, b in -1e18_f64..1e18) {
            let of = |value: f64| IndexValue::of(&json!(value));
            prop_assert_eq!(of(a).cmp(&of(b)), a.partial_cmp(&b).unwrap_or(Ordering::Equal));
        }

        #[test]
        fn texts_keep_the_order_of_their_bytes(a: String, b: String) {
            let of = |value: &str| IndexValue::of(&json!(value));
            prop_assert_eq!(of(&a).cmp(&of(&b)), a.as_bytes().cmp(b.as_bytes()));
        }
    }
}
