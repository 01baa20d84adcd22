//! Times as services write them (RFC 3339), and Unix seconds.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The time of day, in Unix seconds.
pub fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

/// The Unix seconds of a time such as `2026-05-01T12:00:00Z` or `2026-05-01T14:00:00.250+02:00`, rounded down; none if the text
/// is no such time.
pub fn seconds(text: &str) -> Option<i64> {
    text.parse::<Timestamp>()
        .ok()
        .map(|time| time.as_nanosecond().div_euclid(1_000_000_000))
        .and_then(|s| s.try_into().ok())
}

/// A time to the second in UTC, such as `2026-05-01T12:00:00Z`. What lies beyond the years that can be written is the last or
/// the first of them.
pub fn rfc3339(seconds: i64) -> String {
    let limits = Timestamp::MIN.as_second()..=Timestamp::MAX.as_second();
    let time = Timestamp::from_second(seconds.clamp(*limits.start(), *limits.end()));
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

/// The same time in UTC to the second, so that texts of several services can be compared as texts.
pub fn normal(text: &str) -> Option<String> {
    seconds(text).map(rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_any_offset_are_one_time() {
        for (text, expected) in [
            ("2026-05-01T12:00:00Z", "2026-05-01T12:00:00Z"),
            ("2026-05-01T14:00:00.250+02:00", "2026-05-01T12:00:00Z"),
            ("2026-05-01T12:00:00.999Z", "2026-05-01T12:00:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(seconds("2001-09-09T01:46:40Z"), Some(1_000_000_000));
        for text in ["", "yesterday", "2026-05-01", "2026-05-01T12:00:00", "2026-13-01T12:00:00Z"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_its_end() {
        assert!(rfc3339(i64::MAX).starts_with("9999-12-"), "{}", rfc3339(i64::MAX));
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}
