//! Issues of a forge, in a shape that is nobody's own: what plugins that read, sort and write issues share.
//!
//! The schema is published as `trellis:issue`: a manifest that declares `[collections.issues]` with
//! `schema = "trellis:issue"` gets records of this shape and no others. What the shape has no field for goes into
//! [`Issue::details`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An issue, ticket or task.
///
/// ```
/// use trellis_sdk::{records::{self, issue::{Issue, State}}, fake, Result};
///
/// fn remember(number: u64, title: &str) -> Result<()> {
///     let issue = Issue {
///         id: format!("I_{number}"),
///         number: Some(number),
///         title: title.into(),
///         source: "github:acme/shop".into(),
///         created_at: "2026-02-01T08:00:00Z".into(),
///         updated_at: "2026-02-01T08:00:00Z".into(),
///         ..Issue::default()
///     };
///     Ok(records::collection("issues").put(&issue.key(), &issue)?)
/// }
///
/// remember(7, "the door squeaks").unwrap();
/// let issue: Issue = fake::collection("issues").get("github:acme/shop#7").unwrap();
/// assert_eq!((issue.title.as_str(), issue.state), ("the door squeaks", State::Open));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Issue {
    /// What the source calls it: never reused there.
    pub id: String,
    /// The number that people use, where the source has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// One line.
    pub title: String,
    /// The text, in Markdown where the source has it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether there is still something to do.
    pub state: State,
    /// Names of labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Who wrote it: the name of a user at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Who is to see to it: names of users at the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assignees: Vec<String>,
    /// The milestone that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milestone: Option<String>,
    /// RFC 3339, in UTC, such as `2026-02-01T08:00:00Z`: texts of this form sort by time.
    pub created_at: String,
    /// RFC 3339, in UTC.
    pub updated_at: String,
    /// RFC 3339, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
    /// Where a person can look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it comes from: the kind of forge and the project there, such as `github:acme/shop`.
    pub source: String,
    /// Whatever else is known, in the source's own words.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// Whether there is still something to do.
///
/// ```
/// use trellis_sdk::{json, records::issue::State};
///
/// assert_eq!(json!(State::Closed), json!("closed"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is.
    #[default]
    Open,
    /// Done, or given up.
    Closed,
}

impl Issue {
    /// The key to keep it under, the same for everybody: source and number, such as `github:acme/shop#7`, or the id where
    /// there is no number.
    ///
    /// ```
    /// use trellis_sdk::records::issue::Issue;
    ///
    /// let issue = Issue { source: "github:acme/shop".into(), number: Some(7), ..Issue::default() };
    /// assert_eq!(issue.key(), "github:acme/shop#7");
    /// ```
    pub fn key(&self) -> String {
        match self.number {
            Some(number) => format!("{}#{number}", self.source),
            None => format!("{}#{}", self.source, self.id),
        }
    }
}
