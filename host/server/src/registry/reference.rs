//! References to what is in a registry: `oci://HOST/REPOSITORY:TAG` or `oci://HOST/REPOSITORY@sha256:…`.

use std::{fmt, str::FromStr};

/// One artifact in one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// With its port, if it has one.
    pub host: String,
    pub repository: String,
    pub tag: Option<String>,
    /// SHA-256 of the manifest, hexadecimal.
    pub digest: Option<String>,
}

/// Text that is no reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    #[error("`{0}` does not begin with `oci://`; write it like oci://ghcr.io/acme/split:1.2.0")]
    Scheme(String),
    #[error("`{0}` names no repository; write it like oci://ghcr.io/acme/split:1.2.0")]
    NoRepository(String),
    #[error("`{0}` is no registry; write its name or address, and its port if it has one, such as ghcr.io")]
    Host(String),
    #[error("`{0}` names neither a tag nor a digest; write it like oci://ghcr.io/acme/split:1.2.0")]
    NoTag(String),
    #[error("`{0}` is no repository; lower-case letters, digits, `.`, `_`, `-` and `/` are")]
    Repository(String),
    #[error("`{0}` is no tag; letters, digits, `.`, `_` and `-` are, at most 128 of them")]
    Tag(String),
    #[error("`{0}` is no digest; write sha256: and 64 hexadecimal digits in lower case")]
    Digest(String),
}

pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const TAG_BYTES_MAX: usize = 128;

fn is_tag(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TAG_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with(['.', '-'])
}

/// A name or an address, perhaps with a port: nothing that an address would take for a user, a path or a query.
fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

fn is_repository(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"._-".contains(&byte);
    text.split('/').all(|step| {
        step.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) && step.bytes().all(is_plain)
    })
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let rest = text.strip_prefix("oci://").ok_or_else(|| InvalidReference::Scheme(text.to_owned()))?;
        let (host, rest) = rest.split_once('/').ok_or_else(|| InvalidReference::NoRepository(text.to_owned()))?;
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => {
                let plain = digest.strip_prefix("sha256:").filter(|digest| is_sha256(digest));
                (rest, Some(plain.ok_or_else(|| InvalidReference::Digest(digest.to_owned()))?))
            }
        };
        let (repository, tag) = rest.split_once(':').map_or((rest, None), |(repository, tag)| (repository, Some(tag)));
        if host.is_empty() || repository.is_empty() {
            return Err(InvalidReference::NoRepository(text.to_owned()));
        }
        if !is_host(host) {
            return Err(InvalidReference::Host(host.to_owned()));
        }
        if !is_repository(repository) {
            return Err(InvalidReference::Repository(repository.to_owned()));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(InvalidReference::Tag(tag.to_owned()));
        }
        if tag.is_none() && digest.is_none() {
            return Err(InvalidReference::NoTag(text.to_owned()));
        }
        let (repository, host) = (repository.to_owned(), host.to_owned());
        Ok(Self { host, repository, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }
}

impl Reference {
    /// What the registry is asked for: the digest if there is one, because it cannot change.
    pub fn tag_or_digest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, tag) => tag.clone().unwrap_or_default(),
        }
    }

    /// The last step of the repository.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_they_are_shown() {
        let digest = "a".repeat(64);
        let cases = [
            ("oci://ghcr.io/acme/split:1.2.0".to_owned(), "ghcr.io", "1.2.0"),
            ("oci://127.0.0.1:5000/split:latest".to_owned(), "127.0.0.1:5000", "latest"),
            (format!("oci://ghcr.io/acme/split@sha256:{digest}"), "ghcr.io", &format!("sha256:{digest}")),
            (format!("oci://ghcr.io/acme/split:1@sha256:{digest}"), "ghcr.io", &format!("sha256:{digest}")),
        ];
        for (text, host, asked) in cases {
            let reference: Reference = text.parse().expect("a reference");
            assert_eq!(
                (reference.to_string(), reference.host.as_str(), reference.name()),
                (text.clone(), host, "split")
            );
            assert_eq!(reference.tag_or_digest(), asked, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_told_how_to_become_one() {
        for (text, message) in [
            ("ghcr.io/acme/split:1", "begin with `oci://`"),
            ("oci://ghcr.io", "names no repository"),
            ("oci://ghcr.io/:1", "names no repository"),
            ("oci://user:password@ghcr.io/acme/split:1", "is no registry"),
            ("oci://ghcr.io?x/acme/split:1", "is no registry"),
            ("oci://ghcr.io/acme/split", "neither a tag nor a digest"),
            ("oci://ghcr.io/Acme/split:1", "is no repository"),
            ("oci://ghcr.io/../split:1", "is no repository"),
            ("oci://ghcr.io/acme/split:a b", "is no tag"),
            ("oci://ghcr.io/acme/split:..", "is no tag"),
            ("oci://ghcr.io/acme/split@sha256:abc", "is no digest"),
            ("oci://ghcr.io/acme/split@md5:abc", "is no digest"),
        ] {
            let refused = text.parse::<Reference>().expect_err(text).to_string();
            assert!(refused.contains(message), "{text}: {refused}");
        }
    }
}
