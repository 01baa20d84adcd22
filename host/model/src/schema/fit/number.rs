//! Ranges of numbers. They are compared as doubles: what is told to clash does so by their exact values as well, because
//! rounding keeps the order, and where it could make two numbers one, nothing is told.

use serde_json::Value;

use super::{Clash, Search, Side, Term, kinds::Kinds};

/// Up to here doubles hold every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A range; either end may be left open.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    least: f64,
    is_least_open: bool,
    most: f64,
    is_most_open: bool,
}

impl Range {
    pub fn of<'t, 's: 't>(terms: impl Iterator<Item = &'t Term<'s>>) -> Self {
        let all = Self { least: f64::NEG_INFINITY, is_least_open: false, most: f64::INFINITY, is_most_open: false };
        terms.fold(all, |range, term| {
            let number = |key| term.key(key).and_then(Value::as_f64);
            let range = number("minimum").map_or(range, |least| range.from(least, false));
            let range = number("exclusiveMinimum").map_or(range, |least| range.from(least, true));
            let range = number("maximum").map_or(range, |most| range.to(most, false));
            number("exclusiveMaximum").map_or(range, |most| range.to(most, true))
        })
    }

    fn from(self, least: f64, is_open: bool) -> Self {
        if least > self.least || least == self.least && is_open {
            Self { least, is_least_open: is_open, ..self }
        } else {
            self
        }
    }

    fn to(self, most: f64, is_open: bool) -> Self {
        if most < self.most || most == self.most && is_open {
            Self { most, is_most_open: is_open, ..self }
        } else {
            self
        }
    }

    /// Whether no number is in it; no whole one, if only those count.
    pub fn is_empty(self, is_whole: bool) -> bool {
        let is_exact = self.least.abs() < EXACT_MAX && self.most.abs() < EXACT_MAX;
        if self.least > self.most || self.least == self.most && is_exact && (self.is_least_open || self.is_most_open) {
            return true;
        }
        if !is_whole || !is_exact {
            return false;
        }
        let first = if self.is_least_open { self.least.floor() + 1.0 } else { self.least.ceil() };
        let last = if self.is_most_open { self.most.ceil() - 1.0 } else { self.most.floor() };
        first > last
    }

    /// Whether a number lies outside of it, for certain.
    pub fn excludes(self, number: f64) -> bool {
        let is_exact = number.abs() < EXACT_MAX;
        number < self.least
            || number > self.most
            || is_exact && (self.is_least_open && number == self.least || self.is_most_open && number == self.most)
    }

    fn words(self, is_whole: bool) -> String {
        let kind = if is_whole { "an integer" } else { "a number" };
        let least = self
            .least
            .is_finite()
            .then(|| format!("{} {}", if self.is_least_open { "more than" } else { "at least" }, self.least));
        let most = self
            .most
            .is_finite()
            .then(|| format!("{} {}", if self.is_most_open { "less than" } else { "at most" }, self.most));
        match (least, most) {
            (None, None) => kind.to_owned(),
            (Some(one), None) | (None, Some(one)) => format!("{kind} of {one}"),
            (Some(least), Some(most)) => format!("{kind} of {least} and {most}"),
        }
    }
}

pub fn clash(search: &Search, plain: &[Term<'_>], kinds: Kinds) -> Option<Clash> {
    if !Range::of(plain.iter()).is_empty(kinds.is_whole) {
        return None;
    }
    let words = |side: Side| {
        let own = plain.iter().filter(|term| term.side == side);
        let is_whole = own.clone().fold(Kinds::ALL, |kinds, term| kinds.and(Kinds::of(term))).is_whole;
        Range::of(own).words(is_whole)
    };
    Some(search.told(words(Side::Given), words(Side::Taken)))
}
