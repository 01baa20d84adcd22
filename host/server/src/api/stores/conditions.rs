//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110) of entries whose revisions are numbers.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use trellis_store::stores::Expected;

use super::Problem;

/// A revision as a strong validator.
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes")
}

/// What a header says of revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Any,
    Version(i64),
}

fn condition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let version = || text.strip_prefix('"')?.strip_suffix('"')?.parse().ok().map(Condition::Version);
    let parsed = if text == "*" { Some(Condition::Any) } else { version() };
    match parsed.filter(|_| values.next().is_none()) {
        Some(condition) => Ok(Some(condition)),
        None => Err(Problem::bad_request(format!(
            "the header {name} is not one revision as an `ETag` of this host tells it, such as \"42\", or `*`"
        ))),
    }
}

/// What a write or a deletion expects to find.
///
/// # Errors
/// Headers that are not understood, or that contradict each other.
pub fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    match (condition(headers, &header::IF_MATCH)?, condition(headers, &header::IF_NONE_MATCH)?) {
        (None, None) => Ok(Expected::Anything),
        (Some(Condition::Any), None) => Ok(Expected::Present),
        (Some(Condition::Version(version)), None) => Ok(Expected::Version(version)),
        (None, Some(Condition::Any)) => Ok(Expected::Absent),
        (None, Some(Condition::Version(_))) => {
            Err(Problem::bad_request("If-None-Match is taken with `*` here: only if the key is absent"))
        }
        (Some(_), Some(_)) => Err(Problem::bad_request("If-Match and If-None-Match are not taken together")),
    }
}

/// Whether a reader has this revision already. A condition that is not understood asks for the value, as the RFC says.
pub fn is_unchanged(headers: &HeaderMap, version: i64) -> bool {
    match condition(headers, &header::IF_NONE_MATCH) {
        Ok(Some(Condition::Any)) => true,
        Ok(Some(Condition::Version(known))) => known == version,
        Ok(None) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(HeaderName, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect()
    }

    #[test]
    fn conditions_are_read_as_they_are_told() {
        let (is, none) = (header::IF_MATCH, header::IF_NONE_MATCH);
        let cases = [
            (vec![], Ok(Expected::Anything)),
            (vec![(is.clone(), "\"42\"")], Ok(Expected::Version(42))),
            (vec![(is.clone(), "*")], Ok(Expected::Present)),
            (vec![(none.clone(), "*")], Ok(Expected::Absent)),
            (vec![(is.clone(), "42")], Err("such as \"42\"")),
            (vec![(is.clone(), "W/\"42\"")], Err("such as \"42\"")),
            (vec![(is.clone(), "\"1\", \"2\"")], Err("such as \"42\"")),
            (vec![(none.clone(), "\"42\"")], Err("only if the key is absent")),
            (vec![(is.clone(), "*"), (none.clone(), "*")], Err("not taken together")),
        ];
        for (given, wanted) in cases {
            match (expected(&headers(&given)), wanted) {
                (Ok(read), Ok(wanted)) => assert_eq!(read, wanted, "{given:?}"),
                (Err(problem), Err(text)) => assert!(problem.detail.contains(text), "{given:?}: {}", problem.detail),
                (read, wanted) => panic!("{given:?}: {read:?}, not {wanted:?}"),
            }
        }
    }

    #[test]
    fn a_reader_who_has_the_revision_is_not_sent_it_again() {
        let known = |value: &str| is_unchanged(&headers(&[(header::IF_NONE_MATCH, value)]), 42);
        assert!(known("\"42\"") && known("*"));
        assert!(!known("\"41\"") && !known("nonsense"));
        assert!(!is_unchanged(&HeaderMap::new(), 42));
        assert_eq!(etag(42), "\"42\"");
    }
}
