//! Writes the changelog of a release from the commits and issues that are kept in collections.
//!
//! What a commit's message says is `message`'s part, how the changes are set out is `markdown`'s. Does not know where commits
//! and issues come from.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod changes;
mod markdown;
mod message;
#[cfg(test)]
mod tests;

use service::time;
use trellis_sdk::{
    records::{changelog::Changelog, commit::Commit, issue::Issue},
    *,
};

use changes::Changes;

/// Where things are, and which changes are told.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// What commits and issues are from, such as `github:acme/shop`, unless the input `source` says.
    pub source: Option<String>,
    /// The parts of a changelog in order, by types of Conventional Commits.
    pub sections: Vec<SectionOf>,
    /// The heading of commits that have no type. Null: they are left out.
    pub others: Option<String>,
    /// The heading of issues that were closed and that no commit names. Null: they are left out.
    pub issues_closed: Option<String>,
    /// The collection of commits, with the indexes `source` and `created`.
    pub commits: String,
    /// The collection of issues, with the indexes `source` and `closed`. Null: issues are not looked at.
    pub issues: Option<String>,
    /// The collection of changelogs, with the indexes `source` and `released`.
    pub changelogs: String,
    /// Most commits of one release.
    pub commits_max: usize,
}

/// One part of a changelog.
#[data]
#[derive(Clone, Debug)]
pub struct SectionOf {
    /// Its heading.
    pub title: String,
    /// The types of commits that belong there, such as `feat`.
    pub types: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let section = |title: &str, kind: &str| SectionOf { title: title.into(), types: vec![kind.into()] };
        Self {
            source: None,
            sections: vec![section("Features", "feat"), section("Fixes", "fix"), section("Performance", "perf")],
            others: Some("Other changes".into()),
            issues_closed: Some("Closed issues".into()),
            commits: "commits".into(),
            issues: Some("issues".into()),
            changelogs: "changelogs".into(),
            commits_max: 500,
        }
    }
}

/// A release.
#[inputs]
pub struct Release {
    /// Its version, such as `1.2.0` or `v1.2.0`.
    version: String,
    /// What it is a release of, if not of the config's `source`.
    source: Option<String>,
    /// Changes after this time belong to it. Without it, those after the release before it.
    since: Option<String>,
    /// Changes up to this time belong to it: when it came out. Without it, now.
    until: Option<String>,
    /// Where a person can look at it.
    url: Option<String>,
}

/// What was written.
#[derive(Ports, Debug, PartialEq)]
pub enum Outcome {
    /// The record, as it is kept in the collection of changelogs.
    Changelog(Box<Changelog>),
    /// All of it, in Markdown.
    Markdown(String),
}

/// The time between two releases, in UTC.
struct Span {
    /// The version before, if there is one.
    previous: Option<String>,
    since: Option<String>,
    until: String,
}

/// Writes the changelog of a release.
#[transformer]
pub fn changelog(input: Release, config: Config) -> Result<Vec<Outcome>> {
    let source = input.source.as_ref().or(config.source.as_ref()).cloned().ok_or_else(|| {
        Error::invalid_config(
            "there is no source; set `source`, such as \"github:acme/shop\", or wire a text to the input `source`",
        )
    })?;
    if input.version.trim().is_empty() {
        return Err(Error::invalid_input("input `version` is empty"));
    }
    let span = span(&input, &source, &config)?;
    let commits = commits(&source, &span, &config)?;
    let issues = closed_issues(&source, &span, &config)?;
    let changes = Changes::of(&commits, &issues, &source, &config)?;
    let written = written(&input, source, &span, changes);
    records::collection(config.changelogs.as_str()).put(&written.key(), &written)?;
    let markdown = written.body.clone();
    Ok(vec![Outcome::Changelog(Box::new(written)), Outcome::Markdown(markdown)])
}

fn span(input: &Release, source: &str, config: &Config) -> Result<Span> {
    let read = |name: &str, text: &Option<String>| {
        let time = text.as_deref().map(|text| {
            time::normal(text).ok_or_else(|| {
                Error::invalid_input(format_args!(
                    "input `{name}`: `{text}` is no time; write it like 2026-05-01T12:00:00Z"
                ))
            })
        });
        time.transpose()
    };
    let until = read("until", &input.until)?.unwrap_or_else(|| time::rfc3339(time::now()));
    let before = previous(source, &input.version, &until, config)?;
    let since = read("since", &input.since)?.or_else(|| before.as_ref().and_then(|before| before.released_at.clone()));
    Ok(Span { previous: before.map(|before| before.version), since, until })
}

/// The release that came out last before this one. A changelog that is written anew does not follow itself.
fn previous(source: &str, version: &str, until: &str, config: &Config) -> Result<Option<Changelog>> {
    let changelogs = records::collection::<Changelog>(config.changelogs.as_str());
    let earlier = changelogs.query().equal("source", source).less("released", until).order_by("released").descending();
    for found in earlier.page_size(2).page()?.records {
        if found.data.version != version {
            return Ok(Some(found.data));
        }
    }
    Ok(None)
}

/// All commits of the time, oldest first.
fn commits(source: &str, span: &Span, config: &Config) -> Result<Vec<Commit>> {
    let collection = records::collection::<Commit>(config.commits.as_str());
    let mut query =
        collection.query().equal("source", source).less_or_equal("created", &span.until).order_by("created");
    if let Some(since) = &span.since {
        query = query.greater("created", since);
    }
    let mut commits = Vec::new();
    for found in query.iter() {
        if commits.len() >= config.commits_max {
            return Err(Error::permanent(format_args!(
                "the release has more than {} commits; raise `commits_max`, or wire a later time to the input `since`",
                config.commits_max
            )));
        }
        commits.push(found?.data);
    }
    Ok(commits)
}

/// All issues that were closed in the time.
fn closed_issues(source: &str, span: &Span, config: &Config) -> Result<Vec<Issue>> {
    let (Some(collection), Some(_)) = (&config.issues, &config.issues_closed) else { return Ok(Vec::new()) };
    let collection = records::collection::<Issue>(collection.as_str());
    let mut query = collection.query().equal("source", source).less_or_equal("closed", &span.until).order_by("closed");
    if let Some(since) = &span.since {
        query = query.greater("closed", since);
    }
    let mut issues = Vec::new();
    for (place, found) in query.iter().enumerate() {
        if place >= config.commits_max {
            log::warn!(
                "more than {place} issues were closed; those that were closed last are left out: raise `commits_max`"
            );
            break;
        }
        let issue = found?.data;
        let is_done =
            issue.details.get("state_reason").is_none_or(|reason| reason != "not_planned" && reason != "duplicate");
        if is_done {
            issues.push(issue);
        }
    }
    Ok(issues)
}

fn written(input: &Release, source: String, span: &Span, changes: Changes) -> Changelog {
    let date = span.until.split('T').next().unwrap_or_default();
    let title = format!("{} ({date})", input.version);
    let body = markdown::document(&title, &changes);
    let mut details = serde_json::Map::new();
    if let Some(since) = &span.since {
        details.insert("since".into(), since.as_str().into());
    }
    Changelog {
        version: input.version.clone(),
        previous: span.previous.clone(),
        title,
        body,
        sections: changes.sections,
        created_at: time::rfc3339(time::now()),
        released_at: Some(span.until.clone()),
        url: input.url.clone(),
        source,
        details,
    }
}
