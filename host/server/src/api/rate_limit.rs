//! The limiter as senders of events see it: 429 before anything is stored, and on every answer the fields of
//! draft-ietf-httpapi-ratelimit-headers, `RateLimit-Policy` and `RateLimit`.
//!
//! What is counted are module instantiations, not events: an event takes as many as its grid has nodes that are called.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderName, HeaderValue};
use trellis_model::{AccountId, window::WindowLimit};
use trellis_operator::limiter::{Standing, WindowStanding};

use super::{Api, Problem, problem::round_up};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Where the account stands, as far as this host knows at once.
pub async fn standing(api: &Api, account: AccountId) -> Result<Standing, Problem> {
    Ok(api.host.limiter.standing(account).await?)
}

/// Whether an event of the account is let in.
pub fn admitted(standing: &Standing) -> Result<(), Problem> {
    if standing.wait.is_zero() { Ok(()) } else { Err(Problem::rate_limited(standing.wait)) }
}

/// Tells on an answer where the account stood when its event came.
pub fn announce(standing: &Standing, mut response: Response) -> Response {
    for (name, value) in [(POLICY, Some(policy(standing))), (LIMIT, limit(standing))] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The quota and the window in seconds, rounded up.
fn policy(standing: &Standing) -> String {
    let one = |name: &str, limit: WindowLimit| {
        let window = Duration::from_millis(limit.period_ms.max(1).cast_unsigned());
        format!("\"{name}\";q={};w={}", limit.max, round_up(window))
    };
    format!("{}, {}", one("burst", standing.limits.burst), one("long", standing.limits.long))
}

/// What is left, and the seconds until there is more. Of an account that another host counts for, no more is known than
/// until when it is throttled.
fn limit(standing: &Standing) -> Option<String> {
    let one = |name: &str, left: u32, time: Duration| format!("\"{name}\";r={left};t={}", round_up(time));
    let Some((burst, long)) = standing.windows else {
        let burst_period = Duration::from_millis(standing.limits.burst.period_ms.max(0).cast_unsigned());
        let full = if standing.wait > burst_period { "long" } else { "burst" };
        return (!standing.wait.is_zero()).then(|| one(full, 0, standing.wait));
    };
    let more_in = |window: &WindowStanding| if window.left == 0 { window.wait } else { window.turns_in };
    Some(format!("{}, {}", one("burst", burst.left, more_in(&burst)), one("long", long.left, more_in(&long))))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use trellis_model::window::AccountLimits;

    use super::*;

    fn window(left: u32, wait_ms: u64, turns_in_ms: u64) -> WindowStanding {
        WindowStanding {
            used: 0,
            left,
            wait: Duration::from_millis(wait_ms),
            turns_in: Duration::from_millis(turns_in_ms),
        }
    }

    #[test]
    fn the_fields_are_structured_and_seconds_are_rounded_up() {
        let limits = AccountLimits { burst: WindowLimit { max: 100, period_ms: 1_500 }, ..AccountLimits::default() };
        let cases = [
            (
                Some((window(50, 0, 29_001), window(7, 0, 3_600_000))),
                0,
                Some("\"burst\";r=50;t=30, \"long\";r=7;t=3600"),
            ),
            (
                Some((window(0, 61_000, 1_000), window(7, 0, 5_000))),
                61_000,
                Some("\"burst\";r=0;t=61, \"long\";r=7;t=5"),
            ),
            (None, 0, None),
            (None, 1_200, Some("\"burst\";r=0;t=2")),
            (None, 90_000, Some("\"long\";r=0;t=90")),
        ];
        for (windows, wait_ms, expected) in cases {
            let standing = Standing { limits, wait: Duration::from_millis(wait_ms), windows };
            let response = announce(&standing, ().into_response());
            let field = |name: &HeaderName| response.headers().get(name).map(|value| value.to_str().expect("ASCII"));
            assert_eq!(field(&POLICY), Some("\"burst\";q=100;w=2, \"long\";q=1000000;w=86400"));
            assert_eq!(field(&LIMIT), expected);
        }
    }
}
