//! Sizes and times as people write them.

use std::{fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;
use trellis_model::call_limits::{CallLimit, Unit};

/// A number of bytes, written like `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Powers of 1,024 and of 1,000. A bare `K` or `M` is refused: half of all people mean the one, half the other.
const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

impl ByteSize {
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// As a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Text that is no size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a size in bytes: write a whole number and B, KiB, MiB, GiB or TiB")]
pub struct InvalidByteSize;

impl FromStr for ByteSize {
    type Err = InvalidByteSize;

    fn from_str(text: &str) -> Result<Self, InvalidByteSize> {
        let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let count: u64 = digits.replace('_', "").parse().map_err(|_| InvalidByteSize)?;
        let unit = unit.trim();
        let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(InvalidByteSize)?;
        count.checked_mul(*factor).map(Self).ok_or(InvalidByteSize)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (name, factor) = UNITS[..4].iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

/// `500ms`, `30s`, `1m 30s`. None for anything else, bare numbers and negative times among it.
pub fn parse_duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok()?.try_into().ok()
}

/// What [`parse_duration`] reads.
pub fn show_duration(duration: Duration) -> String {
    match SignedDuration::try_from(duration) {
        Ok(signed) => format!("{signed:#}"),
        Err(_) => format!("{}s", duration.as_secs()),
    }
}

/// A value of a limit of calls, as a person writes it.
pub fn show_limit(limit: &CallLimit, value: u64) -> String {
    match limit.unit {
        Unit::Bytes => ByteSize(value).to_string(),
        Unit::Milliseconds => show_duration(Duration::from_millis(value)),
        Unit::Count => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_any_unit_and_written_with_the_largest() {
        let cases = [
            ("64MiB", 64 << 20, "64MiB"),
            ("64 mib", 64 << 20, "64MiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("1_000", 1000, "1000B"),
            ("2MB", 2_000_000, "2000000B"),
            ("1536B", 1536, "1536B"),
            ("3TiB", 3 << 40, "3TiB"),
            ("0", 0, "0B"),
        ];
        for (text, bytes, shown) in cases {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
            assert_eq!(shown.parse(), Ok(size));
        }
        for text in ["", "MiB", "64M", "1.5MiB", "-1", "64 MiX", "99999999TiB", "1 2"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        let cases =
            [("500ms", 500), ("30s", 30_000), ("1m 30s", 90_000), ("5m", 300_000), ("2h", 7_200_000), ("0s", 0)];
        for (text, ms) in cases {
            let duration = parse_duration(text).expect(text);
            assert_eq!(duration, Duration::from_millis(ms));
            assert_eq!(show_duration(duration), text);
        }
        for text in ["", "30", "-5s", "5 parsecs", "s"] {
            assert!(parse_duration(text).is_none(), "{text:?}");
        }
    }
}
