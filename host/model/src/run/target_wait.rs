//! Waiting for room at a target, between two calls of a node: the time that was told, and when it is a time to wait for no
//! more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{manifest::Target, targets::RateLimit};

/// A node's place in the line before a target: it is called again at that time, and is then before all who came later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetWait {
    /// The target's name in the manifest.
    pub target: String,
    /// Which of the target's hosts has no room; empty where all of them share one limit.
    pub host: String,
    /// Unix milliseconds.
    pub until_ms: i64,
    /// The rate that the time was told by, of the whole target. None: unknown, or it was not a rate that had no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateLimit>,
}

impl TargetWait {
    /// How the message begins that says which target somebody waits for: by it those who wait are found.
    pub fn message_begin(target: &str) -> String {
        format!("waiting for target `{target}` until ")
    }

    /// Whether the target takes requests faster than when this time was told: it is no time to wait for any more. `targets` are
    /// what the project says now.
    pub(super) fn is_overtaken(&self, targets: &[Target]) -> bool {
        let Some(rate) = self.rate else { return false };
        let now = targets.iter().find(|target| target.name == self.target).and_then(|target| target.limit.rate);
        now.is_none_or(|now| now.spacing_us() < rate.spacing_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    const BY_MINUTE: RateLimit = RateLimit::Window { max: 2, period_ms: 60_000 };

    /// What a project says of its targets.
    fn targets(text: &str) -> Vec<Target> {
        let text = format!("[project]\nname = \"shop\"\n[[targets]]\nhost = \"api.example.com\"\n{text}");
        Manifest::from_toml(&text).expect("valid").targets
    }

    #[test]
    fn a_time_is_overtaken_when_the_target_takes_more_than_when_it_was_told() {
        let wait =
            |rate| TargetWait { target: "api".to_owned(), host: "api.example.com".to_owned(), until_ms: 9, rate };
        for (now, is_overtaken) in [
            ("name = \"api\"\nrate = 2\nper = \"1m\"", false),
            ("name = \"api\"\nrate = 1\nper = \"1m\"", false),
            ("name = \"api\"\nrate = 3\nper = \"1m\"", true),
            ("name = \"api\"\nrate = 2\nper = \"59s\"", true),
            ("name = \"api\"\nbucket = 1\nleak = 0.01", false),
            ("name = \"api\"\nbucket = 1\nleak = 1.0", true),
            ("name = \"api\"\nconcurrency = 1", true),
            ("name = \"other\"\nrate = 1", true),
        ] {
            assert_eq!(wait(Some(BY_MINUTE)).is_overtaken(&targets(now)), is_overtaken, "{now}");
            assert!(!wait(None).is_overtaken(&targets(now)), "{now}");
        }
    }
}
