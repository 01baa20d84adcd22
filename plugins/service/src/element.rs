//! Parts of JSON that services answer with, and of addresses that they are asked by.

use std::fmt::Write as _;

use trellis_sdk::{Value, http::percent_encode};

use crate::time;

/// The text at a JSON Pointer.
pub fn text(element: &Value, pointer: &str) -> Option<String> {
    element.pointer(pointer)?.as_str().map(str::to_owned)
}

/// The time at a JSON Pointer, to the second in UTC.
pub fn at(element: &Value, pointer: &str) -> Option<String> {
    element.pointer(pointer)?.as_str().and_then(time::normal)
}

/// A text of each element of an array; elements that are texts are their own.
pub fn all(element: &Value, name: &str, pointer: &str) -> Vec<String> {
    let elements = element[name].as_array().map(Vec::as_slice).unwrap_or_default();
    elements.iter().filter_map(|one| one.as_str().map(str::to_owned).or_else(|| text(one, pointer))).collect()
}

/// Adds a parameter, if there is one, to an address that has some already.
pub fn add_parameter(url: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        write!(url, "&{name}={}", percent_encode(value)).expect("writing to a string does not fail");
    }
}
