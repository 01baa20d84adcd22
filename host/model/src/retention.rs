//! What is kept of an account's runs once they are over, and for how long.
//!
//! Knows nothing of how it is stored or who deletes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which runs go into history when they end. A run that is not kept leaves nothing behind but what its nodes did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// Every run, with its nodes.
    #[default]
    Full,
    /// Runs that did not succeed.
    Failed,
    /// Dead letters alone: an accepted event that failed is always kept.
    None,
}

impl History {
    pub const ALL: [Self; 3] = [Self::Full, Self::Failed, Self::None];

    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failed => "failed",
            Self::None => "none",
        }
    }
}

/// For how many days at most history can be kept: ten years.
pub const DAYS_MAX: u16 = 3_650;
/// For how many days history is kept if an operator says nothing else: long enough to look into last month's trouble.
pub const DAYS_DEFAULT: u16 = 30;

/// An account's retention, as an operator sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retention {
    pub history: History,
    /// Days from the end of a run that did not succeed, from the acceptance of one that did. Deleted are whole days in
    /// UTC, so that a run may be seen for up to a day more.
    pub days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { history: History::Full, days: DAYS_DEFAULT }
    }
}

/// A change of a retention: what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = DAYS_MAX))]
    pub days: Option<u16>,
}

/// Days that are out of range.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("retention.days = {0} is out of range; from 1 to {DAYS_MAX} is allowed")]
pub struct DaysOutOfRange(pub u16);

impl RetentionChange {
    /// # Errors
    /// The days are out of range.
    pub fn check(self) -> Result<Self, DaysOutOfRange> {
        match self.days {
            Some(days) if !(1..=DAYS_MAX).contains(&days) => Err(DaysOutOfRange(days)),
            _ => Ok(self),
        }
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<RetentionChange, String> {
        let change: RetentionChange = serde_json::from_str(json).map_err(|error| error.to_string())?;
        change.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_change_says_what_it_changes_and_nothing_else() {
        assert_eq!(check("{}"), Ok(RetentionChange::default()));
        let expected = RetentionChange { history: Some(History::Failed), days: Some(3_650) };
        assert_eq!(check(r#"{"history":"failed","days":3650}"#), Ok(expected));
        for (wrong, told) in [
            (r#"{"days":0}"#, "retention.days = 0 is out of range; from 1 to 3650 is allowed"),
            (r#"{"days":3651}"#, "retention.days = 3651 is out of range"),
            (r#"{"days":-1}"#, "-1"),
            (r#"{"history":"some"}"#, "expected one of `full`, `failed`, `none`"),
            (r#"{"day":1}"#, "unknown field `day`"),
        ] {
            let error = check(wrong).expect_err(wrong);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn names_are_what_is_written() {
        for history in History::ALL {
            assert_eq!(serde_json::to_value(history).expect("text"), history.name());
        }
    }
}
