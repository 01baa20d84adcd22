//! Sends a value to the ports whose conditions it meets.
//!
//! Knows what the values of an expression mean for a route; the language itself is `expression`'s.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use expression::Expression;
use trellis_sdk::*;

/// Where a value goes.
#[data]
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// A condition for each port: a jq expression that is true for what goes there.
    pub cases: Cases,
    /// Send the value to every port whose condition it meets. Otherwise to the first of them.
    #[serde(default)]
    pub all: bool,
}

/// A jq expression for each port. Ports without one stay empty. The input is `.`, and `$event` has `run`, `node`, `attempt`,
/// `idempotency_key` and `attributes`.
#[expect(missing_docs, reason = "they are the ports")]
#[data]
#[derive(Clone, Debug, Default)]
#[serde(default)]
pub struct Cases {
    pub case_1: Option<String>,
    pub case_2: Option<String>,
    pub case_3: Option<String>,
    pub case_4: Option<String>,
    pub case_5: Option<String>,
    pub case_6: Option<String>,
    pub case_7: Option<String>,
    pub case_8: Option<String>,
}

/// Where the input goes, unchanged.
#[derive(Ports, Debug, PartialEq)]
pub enum Route {
    /// The input, if it meets `case_1`.
    #[port(name = "case_1")]
    Case1(Value),
    /// The input, if it meets `case_2`.
    #[port(name = "case_2")]
    Case2(Value),
    /// The input, if it meets `case_3`.
    #[port(name = "case_3")]
    Case3(Value),
    /// The input, if it meets `case_4`.
    #[port(name = "case_4")]
    Case4(Value),
    /// The input, if it meets `case_5`.
    #[port(name = "case_5")]
    Case5(Value),
    /// The input, if it meets `case_6`.
    #[port(name = "case_6")]
    Case6(Value),
    /// The input, if it meets `case_7`.
    #[port(name = "case_7")]
    Case7(Value),
    /// The input, if it meets `case_8`.
    #[port(name = "case_8")]
    Case8(Value),
    /// The input, if it meets no condition.
    Otherwise(Value),
}

type ToPort = fn(Value) -> Route;

impl Cases {
    /// The conditions that there are, with their names and ports, in order.
    fn given(&self) -> impl Iterator<Item = (usize, &str, ToPort)> {
        let all: [(&Option<String>, ToPort); 8] = [
            (&self.case_1, Route::Case1),
            (&self.case_2, Route::Case2),
            (&self.case_3, Route::Case3),
            (&self.case_4, Route::Case4),
            (&self.case_5, Route::Case5),
            (&self.case_6, Route::Case6),
            (&self.case_7, Route::Case7),
            (&self.case_8, Route::Case8),
        ];
        let numbered = all.into_iter().zip(1..);
        numbered.filter_map(|((text, port), number)| Some((number, text.as_deref()?, port)))
    }
}

/// Sends a value to the ports whose conditions it meets.
#[transformer]
pub fn branch(input: Value, config: Config) -> Result<Vec<Route>> {
    let cases = parsed(&config.cases)?;
    let mut routes = Vec::new();
    for (number, condition, port) in &cases {
        if holds(*number, condition, &input)? {
            routes.push(port(input.clone()));
            if !config.all {
                break;
            }
        }
    }
    if routes.is_empty() {
        routes.push(Route::Otherwise(input));
    }
    Ok(routes)
}

/// All conditions: a mistake in the last one is found even if the first one decides.
fn parsed(cases: &Cases) -> Result<Vec<(usize, Expression, ToPort)>> {
    let parsed = cases.given().map(|(number, text, port)| match Expression::parse(text) {
        Ok(condition) => Ok((number, condition, port)),
        Err(mistake) => Err(Error::invalid_config(format_args!("`cases.case_{number}`: {mistake}"))),
    });
    let parsed: Vec<_> = parsed.collect::<Result<_>>()?;
    if parsed.is_empty() {
        return Err(Error::invalid_config("`cases` has no condition; write one, as in `case_1 = '.total > 1000'`"));
    }
    Ok(parsed)
}

fn holds(number: usize, condition: &Expression, input: &Value) -> Result<bool> {
    let failed = |reason: &dyn std::fmt::Display| Error::permanent(format_args!("`cases.case_{number}`: {reason}"));
    let mut values = condition.values(input.clone(), expression::current_event());
    let first = values.next().transpose().map_err(|failure| failed(&failure))?;
    if values.next().transpose().map_err(|failure| failed(&failure))?.is_some() {
        return Err(failed(
            &"the expression yields more than one value; make one of them, as with `any(…)` or `all(…)`",
        ));
    }
    Ok(!matches!(first, None | Some(Value::Null | Value::Bool(false))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

    use super::*;

    fn routed(cases: Value, all: bool, input: Value) -> Result<Vec<String>> {
        let outputs = fake::call(branch, json!({ "in": input }), json!({ "cases": cases, "all": all }))?;
        assert!(outputs.values().all(|value| *value == input), "the value is unchanged");
        Ok(outputs.into_keys().collect())
    }

    #[test]
    fn the_first_condition_that_holds_decides() {
        let cases = json!({ "case_1": ".total > 1000", "case_2": ".total > 100", "case_5": ".vip" });
        for (input, port) in [
            (json!({ "total": 5000, "vip": true }), "case_1"),
            (json!({ "total": 500, "vip": true }), "case_2"),
            (json!({ "total": 5, "vip": true }), "case_5"),
            (json!({ "total": 5 }), "otherwise"),
        ] {
            assert_eq!(routed(cases.clone(), false, input).expect("a route"), [port]);
        }
    }

    #[test]
    fn all_that_hold_get_the_value_when_asked() {
        let cases = json!({ "case_1": ".total > 1000", "case_2": ".total > 100", "case_8": "true" });
        assert_eq!(
            routed(cases.clone(), true, json!({ "total": 5000 })).expect("routes"),
            ["case_1", "case_2", "case_8"]
        );
        assert_eq!(routed(cases, true, json!({ "total": 1 })).expect("routes"), ["case_8"]);
        assert_eq!(routed(json!({ "case_1": "empty" }), true, json!(1)).expect("routes"), ["otherwise"]);
    }

    #[test]
    fn a_mistake_in_any_condition_is_invalid_config_and_has_its_place() {
        let error = routed(json!({ "case_1": "true", "case_3": ". >" }), false, json!(1)).expect_err("a mistake");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().starts_with("`cases.case_3`: line 1, column"), "{error}");
        for (cases, message) in
            [(json!({}), "has no condition"), (json!({ "case_9": "true" }), "unknown key `cases.case_9`")]
        {
            let error = routed(cases, false, json!(1)).expect_err("a bad config");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(message), "{error}");
        }
    }

    #[test]
    fn a_condition_that_fails_or_decides_twice_is_permanent() {
        for (condition, message) in [(".a.b", "the expression fails"), (".a[]", "more than one value")] {
            let input = if condition == ".a.b" { json!({ "a": 1 }) } else { json!({ "a": [1, 2] }) };
            let error = routed(json!({ "case_2": condition }), false, input).expect_err("a failure");
            assert_eq!(error.kind(), ErrorKind::Permanent);
            assert!(error.message().starts_with("`cases.case_2`: ") && error.message().contains(message), "{error}");
        }
    }

    #[test]
    fn the_event_is_at_hand() {
        let attributes = vec![("x-github-event".to_owned(), "push".to_owned())];
        fake::event(event::Event { attributes, ..event::Event::default() });
        let cases = json!({ "case_1": "$event.attributes[\"x-github-event\"] == \"push\"" });
        assert_eq!(routed(cases, false, json!(1)).expect("a route"), ["case_1"]);
    }
}
