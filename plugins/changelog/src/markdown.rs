//! A changelog in Markdown.

use std::fmt::Write as _;

use trellis_sdk::records::changelog::Change;

use crate::changes::Changes;

/// Letters of a commit's hash that are shown.
const HASH_LETTERS: usize = 7;

/// The whole document.
pub(crate) fn document(title: &str, changes: &Changes) -> String {
    let mut text = format!("## {}\n", escaped(title));
    if changes.sections.is_empty() {
        text.push_str("\nNothing that users would notice.\n");
    }
    for section in &changes.sections {
        line(&mut text, format_args!("\n### {}\n", escaped(&section.title)));
        for change in &section.changes {
            line(&mut text, format_args!("- {}{}", escaped(&change.text), references(change, changes)));
        }
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

/// ` ([5c1f012](…), [#7](…))`, with what has an address as a link.
fn references(change: &Change, changes: &Changes) -> String {
    let commits = change.commits.iter().map(|key| {
        let hash = key.rsplit_once('@').map_or(key.as_str(), |(_, hash)| hash);
        (key, hash.chars().take(HASH_LETTERS).collect::<String>())
    });
    let issues = change.issues.iter().map(|key| {
        let number = key.rsplit_once('#').map_or(key.as_str(), |(_, number)| number);
        (key, format!("#{number}"))
    });
    let all: Vec<String> = commits.chain(issues).map(|(key, name)| linked(key, &name, changes)).collect();
    if all.is_empty() { String::new() } else { format!(" ({})", all.join(", ")) }
}

fn linked(key: &str, name: &str, changes: &Changes) -> String {
    let address = changes.links.iter().find(|(known, _)| known == key).map(|(_, address)| address);
    // An address with a bracket or a blank would end the link in its middle, and one of another kind may be a script.
    let is_plain = |address: &&String| {
        let is_page = address.starts_with("https://") || address.starts_with("http://");
        is_page && !address.contains([' ', '(', ')', '<', '>', '\n'])
    };
    match address.filter(is_plain) {
        Some(address) => format!("[{name}]({address})"),
        None => name.to_owned(),
    }
}

/// A text on one line, in which nothing is taken for a link, an image or HTML. Emphasis and code stay: people write them. A
/// backslash is one, too, or it would take that of the next letter away.
fn escaped(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut escaped = String::with_capacity(one_line.len());
    for letter in one_line.chars() {
        if matches!(letter, '[' | ']' | '<' | '>' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_sdk::records::changelog::Section;

    #[test]
    fn what_has_an_address_is_a_link_and_text_stays_text() {
        let change = Change {
            text: "no [link](http://example.com) <img> `code`\nin two lines".into(),
            commits: vec!["github:acme/shop@5c1f012abc".into()],
            issues: vec!["github:acme/shop#7".into(), "github:acme/shop#8".into()],
            ..Change::default()
        };
        let links = vec![
            ("github:acme/shop@5c1f012abc".into(), "https://example.com/c".into()),
            ("github:acme/shop#8".into(), "https://example.com/(8)".into()),
        ];
        let changes = Changes { sections: vec![Section { title: "Fixes".into(), changes: vec![change] }], links };
        let expected = "## 1.0\n\n### Fixes\n\n- no \\[link\\](http://example.com) \\<img\\> `code` in two lines \
                        ([5c1f012](https://example.com/c), #7, #8)\n";
        assert_eq!(document("1.0", &changes), expected);
    }

    #[test]
    fn a_backslash_brings_no_link_and_no_html_about() {
        for (text, expected) in [
            ("\\<img src=x a=\\>", "\\\\\\<img src=x a=\\\\\\>"),
            ("\\[x\\](https://example.com)", "\\\\\\[x\\\\\\](https://example.com)"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn only_pages_are_linked() {
        let links = [("a#1", "javascript:alert`1`"), ("a#2", "https://example.com/2")];
        let links = links.map(|(key, address)| (key.to_owned(), address.to_owned())).to_vec();
        let changes = Changes { sections: Vec::new(), links };
        assert_eq!(linked("a#1", "#1", &changes), "#1");
        assert_eq!(linked("a#2", "#2", &changes), "[#2](https://example.com/2)");
    }

    #[test]
    fn a_release_without_changes_says_so() {
        assert!(document("1.0", &Changes::default()).contains("Nothing that users would notice"));
    }
}
