//! The forms in which a secret shows up: as it is, and as usual encodings write it.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use trellis_model::credential::{SECRET_BYTES_MIN, Secret};
use zeroize::Zeroizing;

/// What JavaScript's `encodeURIComponent` and most others leave as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
/// What only RFC 3986 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text that would give a secret away. Wiped when it is dropped.
pub(super) type Form = Zeroizing<Vec<u8>>;

/// All forms of a secret, each once.
pub(super) fn of(secret: &Secret) -> Vec<Form> {
    let text = secret.reveal();
    let mut forms = of_bytes(text.as_bytes());
    // Of a key in several lines, each line: a log has them one by one.
    for line in text.lines().map(str::trim).filter(|line| line.len() >= SECRET_BYTES_MIN && line.len() < text.len()) {
        forms.push(Zeroizing::new(line.as_bytes().to_vec()));
    }
    forms.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
    forms.dedup_by(|one, other| one.as_slice() == other.as_slice());
    forms
}

fn of_bytes(secret: &[u8]) -> Vec<Form> {
    let mut forms: Vec<Form> = vec![Zeroizing::new(secret.to_vec())];
    let mut add = |form: String| forms.push(Zeroizing::new(form.into_bytes()));
    // As JSON writes it, without the quotes around it.
    let json = Zeroizing::new(serde_json::Value::from(&*String::from_utf8_lossy(secret)).to_string());
    add(json[1..json.len() - 1].to_owned());
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let every: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    for text in [
        hex,
        every,
        percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        percent_encode(secret, COMPONENT).to_string(),
        percent_encode(secret, UNRESERVED).to_string(),
        // As forms write it.
        percent_encode(secret, UNRESERVED).to_string().replace("%20", "+"),
    ] {
        add(with_escapes(&text, u8::to_ascii_uppercase));
        add(with_escapes(&text, u8::to_ascii_lowercase));
        add(text);
    }
    let upper: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    add(upper);
    for engine in [STANDARD, URL_SAFE] {
        add(engine.encode(secret));
        for offset in 0..3 {
            add(inner_base64(&engine, secret, offset));
        }
    }
    forms
}

/// The same text with its percent escapes, and nothing else, in the other case.
fn with_escapes(text: &str, case: fn(&u8) -> u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while let Some(escape) = bytes[at..].iter().position(|byte| *byte == b'%').map(|found| at + found) {
        let end = (escape + 3).min(bytes.len());
        for byte in &mut bytes[escape + 1..end] {
            *byte = case(byte);
        }
        at = end;
    }
    String::from_utf8(bytes).expect("only ASCII letters have changed")
}

/// The digits of base64 that a secret alone decides when it stands `offset` bytes behind a multiple of three: what is before
/// and behind it has a share in the others.
fn inner_base64(engine: &impl base64::Engine, secret: &[u8], offset: usize) -> String {
    let mut bytes = Zeroizing::new(vec![0; offset]);
    bytes.extend_from_slice(secret);
    let encoded = engine.encode(bytes.as_slice());
    let (first, last) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
    encoded[first..last].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(secret: &str) -> Vec<String> {
        let forms = of(&Secret::from(secret.to_owned()));
        forms.iter().map(|form| String::from_utf8(form.to_vec()).expect("text")).collect()
    }

    #[test]
    fn a_secret_is_known_in_every_usual_spelling() {
        let forms = forms("pa:ss w\"rd/ü");
        for expected in [
            "pa:ss w\"rd/ü",
            "pa:ss w\\\"rd/ü",
            "70613a7373207722",
            "70613A7373207722",
            "pa%3Ass%20w%22rd%2F%C3%BC",
            "pa%3ass%20w%22rd%2f%c3%bc",
            "pa%3Ass+w%22rd%2F%C3%BC",
            "%70%61%3A%73%73%20",
            "cGE6c3Mgdy",
        ] {
            assert!(forms.iter().any(|form| form.starts_with(expected)), "{expected}: {forms:#?}");
        }
    }

    #[test]
    fn base64_is_known_wherever_the_secret_stands_in_it() {
        let forms = forms("correct horse");
        for before in ["", "u", "us", "user:", "user::"] {
            for behind in ["", ":", "::", ":::"] {
                let text = STANDARD.encode(format!("{before}correct horse{behind}"));
                assert!(forms.iter().any(|form| text.contains(form.as_str())), "{before}|{behind}: {text}");
            }
        }
    }

    #[test]
    fn the_lines_of_a_key_are_known_one_by_one() {
        let forms = forms("-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\n-----END KEY-----\n");
        assert!(forms.iter().any(|form| form == "MIIEvQIBADANBg"));
        assert!(!forms.iter().any(|form| form == "short"));
    }
}
