//! Commits of a repository, in a shape that is nobody's own: what plugins that fetch commits and write changelogs share.
//!
//! The schema is published as `trellis:commit`; what it has no field for goes into [`Commit::details`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A commit.
///
/// ```
/// use trellis_sdk::records::commit::Commit;
///
/// let commit = Commit {
///     id: "5c1f".into(),
///     title: "fix: the door squeaks no more".into(),
///     source: "github:acme/shop".into(),
///     created_at: "2026-02-01T08:00:00Z".into(),
///     ..Commit::default()
/// };
/// assert_eq!(commit.key(), "github:acme/shop@5c1f");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// The whole hash.
    pub id: String,
    /// The first line of the message.
    pub title: String,
    /// The whole message, where it is more than its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The author's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_email: Option<String>,
    /// When it was committed: RFC 3339, in UTC, such as `2026-02-01T08:00:00Z`: texts of this form sort by time.
    pub created_at: String,
    /// The branch that it was seen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Hashes of the commits before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// Where a person can look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it comes from: the kind of forge and the repository there, such as `github:acme/shop`.
    pub source: String,
    /// Whatever else is known, in the source's own words.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl Commit {
    /// The key to keep it under, the same for everybody: source and hash, such as `github:acme/shop@5c1f`.
    ///
    /// ```
    /// use trellis_sdk::records::commit::Commit;
    ///
    /// let commit = Commit { source: "github:acme/shop".into(), id: "5c1f".into(), ..Commit::default() };
    /// assert_eq!(commit.key(), "github:acme/shop@5c1f");
    /// ```
    pub fn key(&self) -> String {
        format!("{}@{}", self.source, self.id)
    }
}
