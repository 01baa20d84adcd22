//! Secrets in JSON text, which may write any of their letters in several ways.

use super::{REDACTED, Redactor};

impl Redactor {
    /// JSON without secrets; none if there are none in it. What is no JSON is treated as far as it looks like some.
    pub fn json(&self, json: &str) -> Option<String> {
        // Without an escape a secret can only be there as it is.
        if self.is_empty() || !(json.contains('\\') || self.is_in(json)) {
            return None;
        }
        let (mut clean, mut changed) = (String::with_capacity(json.len()), false);
        let mut rest = json;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(piece_length(rest));
            let replaced = self.piece(piece);
            changed |= replaced.is_some();
            clean.push_str(replaced.as_deref().unwrap_or(piece));
            rest = behind;
        }
        changed.then_some(clean)
    }

    /// What stands in place of a string or a number that has a secret in it.
    fn piece(&self, piece: &str) -> Option<String> {
        match piece.as_bytes().first()? {
            b'"' => {
                let text: String = serde_json::from_str(piece).ok()?;
                let has_secret = self.is_in(&text) || self.is_in(piece);
                // Where only the spelling has one, as a secret with a backslash in it may, nothing of it can stay.
                let clean = || if self.is_in(&text) { self.text(&text).into_owned() } else { REDACTED.to_owned() };
                has_secret.then(|| serde_json::Value::String(clean()).to_string())
            }
            first if is_of_number(first) => self.is_in(piece).then(|| format!("\"{REDACTED}\"")),
            _ => None,
        }
    }
}

fn is_of_number(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

/// The length of the string, the number, or whatever is between two of them, that a text begins with. At least 1.
fn piece_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes {
        [b'"', inside @ ..] => string_length(inside) + 1,
        [first, ..] if is_of_number(first) => bytes.iter().position(|byte| !is_of_number(byte)).unwrap_or(bytes.len()),
        _ => bytes.iter().position(|byte| *byte == b'"' || is_of_number(byte)).unwrap_or(bytes.len()),
    }
}

/// Up to the closing quote, and with it.
fn string_length(inside: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = inside.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    inside.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::redactor;

    fn check(secret: &str, json: &str, expected: Option<&str>) {
        let clean = redactor(&[secret]).json(json);
        assert_eq!(clean.as_deref(), expected, "{json}");
        if let Some(clean) = clean {
            assert!(serde_json::from_str::<Value>(&clean).is_ok(), "{clean}");
        }
    }

    #[test]
    fn strings_keys_and_numbers_lose_their_secrets() {
        check("s3cret-text", r#"{"a":1.50,"b":["x"]}"#, None);
        check("s3cret-text", r#"{"a":1.50,"b":["x s3cret-text"]}"#, Some(r#"{"a":1.50,"b":["x [redacted]"]}"#));
        check("s3cret-text", r#"{"s3cret-text":null}"#, Some(r#"{"[redacted]":null}"#));
        check("12345678", r#"[12345678,123]"#, Some(r#"["[redacted]",123]"#));
        check("12345678", r#"-1234567890.5e3"#, Some(r#""[redacted]""#));
    }

    #[test]
    fn escapes_hide_nothing() {
        check("s3cret-text", r#""s3cret\u002dtext""#, Some(r#""[redacted]""#));
        check("s3cret/text", r#"["s3cret\/text","a\nb"]"#, Some(r#"["[redacted]","a\nb"]"#));
        check("s3cret\"text", r#""s3cret\"text""#, Some(r#""[redacted]""#));
        check("s3cret-text", r#""a\nb""#, None);
        check("line one\nline two", r#""line one\nline two""#, Some(r#""[redacted]""#));
    }

    #[test]
    fn text_that_is_no_json_is_survived() {
        for text in ["\"", "\"s3cret-text", "s3cret-text", "\"s3cret-text\\", "{\"s3cret-text\":", "ü\"s3cret-text\"ü"]
        {
            drop(redactor(&["s3cret-text"]).json(text));
        }
    }
}
