//! Commits and issues, sorted into the parts of a changelog.

use std::collections::BTreeSet;

use trellis_sdk::{
    Result,
    records::{
        self,
        changelog::{Change, Section},
        commit::Commit,
        issue::Issue,
    },
};

use crate::{Config, message::Message};

/// Issues that are looked up, because commits name them: each is an operation of the call.
const LOOKED_UP_MAX: usize = 200;

const BREAKING: &str = "Breaking changes";

/// What has changed, by parts; and where readers can look at what is named.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub sections: Vec<Section>,
    /// Key and address of commits and issues.
    pub links: Vec<(String, String)>,
}

impl Changes {
    /// Sorts commits by their types. What was taken back within the release is left out, with what took it back.
    pub(crate) fn of(commits: &[Commit], closed: &[Issue], source: &str, config: &Config) -> Result<Self> {
        let parsed: Vec<(&Commit, Message)> = commits
            .iter()
            .filter(|commit| commit.parents.len() < 2)
            .map(|commit| (commit, Message::parse(&commit.title, commit.message.as_deref())))
            .collect();
        let gone = taken_back(&parsed);
        let left: Vec<(&Commit, Message)> =
            parsed.into_iter().filter(|(commit, _)| !gone.contains(commit.id.as_str())).collect();
        let named = named_issues(&left, source, config)?;
        let mut changes = Self::default();
        changes.add_breaking(&left, source);
        for section in &config.sections {
            let belongs = |message: &Message| message.kind.as_ref().is_some_and(|kind| section.types.contains(kind));
            changes.add_section(&section.title, &left, source, belongs);
        }
        if let Some(title) = &config.others {
            changes.add_section(title, &left, source, |message| message.kind.is_none());
        }
        changes.add_closed(closed, &left, config);
        changes.link(&left, named.iter().chain(closed));
        Ok(changes)
    }

    fn add_breaking(&mut self, commits: &[(&Commit, Message)], source: &str) {
        let breaking = commits.iter().filter(|(_, message)| message.is_breaking);
        let changes: Vec<Change> = breaking
            .map(|(commit, message)| {
                let text = message.breaking.as_ref().unwrap_or(&message.description);
                Change { text: scoped(message, text), ..change(commit, message, source) }
            })
            .collect();
        self.push(BREAKING, changes);
    }

    fn add_section(
        &mut self,
        title: &str,
        commits: &[(&Commit, Message)],
        source: &str,
        belongs: impl Fn(&Message) -> bool,
    ) {
        let own = commits.iter().filter(|(_, message)| belongs(message));
        let changes = own.map(|(commit, message)| change(commit, message, source)).collect();
        self.push(title, changes);
    }

    /// Issues that were closed and that no commit names.
    fn add_closed(&mut self, closed: &[Issue], commits: &[(&Commit, Message)], config: &Config) {
        let Some(title) = &config.issues_closed else { return };
        let named: BTreeSet<u64> = commits.iter().flat_map(|(_, message)| message.issues.iter().copied()).collect();
        let unnamed = closed.iter().filter(|issue| issue.number.is_none_or(|number| !named.contains(&number)));
        let changes = unnamed.map(|issue| Change {
            text: issue.title.clone(),
            issues: vec![issue.key()],
            author: issue.author.clone(),
            ..Change::default()
        });
        self.push(title, changes.collect());
    }

    fn push(&mut self, title: &str, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.sections.push(Section { title: title.to_owned(), changes });
        }
    }

    fn link<'a>(&mut self, commits: &[(&Commit, Message)], issues: impl Iterator<Item = &'a Issue>) {
        let of_commits = commits.iter().filter_map(|(commit, _)| Some((commit.key(), commit.url.clone()?)));
        self.links.extend(of_commits);
        self.links.extend(issues.filter_map(|issue| Some((issue.key(), issue.url.clone()?))));
    }
}

/// Ids of commits that were taken back within the release, and of those that did it.
fn taken_back<'a>(commits: &[(&'a Commit, Message)]) -> BTreeSet<&'a str> {
    let mut gone = BTreeSet::new();
    for (commit, message) in commits {
        let Some(reverted) = &message.reverts else { continue };
        let is_reverted =
            |(other, _): &&(&'a Commit, Message)| other.id.to_ascii_lowercase().starts_with(reverted.as_str());
        if let Some((other, _)) = commits.iter().find(is_reverted) {
            gone.extend([commit.id.as_str(), other.id.as_str()]);
        }
    }
    gone
}

/// The issues that commits name, as far as they are known.
fn named_issues(commits: &[(&Commit, Message)], source: &str, config: &Config) -> Result<Vec<Issue>> {
    let Some(collection) = &config.issues else { return Ok(Vec::new()) };
    let collection = records::collection::<Issue>(collection.as_str());
    let numbers: BTreeSet<u64> = commits.iter().flat_map(|(_, message)| message.issues.iter().copied()).collect();
    let mut issues = Vec::new();
    for number in numbers.into_iter().take(LOOKED_UP_MAX) {
        issues.extend(collection.get(&issue_key(source, number))?);
    }
    Ok(issues)
}

fn issue_key(source: &str, number: u64) -> String {
    Issue { source: source.to_owned(), number: Some(number), ..Issue::default() }.key()
}

fn change(commit: &Commit, message: &Message, source: &str) -> Change {
    Change {
        text: scoped(message, &message.description),
        commits: vec![commit.key()],
        issues: message.issues.iter().map(|number| issue_key(source, *number)).collect(),
        author: commit.author.clone(),
        breaking: message.is_breaking,
    }
}

fn scoped(message: &Message, text: &str) -> String {
    message.scope.as_ref().map_or_else(|| text.to_owned(), |scope| format!("{scope}: {text}"))
}
