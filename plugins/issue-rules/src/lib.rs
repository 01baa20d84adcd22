//! Checks issues against rules, and says what is to be done: labels, assignees, comments, notifications.
//!
//! Does nothing itself: each kind of action is a port, for the nodes behind it to carry out. Remembers which rules have fired
//! for which issue, so that a rule fires once as long as it holds. When a rule holds is `condition`'s part.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod action;
mod condition;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use service::{Span, time};
use trellis_sdk::{
    records::{Collection, issue::Issue},
    *,
};

use action::Actions;
use condition::Conditions;

pub use action::{Assignment, Comment, Labelling, Notification};
pub use condition::{IssueState, When};

/// Where the next sweep goes on, in the store.
const SWEEP: &str = "sweep";

/// The rules, and where issues are.
#[data]
#[derive(Clone, Debug)]
pub struct Config {
    /// All rules. Each is checked for each issue.
    pub rules: Vec<Rule>,
    /// The collection of issues.
    #[serde(default = "collection")]
    pub collection: String,
    /// The name of an index of the collection on `/state`: a sweep then reads open issues alone.
    #[serde(default)]
    pub state_index: Option<String>,
    /// Most issues of one call.
    #[serde(default = "issues_max")]
    pub issues_max: u32,
    /// The store that remembers which rules have fired.
    #[serde(default = "store")]
    pub store: String,
}

fn collection() -> String {
    "issues".into()
}

fn issues_max() -> u32 {
    200
}

fn store() -> String {
    "issue-rules".into()
}

/// A rule: when it holds, and what is to be done then. In texts, `{title}`, `{number}`, `{url}`, `{author}` and `{rule}` stand for
/// those of the issue.
#[data]
#[derive(Clone, Debug, Default)]
#[serde(default)]
pub struct Rule {
    /// What the rule is called.
    pub name: String,
    /// When it holds.
    pub when: When,
    /// Labels to add.
    pub label: Vec<String>,
    /// Labels to take away.
    pub unlabel: Vec<String>,
    /// Users to assign.
    pub assign: Vec<String>,
    /// A comment to write.
    pub comment: Option<String>,
    /// What to tell people.
    pub notify: Option<String>,
    /// Fire again after this time, as long as it holds. Otherwise it fires once.
    pub again_after: Option<Span>,
}

/// What is checked.
#[inputs]
#[derive(Default)]
pub struct Inputs {
    /// Keys of the issues to check, as `github-sync` and `gitlab-sync` emit them. Without it, all issues are swept, so many a call.
    keys: Option<Vec<String>>,
    /// Anything: starts a sweep.
    #[port(name = "in")]
    _event: Option<Value>,
}

/// What is to be done.
#[derive(Ports, Debug, PartialEq)]
pub enum Outcome {
    /// What was checked. Always.
    Checked(Summary),
    /// Labels to add and to take away, if there are any.
    Labels(Vec<Labelling>),
    /// Users to assign, if there are any.
    Assignees(Vec<Assignment>),
    /// Comments to write, if there are any.
    Comments(Vec<Comment>),
    /// What to tell people, if there is anything.
    Notifications(Vec<Notification>),
}

/// What was checked.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Issues that were checked.
    pub issues: usize,
    /// Rules that fired, over all of them.
    pub fired: usize,
    /// Whether all issues were checked, or all that were named. Otherwise the next sweep goes on.
    pub complete: bool,
}

/// When each rule has fired for an issue and holds since, in Unix seconds by name.
type Fired = BTreeMap<String, i64>;

/// Checks issues against rules.
#[transformer]
pub fn issue_rules(input: Inputs, config: Config) -> Result<Vec<Outcome>> {
    let rules = checked(&config)?;
    let now = time::now();
    let store = storage::store(config.store.as_str());
    let issues = records::collection(config.collection.as_str());
    let (found, complete) = match input.keys {
        Some(keys) => (by_keys(&issues, &keys, &config)?, keys.len() <= config.issues_max as usize),
        None => swept(&issues, &store, &config)?,
    };
    let mut actions = Actions::default();
    for (key, issue) in &found {
        check(key, issue, &rules, &store, now, &mut actions)?;
    }
    let summary = Summary { issues: found.len(), fired: actions.fired, complete };
    Ok(actions.into_outcomes(summary))
}

fn checked(config: &Config) -> Result<Vec<(&Rule, Conditions<'_>)>> {
    if config.rules.is_empty() || config.issues_max == 0 {
        return Err(Error::invalid_config(
            "`rules` is empty, or `issues_max` is 0; write a rule, such as `{ name = …, when = …, label = […] }`",
        ));
    }
    let mut rules: Vec<(&Rule, Conditions<'_>)> = Vec::new();
    for (place, rule) in config.rules.iter().enumerate() {
        let does = [&rule.label, &rule.unlabel, &rule.assign].iter().any(|list| !list.is_empty());
        let fault = if rule.name.is_empty() {
            "it has no `name`"
        } else if rules.iter().any(|(other, _)| other.name == rule.name) {
            "another rule has the same name"
        } else if !does && rule.comment.is_none() && rule.notify.is_none() {
            "it does nothing; give it `label`, `unlabel`, `assign`, `comment` or `notify`"
        } else {
            rules.push((rule, Conditions::of(rule)?));
            continue;
        };
        return Err(Error::invalid_config(format_args!("`rules[{place}]` (`{}`): {fault}", rule.name)));
    }
    Ok(rules)
}

fn by_keys(issues: &Collection<Issue>, keys: &[String], config: &Config) -> Result<Vec<(String, Issue)>> {
    let most = config.issues_max as usize;
    if keys.len() > most {
        log::warn!("{} issues at once; {most} are checked now and the others by the next sweep", keys.len());
    }
    let mut found = Vec::new();
    for key in keys.iter().take(most) {
        match issues.get(key)? {
            Some(issue) => found.push((key.clone(), issue)),
            None => log::debug!("there is no issue {key} any more"),
        }
    }
    Ok(found)
}

/// The next issues of the collection, from where the last sweep has left it; and whether these were the last.
fn swept(issues: &Collection<Issue>, store: &storage::Store, config: &Config) -> Result<(Vec<(String, Issue)>, bool)> {
    let mut query = issues.query().page_size(config.issues_max);
    if let Some(index) = &config.state_index {
        query = query.equal(index, "open");
    }
    if let Some(cursor) = store.get_json::<String>(SWEEP)? {
        query = query.after(cursor);
    }
    let page = query.page()?;
    match &page.next {
        Some(next) => store.set_json(SWEEP, next)?,
        None => store.delete(SWEEP)?,
    }
    let found = page.records.into_iter().map(|entry| (entry.key, entry.data)).collect();
    Ok((found, page.next.is_none()))
}

fn check(
    key: &str,
    issue: &Issue,
    rules: &[(&Rule, Conditions<'_>)],
    store: &storage::Store,
    now: i64,
    actions: &mut Actions,
) -> Result<()> {
    let remembered = format!("fired/{key}");
    let before: Fired = store.get_json(&remembered)?.unwrap_or_default();
    let mut after = Fired::new();
    for (rule, conditions) in rules {
        if !conditions.hold(issue, now)? {
            continue;
        }
        let is_again = |at: i64| rule.again_after.is_some_and(|span| now >= at.saturating_add(span.as_seconds()));
        let at = match before.get(&rule.name) {
            Some(at) if !is_again(*at) => *at,
            _ => {
                actions.fire(rule, key, issue);
                now
            }
        };
        after.insert(rule.name.clone(), at);
    }
    if after.is_empty() && !before.is_empty() {
        store.delete(&remembered)?;
    } else if after != before {
        store.set_json(&remembered, &after)?;
    }
    Ok(())
}
