//! Lets a value pass, or rejects it, by a jq expression.
//!
//! Knows what the values of an expression mean for a decision; the language itself is `expression`'s.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use expression::Expression;
use trellis_sdk::*;

/// What may pass.
#[data]
pub struct Config {
    /// A jq expression that is true for what may pass. The input is `.`, and `$event` has `run`, `node`, `attempt`,
    /// `idempotency_key` and `attributes`.
    pub expression: String,
}

/// Where the input goes, unchanged.
#[derive(Ports, Debug, PartialEq)]
pub enum Verdict {
    /// The input, if the expression yields anything but `false` and `null`.
    Out(Value),
    /// The input, if the expression yields `false`, `null` or nothing.
    Rejected(Value),
}

/// Lets a value pass, or rejects it, by a jq expression.
#[transformer]
pub fn filter(input: Value, config: Config) -> Result<Verdict> {
    let expression = Expression::parse(&config.expression)
        .map_err(|mistake| Error::invalid_config(format_args!("`expression`: {mistake}")))?;
    let mut values = expression.values(input.clone(), expression::current_event());
    let passes = match values.next().transpose()? {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(_) => true,
    };
    if values.next().transpose()?.is_some() {
        return Err(Error::permanent(
            "the expression yields more than one value; make one of them, as with `any(…)` or `all(…)`",
        ));
    }
    Ok(if passes { Verdict::Out(input) } else { Verdict::Rejected(input) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(expression: &str, input: Value) -> Result<Verdict> {
        filter(input, Config { expression: expression.into() })
    }

    #[test]
    fn what_is_true_passes_unchanged() {
        let input = json!({ "price": 12.5, "tags": ["a"] });
        for expression in [".price > 10", ".price", "0", "\"\"", "[]", "any(.tags[]; . == \"a\")", ".tags[]"] {
            assert_eq!(
                decide(expression, input.clone()).expect("a verdict"),
                Verdict::Out(input.clone()),
                "{expression}"
            );
        }
    }

    #[test]
    fn false_null_and_nothing_reject() {
        let input = json!({ "price": 1 });
        for expression in [".price > 10", ".missing", "empty", "select(.price > 10)"] {
            assert_eq!(
                decide(expression, input.clone()).expect("a verdict"),
                Verdict::Rejected(input.clone()),
                "{expression}"
            );
        }
    }

    #[test]
    fn one_port_has_the_input_and_the_other_stays_empty() {
        let config = json!({ "expression": ". > 1" });
        let outputs = |input| fake::call(filter, json!({ "in": input }), config.clone()).expect("a verdict");
        assert_eq!(outputs(json!(2)).into_iter().collect::<Vec<_>>(), [("out".to_owned(), json!(2))]);
        assert_eq!(outputs(json!(1)).into_iter().collect::<Vec<_>>(), [("rejected".to_owned(), json!(1))]);
    }

    #[test]
    fn several_values_are_no_decision() {
        let error = decide(".[] > 1", json!([1, 2])).expect_err("two values");
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.message().contains("any(…)"), "{error}");
    }

    #[test]
    fn mistakes_are_invalid_config_and_failures_permanent() {
        assert_eq!(decide(".a ==", json!({})).expect_err("a mistake").kind(), ErrorKind::InvalidConfig);
        assert_eq!(decide(".a.b", json!({ "a": 1 })).expect_err("a failure").kind(), ErrorKind::Permanent);
    }

    #[test]
    fn the_event_is_at_hand() {
        let attributes = vec![("x-github-event".to_owned(), "push".to_owned())];
        fake::event(event::Event { attributes, ..event::Event::default() });
        let verdict = decide("$event.attributes[\"x-github-event\"] == \"push\"", json!(1));
        assert_eq!(verdict.expect("a verdict"), Verdict::Out(json!(1)));
    }

    #[test]
    fn ports_and_config_are_as_documented() {
        let description = fake::describe(filter);
        assert_eq!(description["outputs"].as_object().expect("ports").keys().collect::<Vec<_>>(), ["out", "rejected"]);
        assert_eq!(description["inputs"]["in"]["required"], json!(true));
        assert_eq!(description["config"]["additionalProperties"], json!(false));
    }
}
