//! Pages of lists: a bounded number of items and a cursor to the next.

use schemars::JsonSchema;
use serde::Serialize;

use super::Problem;

const LIMIT_DEFAULT: i64 = 50;
/// Items of a page at most.
pub const LIMIT_MAX: i64 = 500;

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass as the query parameter that the list names; absent: this was the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of at most `limit` items; `items` has one more if there is a next page.
    pub fn new(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_next = items.len() > limit;
        items.truncate(limit);
        let next = if has_next { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

/// The `limit` of a query.
pub fn limit(asked: Option<i64>) -> Result<i64, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(limit) => {
            Err(Problem::bad_request(format!("limit={limit} is out of range; from 1 to {LIMIT_MAX} is allowed")))
        }
    }
}

/// Unix milliseconds as RFC 3339.
pub fn time_ms(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |time| format!("{time:.3}"))
}

/// Unix seconds as RFC 3339.
pub fn time(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds).map_or_else(|_| unix_seconds.to_string(), |time| time.to_string())
}
