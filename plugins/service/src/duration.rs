//! Durations in configs, written as in manifests: `"90s"`, `"15m"`, `"24h"`, `"30d"`.

use std::{fmt, str::FromStr, time::Duration};

use trellis_sdk::data;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A duration in a config.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9]+ ?(ms|s|m|h|d)$"))]
pub struct Span(pub Duration);

/// Text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration; write a number and a unit: ms, s, m, h or d, such as \"24h\"")]
pub struct InvalidDuration(String);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Whole seconds, rounded down.
    pub fn as_seconds(self) -> i64 {
        i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX)
    }
}

impl FromStr for Span {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let parse = || {
            let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
            let number: u64 = text[..digits].parse().ok()?;
            let unit = text[digits..].strip_prefix(' ').unwrap_or(&text[digits..]);
            let (_, milliseconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
            Some(Self(Duration::from_millis(number.checked_mul(*milliseconds)?)))
        };
        parse().ok_or_else(|| InvalidDuration(text.to_owned()))
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidDuration;

    fn try_from(text: String) -> Result<Self, InvalidDuration> {
        text.parse()
    }
}

/// In the largest unit that tells it exactly.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let exact =
            UNITS.iter().rev().find(|(_, unit)| milliseconds > 0 && milliseconds.is_multiple_of(u128::from(*unit)));
        let (name, unit) = exact.unwrap_or(&UNITS[1]);
        write!(f, "{}{name}", milliseconds / u128::from(*unit))
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, milliseconds, written) in [
            ("250ms", 250, "250ms"),
            ("90s", 90_000, "90s"),
            ("60 s", 60_000, "1m"),
            ("24h", 86_400_000, "1d"),
            ("36h", 129_600_000, "36h"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().expect("a duration");
            assert_eq!(span.0, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(span.to_string(), written);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "10", "h", "1.5h", "-1s", "1w", "1  s", "99999999999999999999d", "300000000000000d"] {
            let error = text.parse::<Span>().expect_err("no duration");
            assert!(error.to_string().starts_with(&format!("`{text}` is no duration")), "{error}");
        }
    }
}
