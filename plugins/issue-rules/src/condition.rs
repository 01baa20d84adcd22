//! When a rule holds.

use expression::Expression;
use service::{Span, time};
use trellis_sdk::{
    Error, Result, Value, data,
    records::issue::{Issue, State},
};

use crate::Rule;

/// When a rule holds: when all of this does.
#[data]
#[derive(Clone, Debug, Default)]
#[serde(default)]
pub struct When {
    /// The state of the issue.
    pub state: IssueState,
    /// It has one of these labels, upper and lower case alike.
    pub labels_any: Vec<String>,
    /// It has none of these labels.
    pub labels_none: Vec<String>,
    /// Whether it has a label at all.
    pub labelled: Option<bool>,
    /// Whether somebody is assigned.
    pub assigned: Option<bool>,
    /// One of these users wrote it.
    pub authors: Vec<String>,
    /// It has not changed for so long.
    pub idle_for: Option<Span>,
    /// It was written so long ago.
    pub older_than: Option<Span>,
    /// A jq expression that is true for it. The issue is `.`.
    pub expression: Option<String>,
}

/// The state of an issue, for a rule.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum IssueState {
    /// It is open.
    #[default]
    Open,
    /// It is closed.
    Closed,
    /// Either.
    Any,
}

/// The conditions of a rule, with its expression compiled.
pub(crate) struct Conditions<'a> {
    rule: &'a Rule,
    expression: Option<Expression>,
}

impl<'a> Conditions<'a> {
    /// # Errors
    /// Invalid config: there is a mistake in the expression.
    pub(crate) fn of(rule: &'a Rule) -> Result<Self> {
        let expression = rule.when.expression.as_deref().map(Expression::parse).transpose();
        let expression = expression.map_err(|mistake| {
            Error::invalid_config(format_args!("rule `{}`: `when.expression`: {mistake}", rule.name))
        })?;
        Ok(Self { rule, expression })
    }

    /// Whether all of them hold. `now`: Unix seconds.
    ///
    /// # Errors
    /// Permanent: the expression fails.
    pub(crate) fn hold(&self, issue: &Issue, now: i64) -> Result<bool> {
        let When { state, labels_any, labels_none, labelled, assigned, authors, idle_for, older_than, .. } =
            &self.rule.when;
        let has = |label: &String| issue.labels.iter().any(|own| own.to_lowercase() == label.to_lowercase());
        let has_author = |author: &String| issue.author.as_ref() == Some(author);
        let state_holds = match state {
            IssueState::Open => issue.state == State::Open,
            IssueState::Closed => issue.state == State::Closed,
            IssueState::Any => true,
        };
        let holds = state_holds
            && (labels_any.is_empty() || labels_any.iter().any(has))
            && !labels_none.iter().any(has)
            && labelled.is_none_or(|labelled| labelled != issue.labels.is_empty())
            && assigned.is_none_or(|assigned| assigned != issue.assignees.is_empty())
            && (authors.is_empty() || authors.iter().any(has_author))
            && has_passed(*idle_for, &issue.updated_at, now)
            && has_passed(*older_than, &issue.created_at, now);
        Ok(holds && self.expression_holds(issue)?)
    }

    fn expression_holds(&self, issue: &Issue) -> Result<bool> {
        let Some(expression) = &self.expression else { return Ok(true) };
        let issue: Value = serde_json::to_value(issue)?;
        let first = expression.values(issue, expression::current_event()).next().transpose();
        let first = first.map_err(|failure| {
            Error::permanent(format_args!("rule `{}`: `when.expression`: {failure}", self.rule.name))
        })?;
        Ok(!matches!(first, None | Some(Value::Null | Value::Bool(false))))
    }
}

/// A time that cannot be read has not passed.
fn has_passed(span: Option<Span>, since: &str, now: i64) -> bool {
    let Some(span) = span else { return true };
    time::seconds(since).is_some_and(|since| since.saturating_add(span.as_seconds()) <= now)
}
