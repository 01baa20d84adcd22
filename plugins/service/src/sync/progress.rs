//! How far a list was read: what the next call needs to go on.

use trellis_sdk::{Result, data, http::percent_encode, storage};

use super::Plan;

/// How far a list was read.
#[data]
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub(super) struct Progress {
    /// Everything up to this time is known.
    pub since: Option<String>,
    /// The page to go on with, where a list is in the middle of being read.
    pub next: Option<String>,
    /// The newest time in the part that was read.
    pub newest: Option<String>,
    /// A first page that was seen, and the tag that it had: the forge says if it has not changed since.
    pub seen_url: Option<String>,
    pub seen_tag: Option<String>,
}

impl Progress {
    /// That of a list, or a new one.
    pub fn load(plan: &Plan, list: &str) -> Result<Self> {
        Ok(storage::store(plan.store.as_str()).get_json(&key(plan, list))?.unwrap_or_default())
    }

    pub fn save(&self, plan: &Plan, list: &str) -> Result<()> {
        Ok(storage::store(plan.store.as_str()).set_json(&key(plan, list), self)?)
    }
}

/// Commits of two branches are two lists.
fn key(plan: &Plan, list: &str) -> String {
    match &plan.branch {
        Some(branch) if list == "commits" => format!("{}/{list}/{}", plan.source, percent_encode(branch)),
        _ => format!("{}/{list}", plan.source),
    }
}
