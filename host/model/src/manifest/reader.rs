//! Reads typed values out of a document and collects every fault on the way, instead of stopping at the first.

use std::{fmt, str::FromStr};

use super::document::{Entry, Item, ItemKind, Place};
use crate::{
    description::check_name,
    fault::{Fault, did_you_mean},
};

/// Faults shown at most: more are no help to anybody.
pub const FAULTS_MAX: usize = 100;

/// Collects faults while a document is read.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn push(&mut self, fault: Fault) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(fault);
        }
    }

    /// Whether further faults would not be shown: no use in looking for words that describe them.
    pub fn is_full(&self) -> bool {
        self.0.len() >= FAULTS_MAX
    }

    pub fn into_vec(self) -> Vec<Fault> {
        self.0
    }

    pub fn into_result<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }

    fn expected(&mut self, item: &Item, what: &str) {
        self.push(item.place.fault(format!("expected {what}, found {}", item.kind_name())));
    }

    pub fn text(&mut self, item: &Item) -> Option<String> {
        let ItemKind::Text(text) = &item.kind else {
            self.expected(item, "a string");
            return None;
        };
        Some(text.clone())
    }

    /// A string that means something: `FromStr` says what.
    pub fn parsed<T: FromStr>(&mut self, item: &Item) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        let text = self.text(item)?;
        text.parse().map_err(|error| self.push(item.place.fault(format!("{error}")))).ok()
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, item: &Item, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(item)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.push(item.place.fault(format!("`{text}` is not known here")).fix(suggestion(&text, &known)));
        }
        found
    }

    pub fn whole_number(&mut self, item: &Item, least: u64, most: u64) -> Option<u64> {
        let ItemKind::Number(number) = &item.kind else {
            self.expected(item, "a whole number");
            return None;
        };
        let value = number.as_u64().filter(|value| (least..=most).contains(value));
        if value.is_none() {
            self.push(item.place.fault(format!("{number} is out of range; from {least} to {most} is allowed")));
        }
        value
    }

    pub fn number(&mut self, item: &Item, least: f64, most: f64) -> Option<f64> {
        let ItemKind::Number(number) = &item.kind else {
            self.expected(item, "a number");
            return None;
        };
        let value = number.as_f64().filter(|value| (least..=most).contains(value));
        if value.is_none() {
            self.push(item.place.fault(format!("{number} is out of range; from {least} to {most} is allowed")));
        }
        value
    }

    /// A duration such as `"250ms"`, `"20s"`, `"10m"`, in milliseconds.
    pub fn duration_ms(&mut self, item: &Item, least: u64, most: u64) -> Option<u64> {
        let text = self.text(item)?;
        match parse_duration_ms(&text) {
            Some(value) if (least..=most).contains(&value) => return Some(value),
            Some(value) => {
                debug_assert!(value < least || value > most);
                self.out_of_range(item, &text, &shown(least, &DURATION_UNITS), &shown(most, &DURATION_UNITS));
            }
            None => {
                let fault = item.place.fault(format!("`{text}` is no duration"));
                self.push(fault.fix("write a number and a unit: ms, s, m, h or d, such as \"20s\""));
            }
        }
        None
    }

    /// A size such as `"64MiB"` or `"512KiB"`, in bytes.
    pub fn bytes(&mut self, item: &Item, least: u64, most: u64) -> Option<u64> {
        let text = self.text(item)?;
        match parse_bytes(&text) {
            Some(value) if (least..=most).contains(&value) => return Some(value),
            Some(value) => {
                debug_assert!(value < least || value > most);
                self.out_of_range(item, &text, &shown(least, &BYTE_UNITS), &shown(most, &BYTE_UNITS));
            }
            None => {
                let fault = item.place.fault(format!("`{text}` is no size"));
                self.push(fault.fix("write a number and a unit: B, KiB, MiB or GiB, such as \"64MiB\""));
            }
        }
        None
    }

    fn out_of_range(&mut self, item: &Item, text: &str, least: &str, most: &str) {
        self.push(item.place.fault(format!("`{text}` is out of range; from {least} to {most} is allowed")));
    }

    pub fn list<'i>(&mut self, item: &'i Item) -> &'i [Item] {
        let ItemKind::List(items) = &item.kind else {
            self.expected(item, "an array");
            return &[];
        };
        items
    }

    /// A table whose keys are names that the writer chose.
    pub fn named_entries<'i>(&mut self, item: &'i Item, what: &str) -> &'i [Entry] {
        let ItemKind::Table(entries) = &item.kind else {
            self.expected(item, "a table");
            return &[];
        };
        for entry in entries {
            if self.is_full() {
                break;
            }
            self.name(&entry.name, &entry.key_place, what);
        }
        entries
    }

    /// Checks the rule for names.
    pub fn name(&mut self, name: &str, place: &Place, what: &str) {
        if let Err(reason) = check_name(name) {
            let fault = place.fault(format!("{what} name `{name}` {reason}"));
            self.push(fault.fix("use letters, digits, `_` and `-`, beginning with a letter"));
        }
    }

    /// A table whose keys are fixed: unknown ones are faults.
    pub fn fields<'i>(&mut self, item: &'i Item, known: &[&str]) -> Fields<'i> {
        let ItemKind::Table(entries) = &item.kind else {
            self.expected(item, "a table");
            return Fields { item, entries: &[] };
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
            if self.is_full() {
                break;
            }
            let fault = entry.key_place.fault(format!("unknown key `{}`", entry.name));
            self.push(fault.fix(suggestion(&entry.name, known)));
        }
        Fields { item, entries }
    }
}

/// The entries of a table with fixed keys.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'i> {
    item: &'i Item,
    entries: &'i [Entry],
}

impl<'i> Fields<'i> {
    pub fn optional(self, name: &str) -> Option<&'i Item> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| &entry.item)
    }

    pub fn required(self, faults: &mut Faults, name: &str, fix: &str) -> Option<&'i Item> {
        let found = self.optional(name);
        if found.is_none() && matches!(self.item.kind, ItemKind::Table(_)) {
            faults.push(self.item.place.fault(format!("`{name}` is missing")).fix(fix));
        }
        found
    }
}

fn suggestion(written: &str, known: &[&str]) -> String {
    match did_you_mean(written, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

fn parse_duration_ms(text: &str) -> Option<u64> {
    parse_with_unit(text, &DURATION_UNITS)
}

fn parse_bytes(text: &str) -> Option<u64> {
    parse_with_unit(text, &BYTE_UNITS)
}

/// Names of units and what they come to in milliseconds, the largest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// The same in bytes.
const BYTE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number in the largest unit that loses nothing, as a person would write it here.
fn shown(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| number != 0 && number.is_multiple_of(*factor);
    let smallest = units.last().expect("there are units");
    let (name, factor) = units.iter().find(fits).unwrap_or(smallest);
    format!("{}{name}", number / factor)
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    units.iter().find(|(name, _)| *name == unit).and_then(|(_, factor)| number.checked_mul(*factor))
}
