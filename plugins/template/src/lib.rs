//! Writes text from a template, in the language of Jinja as minijinja speaks it.
//!
//! A template reaches the input and nothing else: there are no files, other templates, environment or functions of the host.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::fmt::Write as _;

use minijinja::{AutoEscape, Environment, ErrorKind as Kind, UndefinedBehavior, context};
use trellis_sdk::*;

/// The name of the template, for messages.
const NAME: &str = "template";

/// Blocks within blocks, macros within macros. Deeper ones would use up the stack.
const RECURSION_MAX: usize = 50;

/// The template.
#[data]
#[derive(Clone, Debug)]
pub struct Config {
    /// The text, with `{{ expressions }}`, `{% statements %}` and `{# comments #}`. The members of an input that is an object are
    /// variables; `input` is the whole of it, `event` is what is known about the event.
    pub template: String,
    /// How values are escaped.
    #[serde(default)]
    pub escape: Escape,
    /// Let what is missing be empty. Otherwise it is a failure.
    #[serde(default)]
    pub lenient: bool,
}

/// How values are escaped.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// They are written as they are.
    #[default]
    None,
    /// For HTML: `<`, `>`, `&` and quotes.
    Html,
    /// As JSON values.
    Json,
}

/// Writes text from a template.
#[transformer]
pub fn template(input: Value, config: Config) -> Result<Out<String>> {
    let environment = environment(&config);
    let template = environment
        .template_from_named_str(NAME, &config.template)
        .map_err(|error| Error::invalid_config(format_args!("`template`: {}", told(&error))))?;
    let event =
        context! { input => &input, event => event_values(), ..minijinja::Value::from_serialize(members(&input)) };
    template.render(event).map(Out).map_err(|error| failure(&error))
}

fn environment(config: &Config) -> Environment<'_> {
    let mut environment = Environment::new();
    let escape = match config.escape {
        Escape::None => AutoEscape::None,
        Escape::Html => AutoEscape::Html,
        Escape::Json => AutoEscape::Json,
    };
    environment.set_auto_escape_callback(move |_| escape);
    environment.set_undefined_behavior(if config.lenient {
        UndefinedBehavior::Chainable
    } else {
        UndefinedBehavior::Strict
    });
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment
}

/// The members of an object; other values have none.
fn members(input: &Value) -> &Value {
    if input.is_object() { input } else { &Value::Null }
}

/// As `$event` of json-map.
fn event_values() -> minijinja::Value {
    let event = event::current();
    let attributes: minijinja::Value = event.attributes.into_iter().collect();
    context! {
        run => event.run,
        node => event.node,
        attempt => event.attempt,
        idempotency_key => event.idempotency_key,
        attributes => attributes,
    }
}

/// What the template is wrong about is the config's, what the values lack is the input's, and the rest is nobody's to retry.
fn failure(error: &minijinja::Error) -> Error {
    let message = format!("`template`: {}", told(error));
    match error.kind() {
        Kind::UndefinedError => Error::invalid_input(format_args!("{message}; set `lenient = true` to leave it empty")),
        Kind::UnknownFilter
        | Kind::UnknownFunction
        | Kind::UnknownTest
        | Kind::UnknownMethod
        | Kind::SyntaxError
        | Kind::TemplateNotFound => Error::invalid_config(message),
        _ => Error::permanent(message),
    }
}

/// The error with its line and its causes, on one line.
fn told(error: &minijinja::Error) -> String {
    let mut text = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    text.push_str(&error.kind().to_string());
    if let Some(detail) = error.detail() {
        _ = write!(text, ": {detail}");
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

    use super::*;

    fn text(text: &str, input: Value) -> Result<String> {
        written(json!({ "template": text }), input)
    }

    fn written(config: Value, input: Value) -> Result<String> {
        let outputs = fake::call(template, json!({ "in": input }), config)?;
        Ok(outputs["out"].as_str().expect("a text").to_owned())
    }

    #[test]
    fn a_text_is_written_from_the_input() {
        let input = json!({
            "user": { "login": "ada" },
            "issues": [{ "number": 7, "title": "A & B" }, { "number": 12, "title": "c" }],
        });
        let template = "Hello {{ user.login | upper }},\n{% for issue in issues %}\n- #{{ issue.number }} {{ issue.title }}\n{% else %}\nnothing\n{% endfor %}\n{{ issues | length }} in all";
        assert_eq!(text(template, input).expect("a text"), "Hello ADA,\n- #7 A & B\n- #12 c\n2 in all");
        assert_eq!(text("{{ input[1] }}", json!([1, "two"])).expect("a text"), "two");
    }

    #[test]
    fn values_are_escaped_as_the_config_says() {
        for (escape, expected) in
            [("none", "<b> \"x\""), ("html", "&lt;b&gt; &quot;x&quot;"), ("json", "\"<b> \\\"x\\\"\"")]
        {
            let config = json!({ "template": "{{ v }}", "escape": escape });
            assert_eq!(written(config, json!({ "v": "<b> \"x\"" })).expect("a text"), expected, "{escape}");
        }
    }

    #[test]
    fn what_is_missing_is_a_failure_unless_it_may_be() {
        let error = text("a\n{{ user.name }}", json!({ "user": {} })).expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("line 2") && error.message().contains("`lenient = true`"), "{error}");
        let config = json!({ "template": "[{{ user.name.first }}]", "lenient": true });
        assert_eq!(written(config, json!({})).expect("a text"), "[]");
        assert_eq!(text("{{ name | default('nobody') }}", json!({})).expect("a text"), "nobody");
    }

    #[test]
    fn mistakes_in_the_template_are_invalid_config_and_have_a_line() {
        for template in ["a\n{% for x %}", "a\n{{ x | shout }}", "a\n{{ shout(x) }}", "a\n{% include 'other' %}"] {
            let error = text(template, json!({ "x": [] })).expect_err("a mistake");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(error.message().starts_with("`template`: line 2: "), "{error}");
        }
    }

    #[test]
    fn a_step_that_cannot_be_done_is_permanent() {
        for template in ["{{ 1 / 'x' }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"] {
            assert_eq!(text(template, json!({})).expect_err("a failure").kind(), ErrorKind::Permanent, "{template}");
        }
    }

    #[test]
    fn the_event_is_at_hand() {
        let attributes = vec![("trigger".to_owned(), "tasks".to_owned())];
        fake::event(event::Event { attributes, attempt: 3, ..event::Event::default() });
        assert_eq!(text("{{ event.attributes.trigger }} {{ event.attempt }}", json!(null)).expect("a text"), "tasks 3");
    }
}
