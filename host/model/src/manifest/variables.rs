//! `${NAME}` and `${NAME:-default}` in the strings of a manifest, for values that differ from place to place.
//!
//! Expanded by the command line before anything is sent; what a name stands for is the caller's to say.

use super::{
    document::{Item, ItemKind},
    reader::Faults,
};
use crate::fault::Fault;

/// Replaces every variable in every string of the document. `$${` stands for a plain `${`.
///
/// # Errors
/// Every variable without a value, with its place.
pub fn expand(document: &mut Item, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), Vec<Fault>> {
    let mut faults = Faults::default();
    expand_item(document, lookup, &mut faults);
    faults.into_result(())
}

fn expand_item(item: &mut Item, lookup: &dyn Fn(&str) -> Option<String>, faults: &mut Faults) {
    match &mut item.kind {
        ItemKind::Text(text) if text.contains("${") => match expand_text(text, lookup) {
            Ok(expanded) => *text = expanded,
            Err(message) => {
                let fix = "set it in the environment, or write `${NAME:-default}`; `$${` is a plain `${`";
                faults.push(item.place.fault(message).fix(fix));
            }
        },
        ItemKind::List(items) => items.iter_mut().for_each(|item| expand_item(item, lookup, faults)),
        ItemKind::Table(entries) => entries.iter_mut().for_each(|entry| expand_item(&mut entry.item, lookup, faults)),
        _ => {}
    }
}

fn expand_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.push_str(&rest[..at - 1]);
            expanded.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        expanded.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or("`${` without a closing `}`")? + at;
        let inner = &rest[at + 2..end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let value = lookup(name).or_else(|| default.map(str::to_owned));
        expanded.push_str(&value.ok_or_else(|| format!("variable `{name}` has no value"))?);
        rest = &rest[end + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_defaults_and_escapes_are_expanded() {
        let lookup = |name: &str| (name == "HOST").then(|| "db".to_owned());
        assert_eq!(expand_text("http://${HOST}:${PORT:-80}/$${x}", &lookup), Ok("http://db:80/${x}".to_owned()));
        assert!(expand_text("${NONE}", &lookup).is_err());
        assert!(expand_text("${HOST", &lookup).is_err());
    }
}
