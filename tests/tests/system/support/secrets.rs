//! What must never be seen: the secrets that tests know of, and whether a text has one of them in it, in any spelling that
//! logs and dumps give to text.
//!
//! A test that makes a secret registers it ([`register`]); whoever looks through a log or a dump looks for all of them.
//! Tokens in their own spelling need not be registered: they are known by their checksum.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{Mutex, MutexGuard},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use trellis_model::token::TokenText;

/// Shorter ones would be found by chance.
const BYTES_MIN: usize = 8;
const TOKEN_BYTES: usize = 41;

fn known() -> MutexGuard<'static, BTreeSet<String>> {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    KNOWN.lock().expect("nobody panics while holding it")
}

/// From now on nobody may see this text: the credentials, keys and tokens that a test makes.
pub fn register(secret: &str) {
    assert!(secret.len() >= BYTES_MIN, "too short to be told from other text");
    known().insert(secret.to_owned());
}

/// All that are registered.
pub fn registered() -> Vec<String> {
    known().iter().cloned().collect()
}

/// The spellings of a secret, each with its name.
pub fn spellings(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let hex = |with_percent: bool, is_upper: bool| {
        let mut text = String::new();
        for byte in bytes {
            let sign = if with_percent { "%" } else { "" };
            let written = if is_upper { write!(text, "{sign}{byte:02X}") } else { write!(text, "{sign}{byte:02x}") };
            written.expect("strings take any text");
        }
        text
    };
    let mut found = vec![
        ("raw", secret.to_owned()),
        ("hex", hex(false, false)),
        ("HEX", hex(false, true)),
        ("percent", hex(true, false)),
        ("PERCENT", hex(true, true)),
        ("URL", url_encoded(bytes)),
        ("JSON", serde_json::Value::from(secret).to_string().trim_matches('"').to_owned()),
    ];
    for alignment in 0..3 {
        found.push(("base64", base64_within(&STANDARD_NO_PAD, bytes, alignment)));
        found.push(("base64url", base64_within(&URL_SAFE_NO_PAD, bytes, alignment)));
    }
    found
}

fn url_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("strings take any text");
        }
    }
    text
}

/// What base64 makes of it in the middle of other text: behind so many bytes of a group of three. The digits at both ends
/// depend on the neighbours, and are left out.
fn base64_within(engine: &impl base64::Engine, bytes: &[u8], alignment: usize) -> String {
    let padded = [&[0; 2][..alignment], bytes].concat();
    let text = engine.encode(&padded);
    let (begin, end) = ((alignment * 8).div_ceil(6), padded.len() * 8 / 6);
    text[begin..end].to_owned()
}

/// The first of these secrets that is in the text: how it is spelled, and its beginning, which is enough to find it again.
pub fn first_in(text: &str, secrets: &[String]) -> Option<String> {
    secrets.iter().find_map(|secret| {
        let (spelling, _) = spellings(secret).into_iter().find(|(_, spelled)| text.contains(spelled.as_str()))?;
        Some(format!("`{}…` as {spelling}", secret.chars().take(7).collect::<String>()))
    })
}

/// Whether a text has a token in it, whoever made it.
pub fn has_token(text: &str) -> bool {
    let begins = text.match_indices("trl_").map(|(at, _)| at);
    begins.into_iter().any(|at| text.get(at..at + TOKEN_BYTES).is_some_and(|text| text.parse::<TokenText>().is_ok()))
}

#[test]
fn a_secret_is_found_in_every_spelling_and_at_every_place() {
    let secret = "pass/word+with~signs".to_owned();
    for before in ["", "x", "xy", "xyz"] {
        let text = format!("{before}{secret}-and-more");
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            assert!(first_in(&engine.encode(&text), std::slice::from_ref(&secret)).is_some(), "{before}");
        }
    }
    for (spelling, text) in spellings(&secret) {
        assert!(first_in(&format!("…{text}…"), std::slice::from_ref(&secret)).is_some(), "{spelling}");
    }
    assert!(first_in("pass/word+with~other", &[secret]).is_none());
}
