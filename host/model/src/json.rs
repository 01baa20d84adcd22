//! JSON that is handed on as text, but must be readable later: by pointers, by keys, by guests.
//!
//! Text can be JSON by its grammar and yet be no value: a number beyond what a double holds, half a surrogate pair, or
//! nesting beyond what parsers go down to. Such text is refused where it comes in, because whoever meets it later can only
//! take it for something that is not there.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The text as it is, once it is known to be a JSON value that can be read.
///
/// # Errors
/// What it is instead, with line and column.
pub fn readable(text: String) -> serde_json::Result<Box<RawValue>> {
    serde_json::from_str::<Readable>(&text)?;
    RawValue::from_string(text)
}

/// Reads a value to its end and keeps nothing of it.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_kept_as_it_is() {
        for text in ["null", " {\"a\": [1, -2.50, \"\\ud83d\\ude00\", true, {}]} ", "1e308", "\"\""] {
            let kept = readable(text.to_owned()).expect(text);
            assert_eq!(kept.get(), text.trim());
            serde_json::from_str::<serde_json::Value>(kept.get()).expect(text);
        }
    }

    #[test]
    fn text_that_is_no_value_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in
            ["", "1e999", "[1e999]", "\"\\ud800\"", "{\"\\ud800\": 1}", "{\"a\": \"\\udc00\"}", "[1,]", "1 2", &deep]
        {
            assert!(readable(text.to_owned()).is_err(), "{text}");
        }
    }
}
