//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
//!
//! A date is measured against the answer's own `Date`, so that neither clock has to be right; without one it says nothing.

use std::time::Duration;

use super::Response;

pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.header("retry-after")?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let sent = httpdate::parse_http_date(response.header("date")?.trim()).ok()?;
    Some(until.duration_since(sent).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(headers: &[(&str, &str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        retry_after(&Response { status: 503, headers, body: Vec::new(), request: String::new() })
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        let date = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[("Retry-After", " 120 ")]), Some(Duration::from_secs(120)));
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_measured_says_nothing() {
        for value in ["", "soon", "-3", "1.5", "99999999999999999999999", "Sun, 06 Nov 1994 08:50:07 GMT"] {
            assert_eq!(wait(&[("retry-after", value)]), None, "{value:?}");
        }
    }
}
