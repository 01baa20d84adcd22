//! The filter of a query string: a JSON object of indexes and what their values have to be.

use serde_json::{Map, Value};
use trellis_model::{
    fault::did_you_mean,
    records::{Condition, Operator},
};

const OPERATORS: [(&str, Operator); 7] = [
    ("equal", Operator::Equal),
    ("less", Operator::Less),
    ("less-or-equal", Operator::LessOrEqual),
    ("greater", Operator::Greater),
    ("greater-or-equal", Operator::GreaterOrEqual),
    ("one-of", Operator::OneOf),
    ("starts-with", Operator::StartsWith),
];

/// The conditions of a filter; none where there is no filter.
///
/// # Errors
/// What is wrong with it, and how it is written.
pub fn read(filter: Option<&str>) -> Result<Vec<Condition>, String> {
    let Some(filter) = filter else { return Ok(Vec::new()) };
    let form = "write it like {\"state\":\"open\"} or {\"updated\":{\"less\":\"2026-03-01\"}}";
    let filter: Map<String, Value> =
        serde_json::from_str(filter).map_err(|error| format!("filter is no JSON object: {error}; {form}"))?;
    let mut conditions = Vec::new();
    for (index, wanted) in filter {
        match wanted {
            Value::Object(comparisons) => {
                for (name, value) in comparisons {
                    let operator = operator(&name)?;
                    conditions.push(Condition { index: index.clone(), operator, value });
                }
            }
            value => conditions.push(Condition { index, operator: Operator::Equal, value }),
        }
    }
    Ok(conditions)
}

fn operator(name: &str) -> Result<Operator, String> {
    let known = OPERATORS.iter().map(|(known, _)| *known);
    let found = OPERATORS.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator);
    found.ok_or_else(|| {
        let shown: String = name.escape_debug().take(60).collect();
        match did_you_mean(name, known.clone()) {
            Some(near) => format!("filter: there is no comparison `{shown}`; did you mean `{near}`?"),
            None => {
                format!("filter: there is no comparison `{shown}`; there are {}", known.collect::<Vec<_>>().join(", "))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_an_object_of_values_or_comparisons() {
        let condition = |index: &str, operator, value| Condition { index: index.to_owned(), operator, value };
        let expected = [condition("n", Operator::Less, json!(3)), condition("state", Operator::Equal, json!("open"))];
        assert_eq!(read(Some(r#"{"n":{"less":3},"state":"open"}"#)), Ok(expected.to_vec()));
        assert_eq!(read(None), Ok(Vec::new()));
        let refused = |filter, text: &str| {
            let error = read(Some(filter)).expect_err(filter);
            assert!(error.contains(text), "{error}");
        };
        refused("state=open", "write it like");
        refused("[1]", "write it like");
        refused(r#"{"n":{"lesser":3}}"#, "did you mean `less`?");
        refused(r#"{"n":{"x":3}}"#, "there are equal, less");
    }
}
