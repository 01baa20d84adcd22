//! Keeps the issues and commits of GitLab projects in collections of the project.
//!
//! Knows GitLab's addresses and what its answers mean; how lists are read without missing anything, and how far they were
//! read, is `service`'s part. Does not see the token: the host adds it to the requests.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod gitlab;
#[cfg(test)]
mod tests;

use service::{
    Span,
    sync::{self, Outcome, Plan},
};
use trellis_sdk::*;

use gitlab::{Gitlab, Project};

/// What is kept, and how much is read at a time.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// The project, by its path such as `group/name` or its id, unless the input `project` says.
    pub project: Option<String>,
    /// The collection of issues. Null: they are not kept.
    pub issues: Option<String>,
    /// The collection of commits. Null: they are not kept.
    pub commits: Option<String>,
    /// The branch whose commits are kept. Without it, the default one.
    pub branch: Option<String>,
    /// Pages of one call, of both kinds together.
    pub pages_max: u32,
    /// Elements of a page: 1 to 100.
    pub per_page: u32,
    /// How long before the newest known commit others are looked for, which were merged later.
    pub overlap: Span,
    /// Longest text of an issue or a commit that is kept, in bytes.
    pub text_bytes_max: usize,
    /// The grid to start again while there is more to read.
    pub continue_in: Option<String>,
    /// The store that keeps how far it is.
    pub store: String,
    /// The address of the API.
    pub api_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            project: None,
            issues: Some("issues".into()),
            commits: Some("commits".into()),
            branch: None,
            pages_max: 4,
            per_page: 100,
            overlap: Span::seconds(7 * 86_400),
            text_bytes_max: 16_384,
            continue_in: None,
            store: "sync".into(),
            api_url: "https://gitlab.com/api/v4".into(),
        }
    }
}

/// What is brought up to date.
#[inputs]
#[derive(Default)]
pub struct Inputs {
    /// The project, by its path or its id, if not that of the config.
    project: Option<String>,
    /// Anything: starts the sync.
    #[port(name = "in")]
    _event: Option<Value>,
}

/// Keeps the issues and commits of GitLab projects.
#[transformer(title = "GitLab sync")]
pub fn gitlab_sync(input: Inputs, config: Config) -> Result<Vec<Outcome>> {
    let name = input.project.as_ref().or(config.project.as_ref()).ok_or_else(|| {
        Error::invalid_input("there is no project; set `project`, or wire a text to the input `project`")
    })?;
    let project = Project::parse(name)?;
    if !(1..=100).contains(&config.per_page) || config.pages_max == 0 {
        return Err(Error::invalid_config("`per_page` is from 1 to 100, and `pages_max` at least 1"));
    }
    let gitlab = Gitlab {
        api_url: config.api_url.trim_end_matches('/').to_owned(),
        project,
        branch: config.branch.clone(),
        per_page: config.per_page,
    };
    let plan = Plan {
        source: gitlab.project.source(),
        store: config.store,
        issues: config.issues,
        commits: config.commits,
        branch: config.branch,
        pages_max: config.pages_max,
        overlap: config.overlap,
        text_bytes_max: config.text_bytes_max,
    };
    let outcomes = sync::run(&gitlab, &plan)?;
    // As GitLab's own webhooks name it, so that one wiring serves both.
    sync::go_on(&outcomes, config.continue_in.as_deref(), &json!({ "project": { "path_with_namespace": name } }))?;
    Ok(outcomes)
}
