//! Keeps the issues and commits of GitHub repositories in collections of the project.
//!
//! Knows GitHub's addresses and what its answers mean; how lists are read without missing anything, and how far they were
//! read, is `service`'s part. Does not see the token: the host adds it to the requests.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod github;
#[cfg(test)]
mod tests;

use service::{
    Span,
    sync::{self, Outcome, Plan},
};
use trellis_sdk::*;

use github::{Github, Repository};

/// What is kept, and how much is read at a time.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// The repository, `owner/name`, unless the input `repository` says.
    pub repository: Option<String>,
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
            repository: None,
            issues: Some("issues".into()),
            commits: Some("commits".into()),
            branch: None,
            pages_max: 4,
            per_page: 100,
            overlap: Span::seconds(7 * 86_400),
            text_bytes_max: 16_384,
            continue_in: None,
            store: "sync".into(),
            api_url: "https://api.github.com".into(),
        }
    }
}

/// What is brought up to date.
#[inputs]
#[derive(Default)]
pub struct Inputs {
    /// The repository, `owner/name`, if not that of the config.
    repository: Option<String>,
    /// Anything: starts the sync.
    #[port(name = "in")]
    _event: Option<Value>,
}

/// Keeps the issues and commits of GitHub repositories.
#[transformer(title = "GitHub sync")]
pub fn github_sync(input: Inputs, config: Config) -> Result<Vec<Outcome>> {
    let name = input.repository.as_ref().or(config.repository.as_ref()).ok_or_else(|| {
        Error::invalid_input("there is no repository; set `repository`, or wire a text to the input `repository`")
    })?;
    let repository = Repository::parse(name)?;
    if !(1..=100).contains(&config.per_page) || config.pages_max == 0 {
        return Err(Error::invalid_config("`per_page` is from 1 to 100, and `pages_max` at least 1"));
    }
    let github = Github {
        api_url: config.api_url.trim_end_matches('/').to_owned(),
        repository,
        branch: config.branch.clone(),
        per_page: config.per_page,
    };
    let plan = Plan {
        source: github.repository.source(),
        store: config.store,
        issues: config.issues,
        commits: config.commits,
        branch: config.branch,
        pages_max: config.pages_max,
        overlap: config.overlap,
        text_bytes_max: config.text_bytes_max,
    };
    let outcomes = sync::run(&github, &plan)?;
    // As GitHub's own webhooks name it, so that one wiring serves both.
    sync::go_on(&outcomes, config.continue_in.as_deref(), &json!({ "repository": { "full_name": name } }))?;
    Ok(outcomes)
}
