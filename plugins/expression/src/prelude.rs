//! The definitions that an expression takes along: those that it names and those that these name.
//!
//! A component is instantiated for every call and compiles its expression every time. Compiling all of jq's definitions
//! would take a hundred times as long as the expression itself.

use jaq_core::load::{self, parse::Def};

const PRELUDE: &str = include_str!("prelude.jq");

/// The definitions for an expression, in the order in which they may use each other.
pub(crate) fn definitions(expression: &str) -> Vec<Def<&'static str>> {
    let mut wanted: Vec<&str> = words(expression).collect();
    let mut taken: Vec<&'static str> = Vec::new();
    // A definition uses only those before it (and itself), so going backwards once finds all.
    for line in PRELUDE.lines().rev() {
        if defined(line).is_some_and(|name| wanted.contains(&name)) {
            wanted.extend(words(line));
            taken.push(line);
        }
    }
    taken
        .iter()
        .rev()
        .flat_map(|line| load::parse(line, |parser| parser.defs()).expect("the prelude is valid jq"))
        .collect()
}

/// The name that a line of the prelude defines.
fn defined(line: &str) -> Option<&str> {
    line.strip_prefix("def ")?.split(['(', ':']).next()
}

/// Everything that looks like the name of a function or format, be it in a text or a comment: too many do no harm.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '@';
    text.split(move |letter| !is_word(letter)).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(expression: &str) -> Vec<&'static str> {
        definitions(expression).into_iter().map(|definition| definition.name).collect()
    }

    #[test]
    fn an_expression_takes_along_what_it_names_and_what_that_needs() {
        assert_eq!(names(".a + 1"), [""; 0]);
        assert_eq!(names("map(.a)"), ["map"]);
        assert_eq!(names("\"\\(.a | @html)\""), ["tostring", "@html"]);
        assert_eq!(names(".[] | objects"), ["empty", "select", "objects"]);
    }

    #[test]
    fn every_line_is_a_definition_that_stands_alone() {
        let lines: Vec<&str> = PRELUDE.lines().filter(|line| line.starts_with("def ")).collect();
        assert!(lines.len() > 80, "{}", lines.len());
        for line in lines {
            let name = defined(line).expect("a name");
            assert!(names(name).contains(&name), "{line}");
        }
    }
}
