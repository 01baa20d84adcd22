//! Schemas that come with Trellis, for records that plugins of many hands share. A manifest names them: `"trellis:issue"`.
//!
//! They are handed out as they stand in the folder `schemas`, and change by adding.

use serde_json::Value;

/// What the name of a published schema begins with, in a manifest.
pub const PUBLISHED_PREFIX: &str = "trellis:";

/// A schema that comes with Trellis.
#[derive(Clone, Copy, Debug)]
pub struct PublishedSchema {
    /// Without the prefix.
    pub name: &'static str,
    pub text: &'static str,
}

/// All of them.
pub const PUBLISHED: [PublishedSchema; 3] = [
    PublishedSchema { name: "issue", text: include_str!("../../schemas/issue.json") },
    PublishedSchema { name: "commit", text: include_str!("../../schemas/commit.json") },
    PublishedSchema { name: "changelog", text: include_str!("../../schemas/changelog.json") },
];

/// The published schema of this name.
pub fn published(name: &str) -> Option<&'static PublishedSchema> {
    PUBLISHED.iter().find(|schema| schema.name == name)
}

impl PublishedSchema {
    pub fn schema(&self) -> Value {
        serde_json::from_str(self.text).expect("published schemas are JSON")
    }
}
