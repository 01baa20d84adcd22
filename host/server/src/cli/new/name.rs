//! A project's name, which its plugin will have too: so it keeps the rules of both.

use std::str::FromStr;

use trellis_model::description::check_name;

/// A name that manifests take, and every language's own packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectName(String);

/// Text that cannot be a project's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProjectName {
    #[error(
        "`{name}` cannot be a project's name: it {reason}; use lower-case letters, digits, `-` and `_`, such as `my-project`"
    )]
    Shape { name: String, reason: &'static str },
    #[error("`{name}` cannot be a project's name: a crate of that name would be {reason}; try `my-{name}`")]
    Reserved { name: String, reason: &'static str },
}

const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "union", "unsafe", "unsized", "use", "virtual", "where", "while",
];
/// The crates that every crate has already, and the ones that this one depends on.
const TAKEN: [&str; 7] = ["alloc", "core", "proc_macro", "std", "test", "trellis_sdk", "trellis_sdk_macros"];

impl ProjectName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether cargo and rustc take it, too.
    ///
    /// # Errors
    /// A crate cannot have this name.
    pub fn check_crate(&self) -> Result<(), InvalidProjectName> {
        let reserved = |reason| Err(InvalidProjectName::Reserved { name: self.0.clone(), reason });
        let crate_name = self.0.replace('-', "_");
        if KEYWORDS.contains(&crate_name.as_str()) {
            return reserved("called like a word of the Rust language");
        }
        if TAKEN.contains(&crate_name.as_str()) {
            return reserved("mistaken for one that every plugin has already");
        }
        Ok(())
    }
}

impl FromStr for ProjectName {
    type Err = InvalidProjectName;

    fn from_str(name: &str) -> Result<Self, InvalidProjectName> {
        let shape = |reason| Err(InvalidProjectName::Shape { name: name.to_owned(), reason });
        if let Err(reason) = check_name(name) {
            return shape(reason);
        }
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return shape("has upper-case letters");
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_all_tools_take_are_accepted() {
        for name in ["hello", "my-project", "a1", "snake_case", &"a".repeat(64)] {
            let parsed: ProjectName = name.parse().expect(name);
            assert_eq!(parsed.as_str(), name);
            parsed.check_crate().expect(name);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_reason_and_a_way_out() {
        let cases = [
            ("", "it is empty"),
            ("1st", "does not begin with a letter"),
            ("-x", "does not begin with a letter"),
            ("a/b", "has characters other than letters"),
            ("../up", "does not begin with a letter"),
            ("né", "has characters other than letters"),
            ("Hello", "has upper-case letters"),
            ("match", "a word of the Rust language; try `my-match`"),
            ("std", "every plugin has already; try `my-std`"),
            ("proc-macro", "every plugin has already"),
            ("trellis-sdk", "every plugin has already"),
        ];
        for (name, reason) in cases {
            let parsed = name.parse::<ProjectName>().and_then(|parsed| parsed.check_crate());
            let error = parsed.expect_err(name).to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
        assert!("a".repeat(65).parse::<ProjectName>().is_err());
    }

    #[test]
    fn words_of_rust_are_names_in_other_languages() {
        assert!("match".parse::<ProjectName>().is_ok());
    }
}
