//! GitHub's REST API, as far as lists of issues and commits go.

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

/// The version of the API that this was written for.
const API_VERSION: &str = "2022-11-28";

/// A repository at GitHub, or at a server of one's own that speaks the same.
pub(crate) struct Github {
    pub api_url: String,
    pub repository: Repository,
    pub branch: Option<String>,
    pub per_page: u32,
}

/// `owner/name`.
pub(crate) struct Repository(String);

impl Repository {
    /// # Errors
    /// Invalid input: the text could lead elsewhere than to a repository.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let is_part = |part: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain)
        };
        match text.split_once('/') {
            Some((owner, name)) if is_part(owner) && is_part(name) => Ok(Self(text.to_owned())),
            _ => Err(Error::invalid_input(format_args!("`{text}` is no repository; write it like `owner/name`"))),
        }
    }

    pub(crate) fn source(&self) -> String {
        format!("github:{}", self.0)
    }
}

impl Forge for Github {
    fn issues_url(&self, since: Option<&str>) -> String {
        let mut url = self.list("issues");
        url.push_str("&state=all&sort=updated&direction=asc");
        add(&mut url, "since", since);
        url
    }

    fn commits_url(&self, since: Option<&str>) -> String {
        let mut url = self.list("commits");
        add(&mut url, "sha", self.branch.as_deref());
        add(&mut url, "since", since);
        url
    }

    fn request(&self, url: &str) -> http::Request {
        http::get(url)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", API_VERSION)
            .header("user-agent", "trellis")
    }

    /// Pull requests are listed among the issues.
    fn issue(&self, element: &Value) -> Option<Issue> {
        if element.get("pull_request").is_some_and(|link| !link.is_null()) {
            return None;
        }
        let mut details = serde_json::Map::new();
        for name in ["comments", "state_reason", "locked"] {
            if let Some(value) = element.get(name).filter(|value| !value.is_null()) {
                details.insert(name.into(), value.clone());
            }
        }
        Some(Issue {
            id: text(element, "/node_id").or_else(|| element["id"].as_u64().map(|id| id.to_string()))?,
            number: Some(element["number"].as_u64()?),
            title: text(element, "/title")?,
            body: text(element, "/body"),
            state: if element["state"] == "closed" { State::Closed } else { State::Open },
            labels: all(element, "labels", "/name"),
            author: text(element, "/user/login"),
            assignees: all(element, "assignees", "/login"),
            milestone: text(element, "/milestone/title"),
            created_at: at(element, "/created_at")?,
            updated_at: at(element, "/updated_at")?,
            closed_at: at(element, "/closed_at"),
            url: text(element, "/html_url"),
            source: self.repository.source(),
            details,
        })
    }

    fn commit(&self, element: &Value) -> Option<Commit> {
        let message = text(element, "/commit/message").unwrap_or_default();
        let (title, rest) = message.split_once('\n').unwrap_or((&message, ""));
        Some(Commit {
            id: text(element, "/sha")?,
            title: title.trim_end().to_owned(),
            message: (!rest.trim().is_empty()).then(|| message.clone()),
            author: text(element, "/author/login").or_else(|| text(element, "/commit/author/name")),
            author_email: text(element, "/commit/author/email"),
            created_at: at(element, "/commit/committer/date").or_else(|| at(element, "/commit/author/date"))?,
            parents: all(element, "parents", "/sha"),
            url: text(element, "/html_url"),
            source: self.repository.source(),
            ..Commit::default()
        })
    }
}

impl Github {
    fn list(&self, name: &str) -> String {
        format!("{}/repos/{}/{name}?per_page={}", self.api_url, self.repository.0, self.per_page)
    }
}
