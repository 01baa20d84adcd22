//! What is wrong with an expression, and where.

use jaq_core::{compile, load};

/// Characters of a value or a text that go into a message.
const EXCERPT_CHARACTERS: usize = 200;

/// An expression that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct Mistake {
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// What was expected, and what is there.
    pub reason: String,
}

impl Mistake {
    pub(crate) fn of_loading<P>(text: &str, errors: &load::Errors<&str, P>) -> Self {
        for (_, error) in errors {
            let (place, reason) = match error {
                load::Error::Lex(errors) => match errors.first() {
                    Some((expected, found)) => (*found, expected_and_found(expected.as_str(), found)),
                    None => continue,
                },
                load::Error::Parse(errors) => match errors.first() {
                    Some((expected, found)) => (*found, expected_and_found(expected.as_str(), found)),
                    None => continue,
                },
                load::Error::Io(errors) => match errors.first() {
                    Some((path, _)) => (*path, "there are no modules to include or import".to_owned()),
                    None => continue,
                },
            };
            return Self::at(text, place, reason);
        }
        Self::somewhere()
    }

    pub(crate) fn of_compiling<P>(text: &str, errors: &compile::Errors<&str, P>) -> Self {
        let mut undefined = errors.iter().flat_map(|(_, errors)| errors);
        let Some((name, kind)) = undefined.next() else { return Self::somewhere() };
        let reason = match kind {
            compile::Undefined::Filter(0) => format!("there is no function `{name}`"),
            compile::Undefined::Filter(arity) => format!("there is no function `{name}` with {arity} argument(s)"),
            other => format!("there is no {} `{name}`", other.as_str()),
        };
        Self::at(text, name, reason)
    }

    fn at(text: &str, place: &str, reason: String) -> Self {
        let start = load::span(text, place).start;
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1, reason }
    }

    // jaq gives no error without a place; an empty list would be its own mistake.
    fn somewhere() -> Self {
        Self { line: 1, column: 1, reason: "the expression cannot be read".into() }
    }
}

fn expected_and_found(expected: &str, found: &str) -> String {
    if found.is_empty() {
        format!("expected {expected}, but the expression ends")
    } else {
        format!("expected {expected}, found `{}`", excerpt(found))
    }
}

/// The beginning of a text.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
