//! Changelogs of releases: what plugins that write and publish them share.
//!
//! The schema is published as `trellis:changelog`; what it has no field for goes into [`Changelog::details`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What has changed in one release.
///
/// ```
/// use trellis_sdk::records::changelog::{Change, Changelog, Section};
///
/// let fix = Change { text: "the door squeaks no more".into(), ..Change::default() };
/// let changelog = Changelog {
///     version: "1.2.0".into(),
///     title: "Quiet doors".into(),
///     body: "## Fixed\n\n- the door squeaks no more\n".into(),
///     sections: vec![Section { title: "Fixed".into(), changes: vec![fix] }],
///     source: "github:acme/shop".into(),
///     created_at: "2026-02-01T08:00:00Z".into(),
///     ..Changelog::default()
/// };
/// assert_eq!(changelog.key(), "github:acme/shop@1.2.0");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changelog {
    /// The release that it is of, such as `1.2.0`.
    pub version: String,
    /// The release before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// One line.
    pub title: String,
    /// All of it, in Markdown.
    pub body: String,
    /// The same by parts, for those who set it out themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
    /// When it was written: RFC 3339, in UTC, such as `2026-02-01T08:00:00Z`: texts of this form sort by time.
    pub created_at: String,
    /// When the release came out: RFC 3339, in UTC. None: it has not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
    /// Where a person can look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it is about: the kind of forge and the repository there, such as `github:acme/shop`.
    pub source: String,
    /// Whatever else is known.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// Changes of one kind, such as what was fixed.
///
/// ```
/// use trellis_sdk::records::changelog::{Change, Section};
///
/// let fixed = Section { title: "Fixed".into(), changes: vec![Change { text: "a crash".into(), ..Change::default() }] };
/// assert_eq!(fixed.changes.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Section {
    /// The heading, such as `Fixed`.
    pub title: String,
    /// The changes, in their order.
    pub changes: Vec<Change>,
}

/// One change.
///
/// ```
/// use trellis_sdk::records::changelog::Change;
///
/// let change = Change { text: "names are checked".into(), breaking: true, ..Change::default() };
/// assert!(change.breaking && change.commits.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What has changed, on one line.
    pub text: String,
    /// Keys of the commits that did it, in the collection of commits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commits: Vec<String>,
    /// Keys of the issues that it is about, in the collection of issues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issues: Vec<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Whether users have to change something of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub breaking: bool,
}

impl Changelog {
    /// The key to keep it under, the same for everybody: source and version, such as `github:acme/shop@1.2.0`.
    ///
    /// ```
    /// use trellis_sdk::records::changelog::Changelog;
    ///
    /// let changelog = Changelog { source: "github:acme/shop".into(), version: "1.2.0".into(), ..Changelog::default() };
    /// assert_eq!(changelog.key(), "github:acme/shop@1.2.0");
    /// ```
    pub fn key(&self) -> String {
        format!("{}@{}", self.source, self.version)
    }
}
