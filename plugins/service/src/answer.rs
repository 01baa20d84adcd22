//! Whether an answer is welcome, and if not, whether waiting helps and for how long.
//!
//! Besides the statuses that the SDK knows, services say in their own headers that a limit is used up, some of them with the
//! status 403: GitHub and its kin have `X-RateLimit-Remaining` and `X-RateLimit-Reset`, GitLab `RateLimit-…`.

use std::time::{Duration, UNIX_EPOCH};

use trellis_sdk::{Error, Result, http::Response};

use crate::time;

/// The longest wait that is believed, so that a mistaken clock cannot put a run off for years. Longer than any window of the
/// services that are known here.
const WAIT_LONGEST: Duration = Duration::from_secs(86_400);

/// The wait where a limit is used up and nothing says for how long. What GitHub asks for its secondary limits.
const WAIT_UNTOLD: Duration = Duration::from_secs(60);

/// The answer itself if its status is 2xx.
///
/// # Errors
/// See [`unwelcome`].
pub fn welcome(response: Response) -> Result<Response> {
    if response.is_success() { Ok(response) } else { Err(unwelcome(&response)) }
}

/// The failure that an answer is: retryable for 408, 425, 429, 5xx and any answer that says that a limit is used up, after
/// as long as it says; permanent for everything else, redirects among them.
pub fn unwelcome(response: &Response) -> Error {
    let refusal = response.status_error();
    match wait_for_limit(response, time::now()) {
        Some(wait) => Error::retryable(refusal).after(wait),
        None if (300..400).contains(&response.status) => {
            Error::permanent(format_args!("{refusal}; redirects are not followed: use the address that it leads to"))
        }
        None => refusal.into(),
    }
}

/// How long to wait if the answer says that a limit is used up. `now`: Unix seconds, for answers without a `Date`.
pub fn wait_for_limit(response: &Response, now: i64) -> Option<Duration> {
    if !matches!(response.status, 403 | 429) {
        return None;
    }
    let told = response.status_error().retry_after().or_else(|| until_reset(response, now));
    let is_limit = response.status == 429 || told.is_some() || speaks_of_a_limit(response);
    is_limit.then(|| told.unwrap_or(WAIT_UNTOLD).min(WAIT_LONGEST))
}

/// The time until the window begins anew, if it is used up. Measured against the answer's own `Date`, so that this clock need
/// not be right.
fn until_reset(response: &Response, now: i64) -> Option<Duration> {
    let number =
        |names: [&str; 2]| names.into_iter().find_map(|name| response.header(name)?.trim().parse::<i64>().ok());
    if number(["x-ratelimit-remaining", "ratelimit-remaining"]) != Some(0) {
        return None;
    }
    let reset = number(["x-ratelimit-reset", "ratelimit-reset"])?;
    let sent = response.header("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    let sent = sent.and_then(|sent| i64::try_from(sent.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()).unwrap_or(now);
    // One more, because both are rounded down.
    Some(Duration::from_secs(u64::try_from(reset.saturating_sub(sent).saturating_add(1)).unwrap_or(0)))
}

/// GitHub's secondary limits come as a plain 403 at times.
fn speaks_of_a_limit(response: &Response) -> bool {
    response.text().is_ok_and(|text| text.to_ascii_lowercase().contains("rate limit"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_sdk::{ErrorKind, fake, http};

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const DATE_S: i64 = 784_111_777;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
        fake::reset();
        let answer = headers.iter().fold(fake::answer(status), |answer, (name, value)| answer.header(*name, *value));
        fake::http("GET", "https://api.example.com/").reply(answer.body(body));
        http::get("https://api.example.com/").send().expect("an answer")
    }

    #[test]
    fn statuses_have_their_classes() {
        for (status, kind) in [
            (301, ErrorKind::Permanent),
            (400, ErrorKind::Permanent),
            (403, ErrorKind::Permanent),
            (404, ErrorKind::Permanent),
            (408, ErrorKind::Retryable),
            (422, ErrorKind::Permanent),
            (429, ErrorKind::Retryable),
            (500, ErrorKind::Retryable),
            (502, ErrorKind::Retryable),
        ] {
            assert_eq!(welcome(answer(status, &[], "")).expect_err("unwelcome").kind(), kind, "{status}");
        }
        assert!(welcome(answer(204, &[], "")).is_ok());
    }

    #[test]
    fn a_used_up_limit_is_waited_for_as_long_as_the_answer_says() {
        let reset = (DATE_S + 90).to_string();
        let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset.as_str()), ("date", DATE)];
        let dateless = &used_up[..2];
        let gitlab = [("RateLimit-Remaining", "0"), ("RateLimit-Reset", reset.as_str()), ("Date", DATE)];
        let left = [("x-ratelimit-remaining", "41"), ("x-ratelimit-reset", reset.as_str()), ("date", DATE)];
        let secondary = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        for (status, headers, body, wait) in [
            (403, &used_up[..], "", Some(91)),
            (429, &used_up[..], "", Some(91)),
            (403, dateless, "", Some(81)),
            (429, &gitlab[..], "", Some(91)),
            (403, &left[..], "no access", None),
            (403, &[("retry-after", "7")][..], "", Some(7)),
            (403, &[][..], secondary, Some(60)),
            (429, &[][..], "", Some(60)),
            (403, &[][..], "no access", None),
            (500, &used_up[..], "", None),
        ] {
            let found = wait_for_limit(&answer(status, headers, body), DATE_S + 10);
            assert_eq!(found, wait.map(Duration::from_secs), "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn a_wait_for_years_is_not_believed() {
        let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999"), ("date", DATE)];
        assert_eq!(unwelcome(&answer(403, &headers, "")).retry_after(), Some(WAIT_LONGEST));
        let past = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1"), ("date", DATE)];
        assert_eq!(unwelcome(&answer(403, &past, "")).retry_after(), Some(Duration::ZERO));
    }
}
