//! Messages of commits, as [Conventional Commits](https://www.conventionalcommits.org/en/v1.0.0/) have them:
//! `type(scope)!: description`, and `BREAKING CHANGE: …` further down.

/// What a message says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Lower case; none if the message follows no convention.
    pub kind: Option<String>,
    pub scope: Option<String>,
    pub description: String,
    pub is_breaking: bool,
    /// What users have to change, if it is said.
    pub breaking: Option<String>,
    /// Numbers of the issues that it names.
    pub issues: Vec<u64>,
    /// The commit that it takes back.
    pub reverts: Option<String>,
}

impl Message {
    /// Reads a message: its first line, and the whole of it where there is more.
    pub(crate) fn parse(title: &str, whole: Option<&str>) -> Self {
        let rest = whole.and_then(|whole| whole.split_once('\n')).map_or("", |(_, rest)| rest);
        let breaking = footer(rest, &["BREAKING CHANGE", "BREAKING-CHANGE"]);
        let mut issues = numbers(title);
        issues.extend(numbers(rest));
        issues.sort_unstable();
        issues.dedup();
        let (kind, scope, marked, description) = match head(title) {
            Some((kind, scope, marked, description)) => (Some(kind), scope, marked, description),
            None => (None, None, false, title),
        };
        Self {
            kind,
            scope,
            description: without_reference(description).to_owned(),
            is_breaking: marked || breaking.is_some(),
            breaking,
            issues,
            reverts: reverted(rest),
        }
    }
}

/// Type, scope, whether it is marked as breaking, and the description.
fn head(title: &str) -> Option<(String, Option<String>, bool, &str)> {
    let (head, description) = title.split_once(": ")?;
    let (head, marked) = head.strip_suffix('!').map_or((head, false), |head| (head, true));
    let (kind, scope) = match head.split_once('(') {
        Some((kind, scope)) => (kind, Some(scope.strip_suffix(')')?)),
        None => (head, None),
    };
    let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    let is_said = is_kind && !description.trim().is_empty();
    is_said.then(|| (kind.to_ascii_lowercase(), scope.map(str::to_owned), marked, description.trim()))
}

/// The text behind a footer's token, to the end of its paragraph, on one line.
fn footer(rest: &str, tokens: &[&str]) -> Option<String> {
    let mut lines = rest.lines().skip_while(|line| value_of(line, tokens).is_none());
    let first = value_of(lines.next()?, tokens)?.to_owned();
    let more = lines.take_while(|line| !line.trim().is_empty());
    Some(more.fold(first, |text, line| format!("{text} {}", line.trim())).trim().to_owned())
}

fn value_of<'a>(line: &'a str, tokens: &[&str]) -> Option<&'a str> {
    tokens.iter().find_map(|token| line.strip_prefix(token)?.strip_prefix(": "))
}

/// `#7`, but not `a#7`, `#7a` or a number beyond what forges count to.
fn numbers(text: &str) -> Vec<u64> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('#') {
        let before = text[..at].chars().next_back();
        let behind = &text[at + 1..];
        let end = behind.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(behind.len());
        let is_apart = before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '/' && letter != '&')
            && !behind[end..].starts_with(|letter: char| letter.is_alphanumeric());
        if let (true, Ok(number)) = (is_apart, behind[..end].parse::<u32>()) {
            found.push(number.into());
        }
    }
    found
}

/// The description without the `(#7)` that forges put behind it: the number is told with the issue.
fn without_reference(description: &str) -> &str {
    let cut = description.rsplit_once(" (#").filter(|(_, number)| {
        number
            .strip_suffix(')')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    cut.map_or(description, |(before, _)| before)
}

/// As `git revert` writes it.
fn reverted(rest: &str) -> Option<String> {
    let (_, behind) = rest.split_once("This reverts commit ")?;
    let end = behind.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(behind.len());
    (end >= 7).then(|| behind[..end].to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(text: &str) -> Message {
        Message::parse(text, None)
    }

    #[test]
    fn a_conventional_title_is_taken_apart() {
        let message = title("feat(cart)!: coupons (#12)");
        assert_eq!((message.kind.as_deref(), message.scope.as_deref()), (Some("feat"), Some("cart")));
        assert_eq!((message.description.as_str(), message.is_breaking, message.issues), ("coupons", true, vec![12]));
        assert_eq!(title("Fix: x").kind.as_deref(), Some("fix"));
    }

    #[test]
    fn other_titles_have_no_type() {
        for text in
            ["Coupons", "feat:no blank", "feat (cart): x", "see http://example.com: x", ": x", "feat(cart: x", "fix: "]
        {
            assert_eq!(title(text).kind, None, "{text}");
        }
        assert_eq!(title("Coupons for all (#12)").description, "Coupons for all");
        assert_eq!(title("Coupons (all) (v2)").description, "Coupons (all) (v2)");
    }

    #[test]
    fn a_breaking_change_is_told_in_the_body_too() {
        let whole = "fix: x\n\nBecause.\n\nBREAKING CHANGE: the key `a`\nis called `b` now\n\nCloses #3";
        let message = Message::parse("fix: x", Some(whole));
        assert_eq!(message.breaking.as_deref(), Some("the key `a` is called `b` now"));
        assert!(message.is_breaking && message.issues == [3]);
    }

    #[test]
    fn issues_are_named_by_a_number_of_their_own() {
        assert_eq!(title("fix: a (#7), #8 and #7").issues, [7, 8]);
        for text in ["a#7", "#7a", "#", "x/#7", "&#39;", "#99999999999999"] {
            assert!(title(text).issues.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_revert_names_what_it_takes_back() {
        let whole = "Revert \"feat: x\"\n\nThis reverts commit 5C1F012abcdef.";
        assert_eq!(Message::parse("Revert \"feat: x\"", Some(whole)).reverts.as_deref(), Some("5c1f012abcdef"));
        assert_eq!(Message::parse("x", Some("x\n\nThis reverts commit zzz")).reverts, None);
    }
}
