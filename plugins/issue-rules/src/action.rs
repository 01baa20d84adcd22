//! What rules ask for, gathered by kind.

use trellis_sdk::{data, records::issue::Issue};

use crate::{Outcome, Rule, Summary};

/// Labels of one issue to add and to take away.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelling {
    /// The key of the issue.
    pub issue: String,
    /// Its repository at the forge, such as `acme/shop`.
    pub repository: String,
    /// Its number there.
    pub number: Option<u64>,
    /// Labels that it does not have yet.
    pub add: Vec<String>,
    /// Labels that it has.
    pub remove: Vec<String>,
}

/// Users to assign to one issue.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The key of the issue.
    pub issue: String,
    /// Its repository at the forge.
    pub repository: String,
    /// Its number there.
    pub number: Option<u64>,
    /// Users who are not assigned yet.
    pub assign: Vec<String>,
}

/// A comment to write to one issue.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The key of the issue.
    pub issue: String,
    /// Its repository at the forge.
    pub repository: String,
    /// Its number there.
    pub number: Option<u64>,
    /// The text.
    pub body: String,
}

/// What to tell people about one issue.
#[data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The key of the issue.
    pub issue: String,
    /// The rule that fired.
    pub rule: String,
    /// The title of the issue.
    pub title: String,
    /// Where it is.
    pub url: Option<String>,
    /// The text.
    pub text: String,
}

/// What the rules ask for.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    pub(crate) fired: usize,
    labels: Vec<Labelling>,
    assignees: Vec<Assignment>,
    comments: Vec<Comment>,
    notifications: Vec<Notification>,
}

impl Actions {
    /// Gathers what a rule asks for, as far as the issue does not have it yet.
    pub(crate) fn fire(&mut self, rule: &Rule, key: &str, issue: &Issue) {
        self.fired += 1;
        let (issue_key, number) = (key.to_owned(), issue.number);
        let repository = issue.source.split_once(':').map_or("", |(_, repository)| repository).to_owned();
        let missing = |wanted: &[String], there: &[String]| -> Vec<String> {
            wanted.iter().filter(|one| !there.contains(one)).cloned().collect()
        };
        let add = missing(&rule.label, &issue.labels);
        let remove: Vec<String> = rule.unlabel.iter().filter(|label| issue.labels.contains(label)).cloned().collect();
        if !add.is_empty() || !remove.is_empty() {
            self.labels.push(Labelling {
                issue: issue_key.clone(),
                repository: repository.clone(),
                number,
                add,
                remove,
            });
        }
        let assign = missing(&rule.assign, &issue.assignees);
        if !assign.is_empty() {
            let (issue, repository) = (issue_key.clone(), repository.clone());
            self.assignees.push(Assignment { issue, repository, number, assign });
        }
        if let Some(comment) = &rule.comment {
            let body = filled(comment, rule, issue);
            self.comments.push(Comment { issue: issue_key.clone(), repository, number, body });
        }
        if let Some(notify) = &rule.notify {
            self.notifications.push(Notification {
                issue: issue_key,
                rule: rule.name.clone(),
                title: issue.title.clone(),
                url: issue.url.clone(),
                text: filled(notify, rule, issue),
            });
        }
    }

    pub(crate) fn into_outcomes(self, summary: Summary) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Checked(summary)];
        outcomes.extend((!self.labels.is_empty()).then_some(Outcome::Labels(self.labels)));
        outcomes.extend((!self.assignees.is_empty()).then_some(Outcome::Assignees(self.assignees)));
        outcomes.extend((!self.comments.is_empty()).then_some(Outcome::Comments(self.comments)));
        outcomes.extend((!self.notifications.is_empty()).then_some(Outcome::Notifications(self.notifications)));
        outcomes
    }
}

/// The text with the issue's values in it. What an issue says is never taken for a placeholder itself.
fn filled(text: &str, rule: &Rule, issue: &Issue) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        let found = behind.split_once('}').and_then(|(name, after)| Some((value(name, rule, issue)?, after)));
        match found {
            Some((value, after)) => {
                filled.push_str(&value);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = behind;
            }
        }
    }
    filled.push_str(rest);
    filled
}

fn value(name: &str, rule: &Rule, issue: &Issue) -> Option<String> {
    Some(match name {
        "title" => issue.title.clone(),
        "number" => issue.number.map_or_else(|| issue.id.clone(), |number| number.to_string()),
        "url" => issue.url.clone().unwrap_or_default(),
        "author" => issue.author.clone().unwrap_or_default(),
        "rule" => rule.name.clone(),
        _ => return None,
    })
}
