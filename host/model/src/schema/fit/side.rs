//! The two sides of an edge, and what each of them is in a few words.

use serde_json::Value;

use super::{Term, kinds::Kinds, rejects};

/// Values of a list that are written out.
const VALUES_MAX: usize = 6;
/// Longest value that is written out, in characters.
const VALUE_MAX: usize = 40;

/// Where a schema comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What comes.
    Given,
    /// What is taken.
    Taken,
}

impl Side {
    /// What the terms of this side allow.
    pub fn words(self, terms: &[Term<'_>]) -> String {
        let own = || terms.iter().filter(move |term| term.side == self);
        if let Some(values) = own().find_map(rejects::listed) {
            return list(&values);
        }
        if let Some(step) = own().find_map(|term| term.at.first()) {
            return format!("a value with `{step}`");
        }
        own().fold(Kinds::ALL, |kinds, term| kinds.and(Kinds::of(term))).words()
    }

    /// The same with the bounds that these two keywords set.
    pub fn bounded_words(self, terms: &[Term<'_>], kind: &str, what: &str, [least, most]: [&str; 2]) -> String {
        let own = || terms.iter().filter(move |term| term.side == self);
        let least = own().filter_map(|term| term.count(least)).max();
        let most = own().filter_map(|term| term.count(most)).min();
        match (least, most) {
            (None, None) => kind.to_owned(),
            (Some(least), None) => format!("{kind} of at least {least} {what}"),
            (None, Some(most)) => format!("{kind} of at most {most} {what}"),
            (Some(least), Some(most)) => format!("{kind} of {least} to {most} {what}"),
        }
    }
}

fn list(values: &[&Value]) -> String {
    let shown = |value: &&Value| {
        let text = value.to_string();
        match text.char_indices().nth(VALUE_MAX) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    };
    let words: Vec<String> = values.iter().take(VALUES_MAX).map(shown).collect();
    let more = if values.len() > VALUES_MAX { ", …" } else { "" };
    match words.as_slice() {
        [one] => one.clone(),
        words => format!("one of {}{more}", words.join(", ")),
    }
}
