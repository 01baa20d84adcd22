//! What a target's answer says about the next request: `Retry-After`, and the headers that count what is left.
//!
//! Understood are `Retry-After` (RFC 9110, 10.2.3), `RateLimit` as in draft-ietf-httpapi-ratelimit-headers, and the older
//! pairs `RateLimit-Remaining`/`-Reset` and `X-RateLimit-Remaining`/`-Reset`.

use jiff::{Timestamp, fmt::rfc2822};

pub const TOO_MANY_REQUESTS: u16 = 429;
const UNAVAILABLE: u16 = 503;

/// A reset beyond this is a Unix time and no number of seconds.
const SECONDS_MAX: i64 = 1_000_000_000;

/// For how long an answer asks for silence, in milliseconds; none when it does not. `header` gives the first value of a
/// header by its name in lower case. `now_ms` is Unix time; a date is measured against the answer's own `Date` where it
/// has one, so that no clock has to be right.
pub fn silence_ms<'h>(status: u16, header: impl Fn(&str) -> Option<&'h str>, now_ms: i64) -> Option<i64> {
    // Elsewhere `Retry-After` speaks of something else: when a redirect may be followed, say.
    let asked = matches!(status, TOO_MANY_REQUESTS | UNAVAILABLE).then(|| retry_after_ms(&header, now_ms)).flatten();
    asked.or_else(|| used_up_ms(&header, now_ms))
}

fn retry_after_ms<'h>(header: &impl Fn(&str) -> Option<&'h str>, now_ms: i64) -> Option<i64> {
    let value = header("retry-after")?.trim();
    if let Some(seconds) = whole(value) {
        return seconds.checked_mul(1_000);
    }
    let until_ms = date_ms(value)?;
    let sent_ms = header("date").and_then(|date| date_ms(date.trim())).unwrap_or(now_ms);
    Some((until_ms - sent_ms).max(0))
}

/// The time to a reset, if nothing is left until then.
fn used_up_ms<'h>(header: &impl Fn(&str) -> Option<&'h str>, now_ms: i64) -> Option<i64> {
    if let Some(value) = header("ratelimit") {
        return value.split(',').filter_map(used_up_policy_ms).max();
    }
    [("ratelimit-remaining", "ratelimit-reset"), ("x-ratelimit-remaining", "x-ratelimit-reset")].into_iter().find_map(
        |(remaining, reset)| {
            let is_used_up = whole(header(remaining)?.trim())? == 0;
            let reset = whole(header(reset)?.trim())?;
            let wait_ms =
                if reset > SECONDS_MAX { reset.checked_mul(1_000)? - now_ms } else { reset.checked_mul(1_000)? };
            (is_used_up && wait_ms > 0).then_some(wait_ms)
        },
    )
}

/// One member of `RateLimit`, such as `"burst";r=0;t=30`: an item of a structured field with parameters.
fn used_up_policy_ms(policy: &str) -> Option<i64> {
    let parameter = |name: &str| {
        policy.split(';').skip(1).find_map(|text| {
            let (known, value) = text.trim().split_once('=')?;
            (known == name).then(|| whole(value)).flatten()
        })
    };
    (parameter("r")? == 0).then(|| parameter("t")?.checked_mul(1_000)).flatten().filter(|wait_ms| *wait_ms > 0)
}

/// Digits alone: no sign, no fraction.
fn whole(text: &str) -> Option<i64> {
    let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| text.parse().ok()).flatten()
}

/// An IMF-fixdate, as HTTP writes dates: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date_ms(text: &str) -> Option<i64> {
    let zoned = rfc2822::DateTimeParser::new().parse_zoned(text).ok()?;
    Some(Timestamp::from(zoned).as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW_MS: i64 = 784_111_777_000;

    fn check(status: u16, headers: &[(&str, &str)], expected: Option<i64>) {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        assert_eq!(silence_ms(status, header, NOW_MS), expected, "{status} {headers:?}");
    }

    #[test]
    fn an_answer_that_asks_for_silence_is_understood() {
        check(429, &[("retry-after", " 2 ")], Some(2_000));
        check(503, &[("retry-after", "120")], Some(120_000));
        check(429, &[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(30_000));
        let date = ("date", "Sun, 06 Nov 1994 08:50:00 GMT");
        check(429, &[date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(7_000));
        check(429, &[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(0));
        check(200, &[("ratelimit", r#""burst";r=0;t=30, "day";r=900;t=4000"#)], Some(30_000));
        check(200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "5")], Some(5_000));
        check(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")], Some(1_000));
    }

    #[test]
    fn a_reset_may_be_a_unix_time() {
        let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000060")];
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        assert_eq!(silence_ms(403, header, 1_800_000_000_000), Some(60_000));
        assert_eq!(silence_ms(403, header, 1_800_000_060_000), None, "that was then");
    }

    #[test]
    fn anything_else_says_nothing() {
        check(429, &[], None);
        check(200, &[("retry-after", "5")], None);
        check(301, &[("retry-after", "5")], None);
        for value in ["", "soon", "-3", "1.5", "99999999999999999999999"] {
            check(429, &[("retry-after", value)], None);
        }
        check(200, &[("ratelimit", r#""burst";r=1;t=30"#)], None);
        check(200, &[("ratelimit", "nonsense;;=,")], None);
        check(200, &[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "60")], None);
        check(200, &[("x-ratelimit-remaining", "0")], None);
    }
}
