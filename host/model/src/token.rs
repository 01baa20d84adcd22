//! The shape of an access token and what it may be used for.
//!
//! `trl_` + kind letter + 30 random base62 digits (178 bits) + 6 base62 digits of CRC32. The checksum lets a mistyped or
//! truncated token be refused without asking the database, and secret scanners recognise real ones.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "trl_";
const RANDOM_DIGITS: usize = 30;
const CHECK_DIGITS: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many random bytes [`TokenText::from_random`] needs: three a digit make the digits uniform to within 1 in 270,000.
pub const RANDOM_BYTES: usize = RANDOM_DIGITS * 3;

/// What a token stands for; the letter behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    Operator,
    Account,
    Project,
}

impl TokenKind {
    fn letter(self) -> char {
        match self {
            Self::Operator => 'o',
            Self::Account => 'a',
            Self::Project => 'p',
        }
    }
}

/// What a token may do. Stored and shown as text, such as `events:write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    #[serde(rename = "events:write")]
    EventsWrite,
    #[serde(rename = "runs:read")]
    RunsRead,
    /// Cancel runs and replay them.
    #[serde(rename = "runs:write")]
    RunsWrite,
    #[serde(rename = "projects:write")]
    ProjectsWrite,
    #[serde(rename = "plugins:write")]
    PluginsWrite,
    #[serde(rename = "credentials:write")]
    CredentialsWrite,
    #[serde(rename = "tokens:write")]
    TokensWrite,
    /// Everything, in every account.
    #[serde(rename = "operator")]
    Operator,
}

impl Scope {
    pub const ALL: [Self; 8] = [
        Self::EventsWrite,
        Self::RunsRead,
        Self::RunsWrite,
        Self::ProjectsWrite,
        Self::PluginsWrite,
        Self::CredentialsWrite,
        Self::TokensWrite,
        Self::Operator,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::RunsRead => "runs:read",
            Self::RunsWrite => "runs:write",
            Self::ProjectsWrite => "projects:write",
            Self::PluginsWrite => "plugins:write",
            Self::CredentialsWrite => "credentials:write",
            Self::TokensWrite => "tokens:write",
            Self::Operator => "operator",
        }
    }

    /// What the owner of an account may do there.
    pub fn of_account() -> Vec<Self> {
        Self::ALL.into_iter().filter(|scope| *scope != Self::Operator).collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no scope.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no scope; the scopes are events:write, runs:read, runs:write, projects:write, plugins:write, credentials:write, tokens:write and operator"
)]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// The secret text of a token. Shown once, kept as its digest; never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

/// SHA-256 of a token's text: what is stored and looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

/// Text that cannot be a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token: mistyped, cut off, or of something else; a token begins with `trl_` and ends in a checksum")]
pub struct InvalidToken;

impl TokenText {
    /// Makes a token from fresh random bytes.
    pub fn from_random(kind: TokenKind, random: &[u8; RANDOM_BYTES]) -> Self {
        let mut text = format!("{PREFIX}{}", kind.letter());
        for chunk in random.chunks_exact(3) {
            let number = u32::from(chunk[0]) << 16 | u32::from(chunk[1]) << 8 | u32::from(chunk[2]);
            text.push(char::from(BASE62[number as usize % 62]));
        }
        let check = check_digits(&text);
        text.push_str(&check);
        Self(text)
    }

    /// The secret itself, for the one time it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0.as_bytes()).into())
    }
}

fn check_digits(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [0_u8; CHECK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

impl FromStr for TokenText {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let expected_length = PREFIX.len() + 1 + RANDOM_DIGITS + CHECK_DIGITS;
        if text.len() != expected_length || !text.is_ascii() || !text.starts_with(PREFIX) {
            return Err(InvalidToken);
        }
        let (body, check) = text.split_at(expected_length - CHECK_DIGITS);
        if check_digits(body) == check { Ok(Self(text.to_owned())) } else { Err(InvalidToken) }
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TokenText {
        let random: [u8; RANDOM_BYTES] = std::array::from_fn(|i| (i * 37) as u8);
        TokenText::from_random(TokenKind::Account, &random)
    }

    #[test]
    fn a_token_reads_back_and_its_debug_text_is_silent() {
        let token = sample();
        assert!(token.reveal().starts_with("trl_a"));
        assert_eq!(token.reveal().parse::<TokenText>().expect("own text"), token);
        assert!(!format!("{token:?}").contains(&token.reveal()[4..]));
    }

    #[test]
    fn one_wrong_character_is_noticed_without_a_lookup() {
        let text = sample().reveal().to_owned();
        for place in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[place] = if wrong[place] == b'x' { b'y' } else { b'x' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert_eq!(wrong.parse::<TokenText>(), Err(InvalidToken), "{wrong}");
        }
        assert_eq!(text[..text.len() - 1].parse::<TokenText>(), Err(InvalidToken));
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse::<Scope>().expect("own name"), scope);
            assert_eq!(serde_json::to_value(scope).expect("plain"), scope.name());
        }
    }
}
