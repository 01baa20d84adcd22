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

/// Text that says of no key where it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place of a key; write a JSON Pointer into the event such as \"/id\", or \"header:NAME\"")]
pub struct InvalidDedupe(String);

impl FromStr for Dedupe {
    type Err = InvalidDedupe;

    fn from_str(text: &str) -> Result<Self, InvalidDedupe> {
        let invalid = || InvalidDedupe(text.to_owned());
        if let Some(name) = text.strip_prefix("header:") {
            // The characters of RFC 9110's token.
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_name = !name.is_empty() && name.bytes().all(is_plain);
            return if is_name { Ok(Self::Header(name.to_ascii_lowercase())) } else { Err(invalid()) };
        }
        if text.is_empty() || !is_pointer(text) { Err(invalid()) } else { Ok(Self::Pointer(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_data_or_in_a_header() {
        assert_eq!("/order/id".parse(), Ok(Dedupe::Pointer("/order/id".to_owned())));
        assert_eq!("header:X-GitHub-Delivery".parse(), Ok(Dedupe::Header("x-github-delivery".to_owned())));
        for text in ["", "id", "/a~2", "header:", "header:a b", "header:ä", "headers:a", "event#/id"] {
            assert_eq!(text.parse::<Dedupe>(), Err(InvalidDedupe(text.to_owned())), "{text}");
        }
    }
}
