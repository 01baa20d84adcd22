//! Signatures and times as headers write them. Whatever bytes come in, the answer is a value or none.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::Encoding;

/// Digits of a Unix time in seconds: enough until the year 33658.
const TIME_DIGITS_MAX: usize = 12;
/// With or without `=` at the end: senders differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Seconds since 1970, in digits and nothing else: the same time must not be written in two ways.
pub(super) fn unix_seconds(text: &str) -> Option<i64> {
    let is_plain = !text.is_empty() && text.len() <= TIME_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

pub(super) fn decode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => hex(text),
        Encoding::Base64 => base64(text),
    }
}

pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Upper or lower case.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let decoded = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<_>>()?;
    rest.is_empty().then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_digits_alone() {
        assert_eq!(unix_seconds("1614265330"), Some(1_614_265_330));
        assert_eq!(unix_seconds("0"), Some(0));
        for text in ["", "-1", "+1", " 1", "1 ", "1.5", "1e3", "0x10", "1234567890123", "١"] {
            assert_eq!(unix_seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn bytes_are_read_as_they_are_written() {
        assert_eq!(decode(Encoding::Hex, "00fFA0"), Some(vec![0, 255, 160]));
        for text in ["0", "0g", "é", "00 "] {
            assert_eq!(decode(Encoding::Hex, text), None, "{text:?}");
        }
        for text in ["AP+g", "+/8", "+/8="] {
            assert!(decode(Encoding::Base64, text).is_some(), "{text:?}");
        }
        for text in ["AP-g", "A", "====", "AP+g\n"] {
            assert_eq!(decode(Encoding::Base64, text), None, "{text:?}");
        }
    }
}
