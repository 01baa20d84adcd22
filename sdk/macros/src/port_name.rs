//! Names of ports: derived from a field or variant, or given by `#[port(name = "…")]`.

use proc_macro2::Span;
use syn::{Attribute, Ident, LitStr, ext::IdentExt as _};

/// The host's limit for every name.
const BYTES_MAX: usize = 64;

/// A port's name and where it comes from in the source.
#[derive(Debug)]
pub(crate) struct PortName {
    pub(crate) text: String,
    span: Span,
}

/// The port of a field: its name.
pub(crate) fn of_field(field: &Ident, attributes: &[Attribute]) -> syn::Result<PortName> {
    named(attributes, || PortName { text: field.unraw().to_string(), span: field.span() })
}

/// The port of a variant: its name in snake case.
pub(crate) fn of_variant(variant: &Ident, attributes: &[Attribute]) -> syn::Result<PortName> {
    named(attributes, || PortName { text: snake_case(&variant.unraw().to_string()), span: variant.span() })
}

/// Refuses the second of two ports with one name.
pub(crate) fn check_distinct(names: &[PortName]) -> syn::Result<()> {
    for (place, name) in names.iter().enumerate() {
        if names[..place].iter().any(|earlier| earlier.text == name.text) {
            let message = format!("a second port named `{}`; rename one with `#[port(name = \"…\")]`", name.text);
            return Err(syn::Error::new(name.span, message));
        }
    }
    Ok(())
}

/// Whether an attribute is ours.
pub(crate) fn is_port(attribute: &Attribute) -> bool {
    attribute.path().is_ident("port")
}

fn named(attributes: &[Attribute], derived: impl FnOnce() -> PortName) -> syn::Result<PortName> {
    let mut given: Option<LitStr> = None;
    for attribute in attributes.iter().filter(|attribute| is_port(attribute)) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("expected `name`, as in `#[port(name = \"my-port\")]`"));
            }
            if given.is_some() {
                return Err(meta.error("the port has a name already"));
            }
            given = Some(meta.value()?.parse()?);
            Ok(())
        })?;
    }
    let name = given.map_or_else(derived, |name| PortName { text: name.value(), span: name.span() });
    check(name)
}

fn check(name: PortName) -> syn::Result<PortName> {
    let starts = name.text.starts_with(|first: char| first.is_ascii_alphabetic());
    let continues = name.text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-');
    if starts && continues && name.text.len() <= BYTES_MAX {
        return Ok(name);
    }
    let message = format!(
        "`{}` cannot be the name of a port: use letters, digits, `_` and `-`, a letter first, at most {BYTES_MAX} bytes; `#[port(name = \"…\")]` gives it another one",
        name.text
    );
    Err(syn::Error::new(name.span, message))
}

fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (place, letter) in letters.iter().enumerate() {
        let before = place.checked_sub(1).map(|before| letters[before]);
        let ends_a_word = before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit());
        let ends_an_acronym =
            before.is_some_and(char::is_uppercase) && letters.get(place + 1).is_some_and(|after| after.is_lowercase());
        if letter.is_uppercase() && (ends_a_word || ends_an_acronym) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_become_snake_case() {
        for (variant, port) in [
            ("Out", "out"),
            ("OverLimit", "over_limit"),
            ("HTTPError", "http_error"),
            ("V2Answer", "v2_answer"),
            ("X", "x"),
            ("Snake_Case", "snake_case"),
        ] {
            assert_eq!(snake_case(variant), port);
        }
    }

    #[test]
    fn names_that_the_host_would_refuse_are_refused() {
        for name in ["", "1st", "a b", "é", "_x", &"x".repeat(65)] {
            assert!(check(PortName { text: name.into(), span: Span::call_site() }).is_err(), "{name:?}");
        }
        assert!(check(PortName { text: "Dead-letter_2".into(), span: Span::call_site() }).is_ok());
    }
}
