//! Where a node's input comes from: the event, a port of another node, or a literal.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::description::check_name;

/// `"event"`, `"event#/pointer"`, `"node.port"`, `"node.port#/pointer"`, `{ literal = … }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Event { pointer: String },
    Port { node: String, port: String, pointer: String },
    Literal(Value),
}

/// Text that names no origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin; write \"event\", \"event#/pointer\", \"node.port\", \"node.port#/pointer\" or {{ literal = … }}"
)]
pub struct InvalidOrigin(String);

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.to_owned());
        let (source, pointer) = text.split_once('#').unwrap_or((text, ""));
        if !is_pointer(pointer) {
            return Err(invalid());
        }
        let pointer = pointer.to_owned();
        if source == "event" {
            return Ok(Self::Event { pointer });
        }
        let (node, port) = source.split_once('.').ok_or_else(invalid)?;
        if check_name(node).is_err() || check_name(port).is_err() {
            return Err(invalid());
        }
        Ok(Self::Port { node: node.to_owned(), port: port.to_owned(), pointer })
    }
}

/// RFC 6901: empty, or steps that each begin with `/`; `~` only as `~0` or `~1`.
pub(super) fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/'))
        && text.split('~').skip(1).all(|rest| rest.starts_with('0') || rest.starts_with('1'))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, pointer) = match self {
            Self::Event { pointer } => ("event".to_owned(), pointer),
            Self::Port { node, port, pointer } => (format!("{node}.{port}"), pointer),
            Self::Literal(value) => return write!(f, "literal {value}"),
        };
        f.write_str(&source)?;
        if pointer.is_empty() { Ok(()) } else { write!(f, "#{pointer}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_they_are_read() {
        for text in ["event", "event#/user/name", "fetch.report", "fetch.report#/a~1b/0"] {
            assert_eq!(text.parse::<Origin>().expect("valid").to_string(), text);
        }
        for text in ["", "events", "fetch", "fetch.", ".out", "event#x", "event#/~2", "a b.c", "fetch.out.x"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
