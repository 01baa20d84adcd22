//! Shapes JSON with a jq expression.
//!
//! Knows what none, one and several values of an expression mean for a node; the language itself is `expression`'s.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use expression::{Expression, Failure};
use trellis_sdk::*;

/// How the input is shaped.
#[data]
pub struct Config {
    /// A jq expression. The input is `.`, and `$event` has `run`, `node`, `attempt`, `idempotency_key` and `attributes`.
    pub expression: String,
    /// Emit everything that the expression yields, as an array. Otherwise it must yield one value, or none to filter.
    #[serde(default)]
    pub collect: bool,
}

/// Shapes JSON with a jq expression.
#[transformer(title = "JSON map")]
pub fn json_map(input: Value, config: Config) -> Result<Option<Out<Value>>> {
    let expression = Expression::parse(&config.expression)
        .map_err(|mistake| Error::invalid_config(format_args!("`expression`: {mistake}")))?;
    let mut values = expression.values(input, expression::current_event());
    if config.collect {
        return Ok(Some(Out(Value::Array(values.collect::<Result<_, Failure>>()?))));
    }
    let value = values.next().transpose()?;
    if values.next().transpose()?.is_some() {
        return Err(Error::permanent(
            "the expression yields more than one value; take one, as with `first(…)`, or set `collect = true` to emit all as an array",
        ));
    }
    Ok(value.map(Out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(expression: &str, collect: bool, input: Value) -> Result<Option<Value>> {
        let config = Config { expression: expression.into(), collect };
        json_map(input, config).map(|output| output.map(|Out(value)| value))
    }

    #[test]
    fn one_value_is_emitted() {
        let output = map(
            "{ name: .user.login, open: (.issues | length) }",
            false,
            json!({ "user": { "login": "ann" }, "issues": [1, 2] }),
        );
        assert_eq!(output.expect("a value"), Some(json!({ "name": "ann", "open": 2 })));
    }

    #[test]
    fn null_is_a_value_and_no_value_is_none() {
        assert_eq!(map(".a", false, json!({})).expect("a value"), Some(Value::Null));
        assert_eq!(map("empty", false, json!({})).expect("no value"), None);
        assert_eq!(map(".[] | select(. > 5)", false, json!([1, 2])).expect("no value"), None);
    }

    #[test]
    fn several_values_are_collected_or_refused() {
        assert_eq!(map(".[]", true, json!([1, 2])).expect("an array"), Some(json!([1, 2])));
        assert_eq!(map("empty", true, json!([1, 2])).expect("an array"), Some(json!([])));
        assert_eq!(map(".[]", false, json!([1])).expect("one value"), Some(json!(1)));
        let error = map(".[]", false, json!([1, 2])).expect_err("two values");
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.message().contains("`collect = true`"), "{error}");
    }

    #[test]
    fn an_expression_that_fails_is_permanent_even_behind_its_first_value() {
        for expression in [".a.b", "1, error(\"late\")"] {
            assert_eq!(map(expression, false, json!({ "a": [] })).expect_err("a failure").kind(), ErrorKind::Permanent);
        }
        let error = map("error(\"no stock\")", true, json!(null)).expect_err("a failure");
        assert_eq!(error.message(), "the expression fails: no stock");
    }

    #[test]
    fn a_mistake_in_the_expression_is_invalid_config_and_has_a_place() {
        let error = map(".a |\n  mpa(.b)", false, json!({})).expect_err("a mistake");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.message(), "`expression`: line 2, column 3: there is no function `mpa` with 1 argument(s)");
    }

    #[test]
    fn the_event_is_at_hand() {
        let attributes = vec![("x-github-event".to_owned(), "push".to_owned())];
        fake::event(event::Event { attributes, attempt: 3, ..event::Event::default() });
        let output = map("[$event.attributes[\"x-github-event\"], $event.attempt, $event.node]", false, json!(null));
        assert_eq!(output.expect("a value"), Some(json!(["push", 3, "test"])));
    }

    #[test]
    fn ports_and_config_are_as_documented() {
        let description = fake::describe(json_map);
        assert_eq!(description["inputs"]["in"]["required"], json!(true));
        assert_eq!(description["outputs"].as_object().expect("ports").keys().collect::<Vec<_>>(), ["out"]);
        assert_eq!(description["config"]["required"], json!(["expression"]));
        let error = fake::call(json_map, json!({ "in": 1 }), json!({ "expresion": "." })).expect_err("a bad config");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}
