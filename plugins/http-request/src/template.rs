//! Texts with placeholders: `{/pointer}` for a value of the input, `{}` for the whole of it, `{+/pointer}` in a URL for a
//! value that keeps its slashes, `{{` and `}}` for braces.
//!
//! A value cannot leave its place: in a URL it is percent-encoded and may not climb the path, in a header it may not begin
//! another line.

use trellis_sdk::{Error, Result, Value, http::percent_encode};

/// Where a text is put in, besides URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Header,
    Text,
}

/// A text with placeholders, and the key of the config that it comes from.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    key: &'a str,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Literal(String),
    Value { pointer: String, keeps_slashes: bool },
}

impl<'a> Template<'a> {
    /// Reads a template.
    ///
    /// # Errors
    /// Invalid config: a brace without its partner, or a placeholder that is no JSON Pointer.
    pub(crate) fn parse(key: &'a str, text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            let inside = rest.split_once('}').filter(|_| brace == "{");
            let Some((placeholder, behind)) = inside else { return Err(unpaired(key, text, brace)) };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(value_part(key, placeholder)?);
            rest = behind;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { key, parts })
    }

    /// Fills in values as they are.
    ///
    /// # Errors
    /// Invalid input: a value is missing, is no text, number or boolean, or does not fit into a header.
    pub(crate) fn text(&self, place: Place, input: Option<&Value>) -> Result<String> {
        let text = self.fill(input, |_, value| value)?;
        if place == Place::Header && text.chars().any(|letter| letter.is_control() && letter != '\t') {
            return Err(Error::invalid_input(format_args!(
                "`{}` would have a line break or another control character",
                self.key
            )));
        }
        Ok(text)
    }

    /// Fills in values so that each stays in its segment of the path or its part of the query.
    ///
    /// # Errors
    /// Invalid input: a value is missing, is no text, number or boolean, or would climb the path.
    pub(crate) fn url(&self, input: Option<&Value>) -> Result<String> {
        let url = self.fill(
            input,
            |keeps_slashes, value| if keeps_slashes { keep_slashes(&value) } else { percent_encode(&value) },
        )?;
        let is_filled = self.parts.iter().any(|part| matches!(part, Part::Value { .. }));
        if is_filled && path_segments(&url).any(is_dots) {
            let key = self.key;
            return Err(Error::invalid_input(format_args!(
                "`{key}` would have a path segment `.` or `..`, which leads elsewhere"
            )));
        }
        Ok(url)
    }

    /// The value that a template consists of, if it is one placeholder and nothing else.
    fn only_value<'input>(&self, input: Option<&'input Value>) -> Option<Result<&'input Value>> {
        match self.parts.as_slice() {
            [Part::Value { pointer, .. }] => Some(self.find(pointer, input)),
            _ => None,
        }
    }

    fn fill(&self, input: Option<&Value>, fit: impl Fn(bool, String) -> String) -> Result<String> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Value { pointer, keeps_slashes } => {
                    let value = self.scalar(pointer, self.find(pointer, input)?)?;
                    filled.push_str(&fit(*keeps_slashes, value));
                }
            }
        }
        Ok(filled)
    }

    fn find<'input>(&self, pointer: &str, input: Option<&'input Value>) -> Result<&'input Value> {
        let key = self.key;
        let input = input.ok_or_else(|| {
            Error::invalid_input(format_args!("`{key}` needs `{{{pointer}}}`, but there is no input"))
        })?;
        input.pointer(pointer).ok_or_else(|| {
            Error::invalid_input(format_args!("`{key}` needs `{{{pointer}}}`, which the input does not have"))
        })
    }

    fn scalar(&self, pointer: &str, value: &Value) -> Result<String> {
        let kind = match value {
            Value::String(text) => return Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => return Ok(value.to_string()),
            Value::Null => "null",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        let key = self.key;
        Err(Error::invalid_input(format_args!(
            "`{key}` needs a text, number or boolean for `{{{pointer}}}`, but it is {kind}"
        )))
    }
}

/// A JSON value with templates in its texts. A text that is one placeholder and nothing else becomes the value itself.
///
/// # Errors
/// As for [`Template::parse`] and [`Template::text`].
pub(crate) fn json(key: &str, template: &Value, input: Option<&Value>) -> Result<Value> {
    Ok(match template {
        Value::String(text) => {
            let template = Template::parse(key, text)?;
            match template.only_value(input) {
                Some(value) => value?.clone(),
                None => Value::String(template.text(Place::Text, input)?),
            }
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| json(key, item, input)).collect::<Result<_>>()?),
        Value::Object(members) => {
            let filled = members.iter().map(|(name, value)| Ok((name.clone(), json(key, value, input)?)));
            Value::Object(filled.collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

fn value_part(key: &str, placeholder: &str) -> Result<Part> {
    let (keeps_slashes, pointer) = match placeholder.strip_prefix('+') {
        Some(pointer) => (true, pointer),
        None => (false, placeholder),
    };
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(Error::invalid_config(format_args!(
            "`{key}`: `{{{placeholder}}}` is no placeholder; write a JSON Pointer, as in `{{/{pointer}}}`, or double the braces to mean braces"
        )));
    }
    if keeps_slashes && key != "url" {
        return Err(Error::invalid_config(format_args!(
            "`{key}`: `{{+…}}` has a meaning in `url` only; leave out the `+`"
        )));
    }
    Ok(Part::Value { pointer: pointer.into(), keeps_slashes })
}

fn unpaired(key: &str, text: &str, brace: &str) -> Error {
    Error::invalid_config(format_args!("`{key}`: a `{brace}` in `{text}` has no partner; double it to mean a brace"))
}

/// Percent-encodes what a URL cannot hold, and leaves what RFC 3986 calls reserved or has encoded already.
fn keep_slashes(text: &str) -> String {
    const RESERVED: &str = ":/?#[]@!$&'()*+,;=%";
    let mut kept = String::with_capacity(text.len());
    let mut letter_bytes = [0; 4];
    for letter in text.chars() {
        if RESERVED.contains(letter) {
            kept.push(letter);
        } else {
            kept.push_str(&percent_encode(letter.encode_utf8(&mut letter_bytes)));
        }
    }
    kept
}

fn path_segments(url: &str) -> impl Iterator<Item = &str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    // A backslash counts as a slash where URLs are parsed as browsers do.
    path.split(['/', '\\'])
}

fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_sdk::{ErrorKind, json};

    fn url(template: &str, input: &Value) -> Result<String> {
        Template::parse("url", template)?.url(Some(input))
    }

    fn text(template: &str, input: &Value) -> Result<String> {
        Template::parse("body.text", template)?.text(Place::Text, Some(input))
    }

    #[test]
    fn values_of_a_url_are_encoded() {
        let input =
            json!({ "id": 7, "name": "a/b c?d#ü", "on": true, "next": "https://example.com/a b?c=d%20e", "s/l": "x" });
        for (template, expected) in [
            ("https://example.com/{/id}/{/name}", "https://example.com/7/a%2Fb%20c%3Fd%23%C3%BC"),
            ("https://example.com/?on={/on}", "https://example.com/?on=true"),
            ("{+/next}", "https://example.com/a%20b?c=d%20e"),
            ("https://example.com/{/s~1l}", "https://example.com/x"),
            ("https://example.com/{{id}}", "https://example.com/{id}"),
        ] {
            assert_eq!(url(template, &input).expect("a URL"), expected);
        }
    }

    #[test]
    fn a_value_cannot_climb_the_path() {
        for value in [".", "..", "%2e%2E", ".%2e"] {
            let climbing = url("https://example.com/users/{+/id}/orders", &json!({ "id": value }));
            assert_eq!(climbing.expect_err(value).kind(), ErrorKind::InvalidInput);
        }
        assert!(url("https://example.com/users/{/id}", &json!({ "id": ".." })).is_err());
        assert!(url("https://example.com/users/{/a}{/b}", &json!({ "a": ".", "b": "." })).is_err());
        assert!(url("https://example.com/{+/path}", &json!({ "path": "a/../../b" })).is_err());
        assert_eq!(
            url("https://example.com/{/id}", &json!({ "id": "%2e%2e" })).expect("encoded"),
            "https://example.com/%252e%252e"
        );
        assert!(url("https://example.com/{/id}", &json!({ "id": "..." })).is_ok());
        assert!(url("https://example.com/?q={/id}", &json!({ "id": ".." })).is_ok(), "a query has no path");
    }

    #[test]
    fn texts_take_values_as_they_are() {
        assert_eq!(text("{/a} and {/b}", &json!({ "a": "x/y", "b": 1.5 })).expect("a text"), "x/y and 1.5");
        assert_eq!(text("{}", &json!("whole")).expect("a text"), "whole");
        assert_eq!(text("}}{{", &json!(null)).expect("a text"), "}{");
    }

    #[test]
    fn a_header_stays_on_its_line() {
        let template = Template::parse("headers.x", "{/a}").expect("a template");
        let error = template.text(Place::Header, Some(&json!({ "a": "x\r\nhost: evil" }))).expect_err("two lines");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("`headers.x`"), "{error}");
        template.text(Place::Header, Some(&json!({ "a": "x\ty" }))).expect("a tab is fine");
    }

    #[test]
    fn what_the_input_lacks_is_named() {
        for (template, message) in [
            ("{/a}", "`body.text` needs `{/a}`, which the input does not have"),
            ("{/list}", "for `{/list}`, but it is an array"),
            ("{/null}", "for `{/null}`, but it is null"),
            ("{}", "for `{}`, but it is an object"),
        ] {
            let error = text(template, &json!({ "list": [], "null": null })).expect_err("a missing value");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().contains(message), "{error}");
        }
        let error = Template::parse("url", "{/a}").expect("a template").url(None).expect_err("no input");
        assert!(error.message().contains("there is no input"), "{error}");
    }

    #[test]
    fn mistakes_in_a_template_are_invalid_config() {
        for (template, message) in [
            ("a{b", "`{` in `a{b` has no partner"),
            ("a}b", "`}` in `a}b` has no partner"),
            ("{name}", "as in `{/name}`"),
            ("{+/a}", "leave out the `+`"),
        ] {
            let error = Template::parse("body.text", template).expect_err("a mistake");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(message), "{error}");
        }
    }

    #[test]
    fn json_takes_whole_values_and_texts() {
        let input = json!({ "n": 3, "list": [1], "name": "ann" });
        let template = json!({ "n": "{/n}", "all": ["{}", "{/list}"], "text": "n = {/n}", "fixed": [1, null, "{{}}"] });
        let filled = json("body.json", &template, Some(&input)).expect("a value");
        assert_eq!(filled, json!({ "n": 3, "all": [input, [1]], "text": "n = 3", "fixed": [1, null, "{}"] }));
        assert!(json("body.json", &json!(["{/missing}"]), Some(&input)).is_err());
    }
}
