//! Bringing issues and commits of a forge into collections: page by page, only what is new, and no faster than the forge allows.
//!
//! One call does a bounded number of pages and keeps how far it has come in a store, so that the next call goes on from there:
//!
//! ```text
//!   issues    by the time of their last change, oldest first:   since ──► page ──► page ──► … ──► newest: the next `since`
//!   commits   newest first, down to an overlap before the newest that is known:   page ──► page ──► … ──► since - overlap
//! ```
//!
//! Issues that change while they are read move to the end of the list, so that a count of pages would pass over others: after
//! each page the list is asked for anew, from the time of the last issue on. Commits that are merged late are older than
//! others that are known, which is what the overlap is for.
//!
//! Knows no forge: what it is asked and what its answers mean is [`Forge`]'s part.

mod progress;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

use trellis_sdk::{
    ErrorKind, Ports, Result, Value, data, http, log, outbox,
    records::{self, commit::Commit, issue::Issue},
};

use crate::Span;
use progress::Progress;
use stream::{Commits, Issues, Page, Stream};

/// Bytes of records after which no further page is begun: with the largest page on top they stay within the 4 MiB that a call
/// may write.
const WRITTEN_BYTES_ENOUGH: usize = 2 * 1024 * 1024;

/// Elements of pages after which no further page is begun: each is looked up and perhaps written, and a call has 1,000
/// operations on records. With the largest page on top they are enough.
const ELEMENTS_ENOUGH: usize = 400;

/// A forge: a place that keeps issues and commits of repositories.
pub trait Forge {
    /// The first page of issues that have changed since this time, the one that changed longest ago first.
    fn issues_url(&self, since: Option<&str>) -> String;

    /// The first page of commits since this time, newest first.
    fn commits_url(&self, since: Option<&str>) -> String;

    /// A request for a page, with the headers that the forge wants.
    fn request(&self, url: &str) -> http::Request;

    /// The issue that an element of a page is; none if it is something else that the forge lists among them.
    fn issue(&self, element: &Value) -> Option<Issue>;

    /// The commit that an element of a page is.
    fn commit(&self, element: &Value) -> Option<Commit>;
}

/// What is to be brought where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the records are from, such as `github:acme/shop`.
    pub source: String,
    /// The store that keeps how far it is.
    pub store: String,
    /// The collection of issues, if they are wanted.
    pub issues: Option<String>,
    /// The collection of commits, if they are wanted.
    pub commits: Option<String>,
    /// The branch that commits are of; none: the default one.
    pub branch: Option<String>,
    /// Pages of one call, of both kinds together.
    pub pages_max: u32,
    /// How long before the newest known commit others may turn up.
    pub overlap: Span,
    /// Longest text of an issue or a commit that is kept, in bytes.
    pub text_bytes_max: usize,
}

/// What a call has done.
#[derive(Ports, Debug, PartialEq)]
pub enum Outcome {
    /// How far it is. Always.
    Synced(Summary),
    /// Keys of the issues that are new or have changed, if there are any.
    Issues(Vec<String>),
    /// Keys of the commits that are new, if there are any.
    Commits(Vec<String>),
}

/// How far it is.
#[data]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// What was read, such as `github:acme/shop`.
    pub source: String,
    /// Issues that were new or have changed.
    pub issues: usize,
    /// Commits that were new.
    pub commits: usize,
    /// Pages that were read. A page that has not changed since is none.
    pub pages: u32,
    /// Whether all is known that there was. Otherwise the next call goes on.
    pub complete: bool,
    /// Why it ended before its time: a limit of the forge, or trouble on the way. What was read until then is kept.
    pub interrupted: Option<String>,
    /// How long to wait before the next call, in seconds, if the forge said so.
    pub retry_after_s: Option<u64>,
}

/// Brings what is new, as far as one call goes.
///
/// # Errors
/// What the forge refuses for good; and what may pass, unless something was read before: then it is told in the summary, so
/// that it is kept.
pub fn run(forge: &impl Forge, plan: &Plan) -> Result<Vec<Outcome>> {
    let mut run = Run { forge, plan, pages: 0, elements: 0, written_bytes: 0, issues: Vec::new(), commits: Vec::new() };
    let ended = run.read_all();
    let Run { pages, issues, commits, .. } = run;
    let mut summary = Summary { source: plan.source.clone(), ..Summary::default() };
    match ended {
        Ok(complete) => summary.complete = complete,
        Err(error) if error.kind() == ErrorKind::Retryable && !(issues.is_empty() && commits.is_empty()) => {
            summary.interrupted = Some(error.message().to_owned());
            summary.retry_after_s = error.retry_after().map(|wait| wait.max(Duration::from_secs(1)).as_secs());
        }
        Err(error) => return Err(error),
    }
    (summary.issues, summary.commits, summary.pages) = (issues.len(), commits.len(), pages);
    let mut outcomes = vec![Outcome::Synced(summary)];
    outcomes.extend((!issues.is_empty()).then_some(Outcome::Issues(issues)));
    outcomes.extend((!commits.is_empty()).then_some(Outcome::Commits(commits)));
    Ok(outcomes)
}

/// Starts the next call, in a grid, if this one was not the last and nothing says to wait. A chain of calls that has become too
/// long ends without a failure: what was read is kept, and the next event from outside goes on.
///
/// # Errors
/// The node was not granted the grid, and what else [`outbox`] says.
pub fn go_on(outcomes: &[Outcome], grid: Option<&str>, event: &Value) -> Result<()> {
    let (Some(Outcome::Synced(summary)), Some(grid)) = (outcomes.first(), grid) else { return Ok(()) };
    if summary.complete || summary.interrupted.is_some() {
        return Ok(());
    }
    match outbox::emit(grid, event) {
        Err(outbox::Error::HopLimit(reason)) => log::warn!("the next event from outside goes on: {reason}"),
        emitted => emitted?,
    }
    Ok(())
}

/// One call.
struct Run<'a, F> {
    forge: &'a F,
    plan: &'a Plan,
    pages: u32,
    elements: usize,
    written_bytes: usize,
    /// Keys of what has changed.
    issues: Vec<String>,
    commits: Vec<String>,
}

impl<F: Forge> Run<'_, F> {
    /// Reads both lists. Whether they were read to their ends.
    fn read_all(&mut self) -> Result<bool> {
        let (forge, plan) = (self.forge, self.plan);
        if let Some(collection) = &plan.issues {
            let stream = Issues { forge, collection: records::collection(collection) };
            if !self.read(&stream, |run| &mut run.issues)? {
                return Ok(false);
            }
        }
        if let Some(collection) = &plan.commits {
            let stream = Commits { forge, plan, collection: records::collection(collection) };
            return self.read(&stream, |run| &mut run.commits);
        }
        Ok(true)
    }

    /// Whether one page more might be more than a call may do.
    fn has_done_enough(&self) -> bool {
        self.pages >= self.plan.pages_max
            || self.elements >= ELEMENTS_ENOUGH
            || self.written_bytes >= WRITTEN_BYTES_ENOUGH
    }

    /// Reads a list from where the last call has left it. Whether it was read to its end.
    fn read(&mut self, stream: &impl Stream, changed: impl Fn(&mut Self) -> &mut Vec<String>) -> Result<bool> {
        let mut progress = Progress::load(self.plan, stream.name())?;
        loop {
            if self.has_done_enough() {
                return Ok(false);
            }
            let url = progress.next.clone().unwrap_or_else(|| stream.first_url(progress.since.as_deref()));
            let Some(page) = Page::fetch(self.forge, url, &progress)? else { return Ok(true) };
            self.pages += 1;
            self.elements += page.elements.len();
            let mut last = None;
            for element in &page.elements {
                let Some(kept) = stream.keep(element, self.plan.text_bytes_max)? else { continue };
                last = Some(kept.time);
                if let Some((key, bytes)) = kept.written {
                    changed(self).push(key);
                    self.written_bytes += bytes;
                }
            }
            let is_last = stream.advance(&mut progress, &page, last);
            progress.save(self.plan, stream.name())?;
            if is_last {
                return Ok(true);
            }
        }
    }
}
