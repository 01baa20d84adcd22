//! Where a registry says that tokens are given out: the `Bearer` challenge of its `WWW-Authenticate`.
//!
//! Pure: decides nothing of whether to go there.

use url::Url;

/// A `Bearer` challenge.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    /// None: it is a challenge of another kind, or names no realm.
    pub fn of_bearer(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        while let Some((name, value, behind)) = parameter(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
            rest = behind;
        }
        Some(Self { realm: realm?, service, scope })
    }

    /// Where to ask for a token that may read this repository. None: the realm is no address.
    pub fn token_url(&self, repository: &str) -> Option<Url> {
        let mut url = Url::parse(&self.realm).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let scope = self.scope.clone().unwrap_or_else(|| format!("repository:{repository}:pull"));
        let mut query = url.query_pairs_mut();
        if let Some(service) = &self.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &scope);
        drop(query);
        Some(url)
    }
}

/// The first `name="value"` or `name=value`, and what is behind it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.trim_start_matches([' ', ',', '\t']).split_once('=')?;
    match rest.strip_prefix('"') {
        Some(quoted) => {
            // Realms, services and scopes have no quotes in them.
            let (value, behind) = quoted.split_once('"')?;
            Some((name.trim(), value.to_owned(), behind))
        }
        None => {
            let end = rest.find(',').unwrap_or(rest.len());
            Some((name.trim(), rest[..end].trim().to_owned(), &rest[end..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(header: &str) -> Option<String> {
        Challenge::of_bearer(header)?.token_url("acme/split").map(String::from)
    }

    #[test]
    fn a_token_is_asked_for_where_the_registry_says() {
        let full = r#"Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:acme/split:pull""#;
        let wanted =
            "https://auth.example.com/token?service=registry.example.com&scope=repository%3Aacme%2Fsplit%3Apull";
        assert_eq!(url(full).as_deref(), Some(wanted));
        let short = "https://auth.example.com/token?scope=repository%3Aacme%2Fsplit%3Apull";
        assert_eq!(url("bearer realm=https://auth.example.com/token").as_deref(), Some(short));
        for header in [
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"file:///etc/passwd\"",
            "Bearer realm=\"x",
        ] {
            assert_eq!(url(header), None, "{header}");
        }
    }
}
