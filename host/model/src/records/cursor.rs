//! Where a record stands in the order of a query, and cursors: the same as text that is handed out and comes back.

use std::{fmt, str::FromStr};

use super::IndexValue;

/// Where a record stands: what the index of the order finds in it, and its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// None: the order is by key.
    pub value: Option<IndexValue>,
    pub key: String,
}

/// A text that is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no cursor; pass `next` of the page before as it is, with the same query")]
pub struct InvalidCursor;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.value.iter().flat_map(IndexValue::as_bytes) {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ".{}", self.key)
    }
}

impl FromStr for Position {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (hex, key) = text.split_once('.').ok_or(InvalidCursor)?;
        // The database holds no NUL.
        if key.is_empty() || key.contains('\0') || hex.len() % 2 != 0 || hex.len() > MAX_HEX {
            return Err(InvalidCursor);
        }
        let byte = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        };
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        let bytes = bytes.ok_or(InvalidCursor)?;
        let value = (!bytes.is_empty()).then(|| IndexValue::from_bytes(bytes));
        Ok(Self { value, key: key.to_owned() })
    }
}

/// Digits of the longest value.
const MAX_HEX: usize = 2 * (super::INDEX_TEXT_BYTES_MAX + 2);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_position() {
        for value in [None, Some(json!(null)), Some(json!("a.b")), Some(json!(-7)), Some(json!("x".repeat(600)))] {
            let position = Position { value: value.as_ref().map(IndexValue::of), key: "a.b/ä".to_owned() };
            assert_eq!(position.to_string().parse(), Ok(position), "{value:?}");
        }
        for text in ["", "key", ".", "0.k", "zz.k", "+1.k", "05.a\0b", &format!("{}.k", "05".repeat(600))] {
            assert_eq!(text.parse::<Position>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
