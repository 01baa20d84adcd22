//! One mistake in something that a person wrote: where it is, what is wrong, how to mend it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mistake in a manifest, a description or an upload. Faults are collected, so that a person sees all of them at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// A JSON Pointer into the document, such as `/grids/total/nodes/rate/inputs`.
    pub pointer: String,
    /// 1-based line, where the document was text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// 1-based column in characters, where the document was text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong, with the offending value.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// The longest text of a fault, in bytes. What was written stands in it, and that may be a megabyte, a hundred times over.
const TEXT_BYTES_MAX: usize = 2_048;

/// Text that is cut where it is too long to be read.
fn bounded(text: impl Into<String>) -> String {
    let mut text = text.into();
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

impl Fault {
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: bounded(pointer), line: None, column: None, message: bounded(message), fix: None }
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(bounded(fix));
        self
    }

    /// Whether one of two faults lies on the way to the other: what one has taken away is not missed a second time.
    pub fn is_related_to(&self, other: &Self) -> bool {
        let leads_through = |long: &str, short: &str| {
            !short.is_empty() && long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        leads_through(&self.pointer, &other.pointer) || leads_through(&other.pointer, &self.pointer)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) if self.pointer.is_empty() => write!(f, "line {line}, column {column}: ")?,
            (Some(line), Some(column)) => write!(f, "line {line}, column {column} ({}): ", self.pointer)?,
            _ if self.pointer.is_empty() => {}
            _ => write!(f, "{}: ", self.pointer)?,
        }
        f.write_str(&self.message)?;
        match &self.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

/// Puts faults into the order in which a person meets them, where the document was text.
pub fn sort(faults: &mut [Fault]) {
    faults.sort_by_key(|fault| (fault.line, fault.column));
}

/// The name among `known` that `written` was probably meant to be: at most two edits away, or a third of its length.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let farthest = (written.chars().count() / 3).clamp(1, 2);
    let length = written.chars().count();
    known
        .into_iter()
        .filter(|name| name.chars().count().abs_diff(length) <= farthest)
        // Two letters that changed places are one slip, not two.
        .map(|name| (strsim::osa_distance(written, name), name))
        .filter(|(distance, _)| *distance <= farthest)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_never_as_long_as_what_is_wrong_with_it() {
        let long = "ä".repeat(1_000_000);
        let fault = Fault::at(long.clone(), long.clone()).fix(long);
        assert!(fault.to_string().len() < 3 * TEXT_BYTES_MAX + 32, "{} bytes", fault.to_string().len());
        assert!(fault.message.ends_with("ä…"));
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["plugin", "inputs", "config", "grants", "retry"];
        assert_eq!(did_you_mean("input", known), Some("inputs"));
        assert_eq!(did_you_mean("pluign", known), Some("plugin"));
        assert_eq!(did_you_mean("io", ["in", "oi"]), Some("in"), "of equally near ones the first by name");
        assert_eq!(did_you_mean("ni", ["in", "out"]), Some("in"), "swapped letters are one slip");
        assert_eq!(did_you_mean("colour", known), None);
    }
}
