//! What a deployment changes, as a person reads it.

use std::fmt::Write as _;

use serde_json::Value;
use trellis_model::changes::{Change, ChangeKind, ChangedKey};

use crate::cli::output::printable;

/// Longest value of a key that is shown, in characters.
const VALUE_LETTERS_MAX: usize = 80;
/// Most changes that are shown.
const CHANGES_MAX: usize = 200;

/// A line for each thing, and one for each key of it.
pub fn lines(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes.iter().take(CHANGES_MAX) {
        let mark = match change.change {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        let _ = writeln!(text, "  {mark} {} {}", printable(&change.what), printable(&change.name));
        for key in &change.keys {
            let _ = writeln!(text, "      {}", key_line(key));
        }
    }
    if changes.len() > CHANGES_MAX {
        let _ = writeln!(text, "  … and {} more", changes.len() - CHANGES_MAX);
    }
    text
}

fn key_line(ChangedKey { key, from, to }: &ChangedKey) -> String {
    let name = if key.is_empty() { String::new() } else { format!("{}: ", printable(key)) };
    match (from, to) {
        (Some(from), Some(to)) => format!("{name}{} → {}", shown(from), shown(to)),
        (None, Some(to)) => format!("{name}{} (new)", shown(to)),
        (Some(from), None) => format!("{name}was {}", shown(from)),
        (None, None) => name,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let cut = match text.char_indices().nth(VALUE_LETTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    };
    printable(&cut).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_says_what_is_new_gone_and_different() {
        let former = json!({ "plugins": { "a": "a@1.0.0" }, "grids": { "g": { "nodes": {
            "x": { "plugin": "a", "config": { "n": 1, "old": true } }, "y": { "plugin": "a" },
        } } } });
        let new = json!({ "plugins": { "a": "a@1.1.0" }, "grids": { "g": { "nodes": {
            "x": { "plugin": "a", "config": { "n": 2, "new": "\u{1b}[31m" } }, "z": { "plugin": "a" },
        } } } });
        let plan = lines(&trellis_model::changes::changes(&former, &new));
        let expected = "  + node g/z
  ~ node g/x
      config.n: 1 → 2
      config.new: \"\\u001b[31m\" (new)
      config.old: was true
  ~ plugin a
      \"a@1.0.0\" → \"a@1.1.0\"
  - node g/y
";
        assert_eq!(plan, expected);
    }
}
