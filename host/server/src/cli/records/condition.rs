//! Conditions as a person types them, `state=open` or `updated>=2026-02-01`, and the filter of the API that they come to.

use std::str::FromStr;

use serde_json::{Map, Value};

/// A condition as it was typed.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenCondition {
    index: String,
    /// As the API calls it.
    comparison: &'static str,
    value: Value,
}

/// Those of two letters first, or `<=` would be `<`.
const SIGNS: [(&str, &str); 7] = [
    ("<=", "less-or-equal"),
    (">=", "greater-or-equal"),
    ("=", "equal"),
    ("<", "less"),
    (">", "greater"),
    ("^", "starts-with"),
    ("|", "one-of"),
];

impl FromStr for WrittenCondition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-');
        let (index, rest) = text.split_at(name.unwrap_or(text.len()));
        let sign = SIGNS.iter().find_map(|(sign, name)| Some((*name, rest.strip_prefix(sign)?)));
        let Some((comparison, value)) = sign.filter(|_| !index.is_empty()) else {
            return Err("write it like state=open, updated>=2026-02-01, title^Crash or state|open,reopened".to_owned());
        };
        let value = match comparison {
            "starts-with" => Value::String(value.to_owned()),
            "one-of" => value.split(',').map(read).collect(),
            _ => read(value),
        };
        Ok(Self { index: index.to_owned(), comparison, value })
    }
}

/// JSON if it can be read as such, else text.
fn read(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))
}

/// The filter of the API.
///
/// # Errors
/// Two conditions say the same of the same index.
pub fn filter(conditions: &[WrittenCondition]) -> Result<String, String> {
    let mut filter: Map<String, Value> = Map::new();
    for WrittenCondition { index, comparison, value } in conditions {
        let of_index = filter.entry(index.clone()).or_insert_with(|| Value::Object(Map::new()));
        let before = of_index.as_object_mut().and_then(|of| of.insert((*comparison).to_owned(), value.clone()));
        if before.is_some() {
            return Err(format!("two conditions say `{comparison}` of `{index}`; leave one of them out"));
        }
    }
    Ok(Value::Object(filter).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &[&str], expected: Result<&str, &str>) {
        let read: Result<Vec<WrittenCondition>, String> = typed.iter().map(|text| text.parse()).collect();
        match (read.and_then(|conditions| filter(&conditions)), expected) {
            (Ok(filter), Ok(expected)) => assert_eq!(filter, expected, "{typed:?}"),
            (Err(error), Err(text)) => assert!(error.contains(text), "{typed:?}: {error}"),
            (found, _) => panic!("{typed:?}: {found:?}"),
        }
    }

    #[test]
    fn conditions_are_read_as_they_are_typed() {
        check(&["state=open", "n<=3"], Ok(r#"{"n":{"less-or-equal":3},"state":{"equal":"open"}}"#));
        check(&["n>1", "n<5"], Ok(r#"{"n":{"greater":1,"less":5}}"#));
        check(&["closed_at=null", "at=2026-02-01"], Ok(r#"{"at":{"equal":"2026-02-01"},"closed_at":{"equal":null}}"#));
        check(&["state|open,7"], Ok(r#"{"state":{"one-of":["open",7]}}"#));
        check(&["title^1a=b"], Ok(r#"{"title":{"starts-with":"1a=b"}}"#));
        check(&["state"], Err("write it like"));
        check(&["=open"], Err("write it like"));
        check(&["n=1", "n=2"], Err("two conditions"));
    }
}
