//! `dedupe` of a trigger: where an event carries the key by which a repeat of it is recognised.

use std::str::FromStr;

use super::origin::is_pointer;

/// Where the key is. An event without a value there has no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// A JSON Pointer into the event's data.
    Pointer(String),
    /// A request header, in lower case.
    Header(String),
}

/// Bytes of a pointer: far more than data is deep, and little to be kept with every revision.
pub const POINTER_BYTES_MAX: usize = 256;
/// Bytes of the name of a header.
pub const HEADER_BYTES_MAX: usize = 128;

/// Text that says of no key where it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDedupe {
    #[error("`{0}` is no place of a key; write a JSON Pointer into the event such as \"/id\", or \"header:NAME\"")]
    NoPlace(String),
    #[error(
        "the pointer has {0} bytes; at most {POINTER_BYTES_MAX} are allowed, so put the key nearer to the root of the event"
    )]
    PointerTooLong(usize),
    #[error("the name of the header has {0} bytes; at most {HEADER_BYTES_MAX} are allowed, so take a shorter one")]
    HeaderTooLong(usize),
}

impl FromStr for Dedupe {
    type Err = InvalidDedupe;

    fn from_str(text: &str) -> Result<Self, InvalidDedupe> {
        match text.strip_prefix("header:") {
            Some(name) if name.len() > HEADER_BYTES_MAX => Err(InvalidDedupe::HeaderTooLong(name.len())),
            Some(name) if is_header_name(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            None if text.len() > POINTER_BYTES_MAX => Err(InvalidDedupe::PointerTooLong(text.len())),
            None if !text.is_empty() && is_pointer(text) => Ok(Self::Pointer(text.to_owned())),
            _ => Err(InvalidDedupe::NoPlace(text.to_owned())),
        }
    }
}

/// Whether the text is made of the characters of RFC 9110's token.
pub(super) fn is_header_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_data_or_in_a_header() {
        assert_eq!("/order/id".parse(), Ok(Dedupe::Pointer("/order/id".to_owned())));
        assert_eq!("header:X-GitHub-Delivery".parse(), Ok(Dedupe::Header("x-github-delivery".to_owned())));
        for text in ["", "id", "/a~2", "header:", "header:a b", "header:ä", "headers:a", "event#/id"] {
            assert_eq!(text.parse::<Dedupe>(), Err(InvalidDedupe::NoPlace(text.to_owned())), "{text}");
        }
    }
    #[test]
    fn the_place_of_a_key_is_short() {
        let (pointer, header) = ("/".repeat(POINTER_BYTES_MAX), format!("header:{}", "h".repeat(HEADER_BYTES_MAX)));
        assert!(pointer.parse::<Dedupe>().is_ok() && header.parse::<Dedupe>().is_ok());
        let refused = |text: String| text.parse::<Dedupe>().expect_err("one byte too long").to_string();
        assert!(refused(pointer + "/").starts_with("the pointer has 257 bytes; at most 256"));
        assert!(refused(header + "h").starts_with("the name of the header has 129 bytes; at most 128"));
    }
}
