//! GitLab's REST API, as far as lists of issues and commits go.

use service::{
    element::{add_parameter as add, all, at, text},
    sync::Forge,
};
use trellis_sdk::{
    Error, Result, Value, http,
    records::{
        commit::Commit,
        issue::{Issue, State},
    },
};

/// A project at GitLab, or at a server of one's own.
pub(crate) struct Gitlab {
    pub api_url: String,
    pub project: Project,
    pub branch: Option<String>,
    pub per_page: u32,
}

/// `group/name`, `group/subgroup/name`, or an id.
pub(crate) struct Project(String);

impl Project {
    /// # Errors
    /// Invalid input: the text is no path and no id.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let is_part = |part: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain)
        };
        let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_id || (text.contains('/') && text.split('/').all(is_part)) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid_input(format_args!("`{text}` is no project; write it like `group/name`, or its id")))
    }

    pub(crate) fn source(&self) -> String {
        format!("gitlab:{}", self.0)
    }
}

impl Forge for Gitlab {
    fn issues_url(&self, since: Option<&str>) -> String {
        let mut url = self.list("issues");
        url.push_str("&scope=all&state=all&order_by=updated_at&sort=asc");
        add(&mut url, "updated_after", since);
        url
    }

    fn commits_url(&self, since: Option<&str>) -> String {
        let mut url = self.list("repository/commits");
        add(&mut url, "ref_name", self.branch.as_deref());
        add(&mut url, "since", since);
        url
    }

    fn request(&self, url: &str) -> http::Request {
        http::get(url).header("accept", "application/json")
    }

    fn issue(&self, element: &Value) -> Option<Issue> {
        let mut details = serde_json::Map::new();
        for name in ["confidential", "due_date", "issue_type", "user_notes_count", "weight"] {
            if let Some(value) = element.get(name).filter(|value| !value.is_null()) {
                details.insert(name.into(), value.clone());
            }
        }
        Some(Issue {
            id: element["id"].as_u64()?.to_string(),
            number: Some(element["iid"].as_u64()?),
            title: text(element, "/title")?,
            body: text(element, "/description"),
            state: if element["state"] == "closed" { State::Closed } else { State::Open },
            labels: all(element, "labels", "/name"),
            author: text(element, "/author/username"),
            assignees: all(element, "assignees", "/username"),
            milestone: text(element, "/milestone/title"),
            created_at: at(element, "/created_at")?,
            updated_at: at(element, "/updated_at")?,
            closed_at: at(element, "/closed_at"),
            url: text(element, "/web_url"),
            source: self.project.source(),
            details,
        })
    }

    fn commit(&self, element: &Value) -> Option<Commit> {
        let message = text(element, "/message").unwrap_or_default();
        let (first, rest) = message.split_once('\n').unwrap_or((&message, ""));
        Some(Commit {
            id: text(element, "/id")?,
            // The `title` of the answer is cut.
            title: first.trim_end().to_owned(),
            message: (!rest.trim().is_empty()).then(|| message.clone()),
            author: text(element, "/author_name"),
            author_email: text(element, "/author_email"),
            created_at: at(element, "/committed_date").or_else(|| at(element, "/created_at"))?,
            parents: all(element, "parent_ids", "/id"),
            url: text(element, "/web_url"),
            source: self.project.source(),
            ..Commit::default()
        })
    }
}

impl Gitlab {
    fn list(&self, name: &str) -> String {
        format!("{}/projects/{}/{name}?per_page={}", self.api_url, http::percent_encode(&self.project.0), self.per_page)
    }
}
