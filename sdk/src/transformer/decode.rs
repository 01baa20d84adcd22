//! JSON texts into types, with messages that say where the mistake is.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeOwned, Expected, Unexpected, Visitor},
    forward_to_deserialize_any,
};
use serde_path_to_error::Track;

/// Reads a value; keys that the type does not know are passed over.
///
/// # Errors
/// A message that begins with the path of the mistake, such as `at `items[3].price`: invalid type: …`.
pub(super) fn leniently<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    read(json, &mut |_| ())
}

/// Reads a value; a key that the type does not know is a mistake, at any depth.
///
/// # Errors
/// As for [`leniently`].
pub(super) fn strictly<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let mut unknown = Vec::new();
    let value = read(json, &mut |key| unknown.push(key.to_string()));
    if unknown.is_empty() {
        return value;
    }
    let unknown = format!("unknown key `{}`", unknown.join("`, `"));
    // A key that is missing is often one that is misspelt.
    Err(value.map_or_else(|reason| format!("{reason}; {unknown}"), |_: T| unknown.clone()))
}

// Lenient and strict reading are one and the same code: the more types of decoders, the larger the component.
fn read<T: DeserializeOwned>(json: &str, mut on_unknown: &mut dyn FnMut(serde_ignored::Path<'_>)) -> Result<T, String> {
    let mut track = Track::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let value = T::deserialize(serde_ignored::Deserializer::new(tracked, &mut on_unknown));
    match value.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => Err(located(&track.path(), &error)),
    }
}

fn located(path: &serde_path_to_error::Path, error: &serde_json::Error) -> String {
    if path.iter().next().is_none() { error.to_string() } else { format!("at `{path}`: {error}") }
}

/// What a type makes of a value that is not there: `None` for an `Option`, nothing for anything else. It is what serde
/// itself does with a missing field.
pub(super) fn absent<T: DeserializeOwned>() -> Option<T> {
    T::deserialize(Absent).ok()
}

struct Absent;

/// That there is no value. Nobody reads why, so no code is linked into the component that would say it.
#[derive(Debug, thiserror::Error)]
#[error("absent")]
struct NoValue;

impl de::Error for NoValue {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Absent {
    type Error = NoValue;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
        Err(NoValue)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoValue> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
