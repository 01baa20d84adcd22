//! The two lists: what a page of each is, what is kept of it, and where the next one begins.

use trellis_sdk::{
    Error, Result, Value, http,
    records::{Collection, commit::Commit, issue::Issue},
};

use super::{Forge, Plan, progress::Progress};
use crate::{next_page, time, unwelcome};

/// A page of a list.
pub(super) struct Page {
    pub url: String,
    pub elements: Vec<Value>,
    /// The address of the next one.
    pub next: Option<String>,
    /// What the forge knows this state of the page by.
    pub tag: Option<String>,
}

impl Page {
    /// Fetches a page; none if it is the one that was seen before, unchanged.
    pub fn fetch(forge: &impl Forge, url: String, progress: &Progress) -> Result<Option<Self>> {
        let mut request = forge.request(&url);
        if let Some(tag) = progress.seen_tag.as_ref().filter(|_| progress.seen_url.as_ref() == Some(&url)) {
            request = request.header("if-none-match", tag);
        }
        let response = request.send().map_err(|error| match error {
            http::Error::TooLarge => Error::permanent(format_args!("{error}; lower `per_page`")),
            other => other.into(),
        })?;
        match response.status {
            304 => Ok(None),
            200..300 => Ok(Some(Self {
                elements: response.json()?,
                next: next_page(&response),
                tag: response.header("etag").map(str::to_owned),
                url,
            })),
            _ => Err(unwelcome(&response)),
        }
    }
}

/// An element of a page.
pub(super) struct Kept {
    /// What the list is ordered by.
    pub time: String,
    /// Key and bytes, if the record is new or has changed.
    pub written: Option<(String, usize)>,
}

/// A list of a forge.
pub(super) trait Stream {
    fn name(&self) -> &'static str;

    fn first_url(&self, since: Option<&str>) -> String;

    /// Writes the record that an element is, unless it is there already. None: the element is no part of the list.
    fn keep(&self, element: &Value, text_bytes_max: usize) -> Result<Option<Kept>>;

    /// Moves on behind a page whose last element has this time. Whether that was the last page.
    fn advance(&self, progress: &mut Progress, page: &Page, last: Option<String>) -> bool;
}

/// Issues, the one that changed longest ago first.
pub(super) struct Issues<'a, F> {
    pub forge: &'a F,
    pub collection: Collection<Issue>,
}

impl<F: Forge> Stream for Issues<'_, F> {
    fn name(&self) -> &'static str {
        "issues"
    }

    fn first_url(&self, since: Option<&str>) -> String {
        self.forge.issues_url(since)
    }

    fn keep(&self, element: &Value, text_bytes_max: usize) -> Result<Option<Kept>> {
        let Some(mut issue) = self.forge.issue(element) else {
            // Something else that counts in the order of the list.
            let time = element["updated_at"].as_str().and_then(time::normal);
            return Ok(time.map(|time| Kept { time, written: None }));
        };
        issue.body = issue.body.map(|body| shortened(body, text_bytes_max)).filter(|body| !body.is_empty());
        let (key, time) = (issue.key(), issue.updated_at.clone());
        if self.collection.get(&key)?.as_ref() == Some(&issue) {
            return Ok(Some(Kept { time, written: None }));
        }
        self.collection.put(&key, &issue)?;
        let bytes = key.len() + issue.title.len() + issue.body.as_ref().map_or(0, String::len);
        Ok(Some(Kept { time, written: Some((key, bytes)) }))
    }

    fn advance(&self, progress: &mut Progress, page: &Page, last: Option<String>) -> bool {
        let moved = last.filter(|last| progress.since.as_ref().is_none_or(|since| last > since));
        let has_moved = moved.is_some();
        if let Some(last) = moved {
            progress.since = Some(last);
        }
        // A whole page of one second: only the forge's own count leads behind it.
        progress.next = page.next.clone().filter(|_| !has_moved);
        let is_last = page.next.is_none();
        if is_last && !has_moved {
            (progress.seen_url, progress.seen_tag) = (Some(page.url.clone()), page.tag.clone());
        }
        is_last
    }
}

/// Commits, newest first.
pub(super) struct Commits<'a, F> {
    pub forge: &'a F,
    pub plan: &'a Plan,
    pub collection: Collection<Commit>,
}

impl<F: Forge> Stream for Commits<'_, F> {
    fn name(&self) -> &'static str {
        "commits"
    }

    fn first_url(&self, since: Option<&str>) -> String {
        let since = since.and_then(time::seconds).map(|since| since.saturating_sub(self.plan.overlap.as_seconds()));
        self.forge.commits_url(since.map(time::rfc3339).as_deref())
    }

    /// A commit never changes.
    fn keep(&self, element: &Value, text_bytes_max: usize) -> Result<Option<Kept>> {
        let Some(mut commit) = self.forge.commit(element) else { return Ok(None) };
        commit.message = commit.message.map(|message| shortened(message, text_bytes_max));
        commit.branch.clone_from(&self.plan.branch);
        let (key, time) = (commit.key(), commit.created_at.clone());
        if self.collection.entry(&key)?.is_some() {
            return Ok(Some(Kept { time, written: None }));
        }
        self.collection.put(&key, &commit)?;
        let bytes = key.len() + commit.title.len() + commit.message.as_ref().map_or(0, String::len);
        Ok(Some(Kept { time, written: Some((key, bytes)) }))
    }

    fn advance(&self, progress: &mut Progress, page: &Page, _last: Option<String>) -> bool {
        if progress.next.is_none() {
            // The first page has the newest, and says next time whether anything has changed.
            progress.newest =
                page.elements.first().and_then(|first| self.forge.commit(first)).map(|commit| commit.created_at);
            (progress.seen_url, progress.seen_tag) = (Some(page.url.clone()), page.tag.clone());
        }
        progress.next.clone_from(&page.next);
        if page.next.is_none() {
            let newest = progress.newest.take();
            progress.since = progress.since.take().max(newest);
            return true;
        }
        false
    }
}

/// What stands for the rest of a text.
const MARK: &str = "…";

/// The beginning of a text, within so many bytes.
fn shortened(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}
