//! Where a request that changes many runs goes on, page by page.
//!
//! Knows nothing of what is done with them.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use trellis_model::RunId;

/// Behind the last run that was looked at, and only up to where the first request has looked. What such requests themselves
/// bring about, or events that come all the while, are not found by the requests that follow, or they would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub after: RunId,
    pub before: RunId,
}

impl Cursor {
    /// Of a first request: what is accepted from now on is none of what was asked for.
    pub fn first(now_ms: i64) -> Self {
        Self { after: RunId(0), before: RunId::first_at(now_ms.saturating_add(1)) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.after, self.before)
    }
}

impl JsonSchema for Cursor {
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let run = "run_[0-7][0-9a-hjkmnp-tv-z]{12}";
        json_schema!({ "type": "string", "pattern": format!("^{run}-{run}$") })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = || {
            let (after, before) = text.split_once('-')?;
            Some(Self { after: after.parse().ok()?, before: before.parse().ok()? })
        };
        parse().ok_or_else(|| de::Error::custom("`after` is not the `next` of an answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for cursor in [Cursor { after: RunId(7), before: RunId(i64::MAX) }, Cursor::first(1_800_000_000_000)] {
            let text = serde_json::to_string(&cursor).expect("serializes");
            assert_eq!(serde_json::from_str::<Cursor>(&text).expect("reads back"), cursor);
        }
        for text in ["\"\"", "\"run_0000000000007\"", "\"run_0000000000007-\"", "7"] {
            assert!(serde_json::from_str::<Cursor>(text).is_err(), "{text}");
        }
    }
}
