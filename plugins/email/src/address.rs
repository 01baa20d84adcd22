//! Addresses of mails: `ada@example.com`, or with a name, `Ada Lovelace <ada@example.com>`.
//!
//! Checks what could break a header or be taken for two addresses. Whether an address exists is the provider's to find out.

use std::fmt;

/// Longest address, in bytes (RFC 5321).
const BYTES_MAX: usize = 254;

/// An address with a name, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) name: Option<String>,
    pub(crate) email: String,
}

/// Text that is no address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoAddress(String);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no address; write it like `ada@example.com` or `Ada <ada@example.com>`",
            self.0.escape_debug()
        )
    }
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, NoAddress> {
        let refused = || NoAddress(text.chars().take(BYTES_MAX).collect());
        let (name, email) = match text.trim().strip_suffix('>').and_then(|text| text.split_once('<')) {
            Some((name, email)) => (Some(name.trim().trim_matches('"')), email),
            None => (None, text.trim()),
        };
        let (local, domain) = email.rsplit_once('@').ok_or_else(refused)?;
        let is_plain =
            |letter: char| !letter.is_whitespace() && !letter.is_control() && !"<>,;:\"()[]\\".contains(letter);
        let is_address =
            !local.is_empty() && !domain.is_empty() && email.len() <= BYTES_MAX && email.chars().all(is_plain);
        let name_is_plain = |name: &str| !name.chars().any(|letter| letter.is_control() || "<>\"".contains(letter));
        if !is_address || !name.is_none_or(name_is_plain) || local.contains('@') {
            return Err(refused());
        }
        Ok(Self { name: name.filter(|name| !name.is_empty()).map(str::to_owned), email: email.to_owned() })
    }

    pub(crate) fn domain(&self) -> &str {
        self.email.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// As it is written in a header.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "\"{}\" <{}>", name.replace('\\', "\\\\"), self.email),
            None => f.write_str(&self.email),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("ada@example.com", "ada@example.com"),
            (" ada@example.com ", "ada@example.com"),
            ("<ada@example.com>", "ada@example.com"),
            ("Lovelace, Ada <ada@example.com>", "\"Lovelace, Ada\" <ada@example.com>"),
            ("\"Ada\" <ada+x@example.com>", "\"Ada\" <ada+x@example.com>"),
        ] {
            assert_eq!(Address::parse(text).expect("an address").to_string(), written);
        }
    }

    #[test]
    fn what_could_be_more_than_one_address_is_refused() {
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a@example.com, b@example.com",
            "a@b@example.com",
            "a@example.com\r\nbcc: b@example.com",
            "Ada\r\nBcc: x <a@example.com>",
            "Ada <a@example.com> <b@example.com>",
            "a b@example.com",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }
}
