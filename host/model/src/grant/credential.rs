//! A credential that the host adds to a node's requests: to which host, and as which header.
//!
//! Says where a secret may go; what it is, and whether the request is allowed at all, is decided elsewhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use super::{HostPattern, HttpGrant, host_pattern};
use crate::{credential::Secret, description::check_name};

/// What stands for the secret in a header template.
const PLACEHOLDER: &str = "{secret}";
const STANDARD_HEADER: &str = "authorization: Bearer {secret}";
/// Longest header template, in bytes.
const HEADER_BYTES_MAX: usize = 256;

/// Headers that are about the connection, or that the host sets: never a place for a secret.
const HOST_HEADERS: [&str; 15] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "trellis-hops",
    "upgrade",
];

/// `{ name = "github", host = "api.github.com", header = "authorization: Bearer {secret}" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct CredentialGrant {
    /// Of a credential of the project.
    pub name: String,
    origin: Origin,
    header: HeaderTemplate,
}

/// How the grant is written in JSON.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    host: String,
    header: String,
}

/// Scheme, host and port that a credential is good for. Written as a host, then https is meant; or with its scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: HostPattern,
    port: u16,
}

/// `authorization: Bearer {secret}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTemplate {
    /// Lower case.
    name: String,
    before: String,
    after: String,
}

/// Why a credential's grant cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentialGrant {
    #[error("credential name `{0}` {1}")]
    Name(String, &'static str),
    #[error(
        "`{0}` is no host of a credential; write a host such as `api.example.com`, `*.example.com` or `api.example.com:8443`"
    )]
    Host(String),
    #[error("`{0}` is no header template; write it like `{STANDARD_HEADER}`, with `{PLACEHOLDER}` once")]
    Header(String),
    #[error("the header `{0}` is the host's to set, not a place for a credential")]
    HostHeader(String),
}

impl CredentialGrant {
    pub fn new(name: String, origin: Origin, header: HeaderTemplate) -> Self {
        Self { name, origin, header }
    }

    /// Whether a request to this URL is to carry the credential.
    pub fn covers(&self, url: &Url) -> bool {
        url.scheme() == self.origin.scheme
            && url.port_or_known_default() == Some(self.origin.port)
            && url.host().is_some_and(|host| self.origin.host.matches(&host))
    }

    /// The header's name, in lower case.
    pub fn header_name(&self) -> &str {
        &self.header.name
    }

    /// The header's value.
    pub fn header_value(&self, secret: &Secret) -> Zeroizing<String> {
        let HeaderTemplate { before, after, .. } = &self.header;
        // With its whole room from the start: a text that grows leaves copies of itself behind.
        let mut value = Zeroizing::new(String::with_capacity(before.len() + secret.reveal().len() + after.len()));
        value.push_str(before);
        value.push_str(secret.reveal());
        value.push_str(after);
        value
    }

    /// Whether both would set the same header of some request.
    pub fn collides_with(&self, other: &Self) -> bool {
        self.header.name == other.header.name && self.origin.overlaps(&other.origin)
    }

    /// Whether a request that the HTTP grant allows could carry the credential.
    pub fn is_reached_by(&self, http: &HttpGrant) -> bool {
        self.origin.overlaps(&http.origin())
    }
}

impl Origin {
    /// Of all requests that an HTTP grant allows.
    pub(super) fn new(scheme: &str, host: &HostPattern, port: u16) -> Self {
        Self { scheme: scheme.to_owned(), host: host.clone(), port }
    }

    pub fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.port == other.port && self.host.overlaps(&other.host)
    }
}

impl HostPattern {
    /// Whether some host matches both.
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => one == other,
            (Self::Exact(host), Self::Subdomains(suffix)) | (Self::Subdomains(suffix), Self::Exact(host)) => {
                let host = host.to_string();
                host.len() > suffix.len() && host.ends_with(suffix.as_str())
            }
            (Self::Subdomains(one), Self::Subdomains(other)) => {
                one.ends_with(other.as_str()) || other.ends_with(one.as_str())
            }
        }
    }
}

impl FromStr for Origin {
    type Err = InvalidCredentialGrant;

    fn from_str(text: &str) -> Result<Self, InvalidCredentialGrant> {
        let invalid = || InvalidCredentialGrant::Host(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let (subdomains, host) = match rest.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, rest),
        };
        let has_more = host
            .contains(|letter: char| matches!(letter, '/' | '\\' | '*' | '@' | '?' | '#') || letter.is_whitespace());
        if host.is_empty() || has_more || !matches!(scheme, "http" | "https") {
            return Err(invalid());
        }
        let url = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| invalid())?;
        let port = url.port_or_known_default().ok_or_else(invalid)?;
        Ok(Self { scheme: scheme.to_owned(), host: host_pattern(&url, subdomains).ok_or_else(invalid)?, port })
    }
}

impl fmt::Display for Origin {
    /// A host alone means https at its own port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_encrypted() {
            write!(f, "{}://", self.scheme)?;
        }
        write!(f, "{}", self.host)?;
        let own_port = if self.is_encrypted() { 443 } else { 80 };
        if self.port == own_port { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Default for HeaderTemplate {
    fn default() -> Self {
        STANDARD_HEADER.parse().expect("the standard template is one")
    }
}

impl FromStr for HeaderTemplate {
    type Err = InvalidCredentialGrant;

    fn from_str(text: &str) -> Result<Self, InvalidCredentialGrant> {
        let invalid = || InvalidCredentialGrant::Header(text.chars().take(HEADER_BYTES_MAX).collect());
        let (name, value) = text.split_once(':').ok_or_else(invalid)?;
        let (before, after) = value.trim().split_once(PLACEHOLDER).ok_or_else(invalid)?;
        let name = name.trim().to_ascii_lowercase();
        let is_visible = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let is_sound = is_header_name(&name) && is_visible(before) && is_visible(after);
        if text.len() > HEADER_BYTES_MAX || !is_sound || after.contains(PLACEHOLDER) {
            return Err(invalid());
        }
        if HOST_HEADERS.contains(&name.as_str()) {
            return Err(InvalidCredentialGrant::HostHeader(name));
        }
        Ok(Self { name, before: before.to_owned(), after: after.to_owned() })
    }
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl fmt::Display for HeaderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{PLACEHOLDER}{}", self.name, self.before, self.after)
    }
}

impl TryFrom<Written> for CredentialGrant {
    type Error = InvalidCredentialGrant;

    fn try_from(written: Written) -> Result<Self, InvalidCredentialGrant> {
        let Written { name, host, header } = written;
        check_name(&name).map_err(|reason| InvalidCredentialGrant::Name(name.clone(), reason))?;
        Ok(Self { name, origin: host.parse()?, header: header.parse()? })
    }
}

impl From<CredentialGrant> for Written {
    fn from(grant: CredentialGrant) -> Self {
        let CredentialGrant { name, origin, header } = grant;
        Self { name, host: origin.to_string(), header: header.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(host: &str, header: &str) -> CredentialGrant {
        let origin = host.parse().unwrap_or_else(|error| panic!("{host}: {error}"));
        CredentialGrant::new("key".to_owned(), origin, header.parse().expect("a header template"))
    }

    #[test]
    fn a_credential_goes_to_its_own_scheme_host_and_port_alone() {
        for (host, url, covered) in [
            ("api.example.com", "https://api.example.com/a?b", true),
            ("api.example.com", "https://API.EXAMPLE.com./", false),
            ("api.example.com", "http://api.example.com/", false),
            ("api.example.com", "https://api.example.com:8443/", false),
            ("api.example.com", "https://api.example.com.evil.net/", false),
            ("api.example.com", "https://evil.net/api.example.com", false),
            ("api.example.com:8443", "https://api.example.com:8443/", true),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*.example.com", "https://evilexample.com/", false),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/", true),
            ("http://127.0.0.1:8080", "https://127.0.0.1:8080/", false),
        ] {
            let url = Url::parse(url).expect("test URLs are valid");
            assert_eq!(grant(host, STANDARD_HEADER).covers(&url), covered, "{host} for {url}");
        }
    }

    #[test]
    fn a_header_is_its_template_with_the_secret_in_it() {
        let secret = Secret::from("s3cret-text".to_owned());
        for (template, name, value) in [
            (STANDARD_HEADER, "authorization", "Bearer s3cret-text"),
            ("X-Api-Key:{secret}", "x-api-key", "s3cret-text"),
            ("Cookie: session={secret}; path=/", "cookie", "session=s3cret-text; path=/"),
        ] {
            let grant = grant("api.example.com", template);
            assert_eq!((grant.header_name(), grant.header_value(&secret).as_str()), (name, value));
        }
    }

    #[test]
    fn hosts_and_headers_that_mean_nothing_are_refused() {
        for host in [
            "",
            "*",
            "*.",
            "api.example.com/x",
            "ftp://api.example.com",
            "a b",
            "u@api.example.com",
            "*.10.0.0.1",
            "a.*.com",
            "https://",
        ] {
            assert!(host.parse::<Origin>().is_err(), "{host}");
        }
        for header in [
            "",
            "authorization",
            "authorization: Bearer",
            ": {secret}",
            "a b: {secret}",
            "x: {secret}{secret}",
            "x: a\r\ny: {secret}",
            "x: ü{secret}",
            "Host: {secret}",
            "transfer-encoding: {secret}",
        ] {
            assert!(header.parse::<HeaderTemplate>().is_err(), "{header}");
        }
    }

    #[test]
    fn grants_are_written_as_they_are_read() {
        let json =
            serde_json::json!({ "name": "key", "host": "http://*.example.com:8080", "header": "x-key: a{secret}b" });
        let grant: CredentialGrant = serde_json::from_value(json.clone()).expect("valid");
        assert_eq!(serde_json::to_value(&grant).expect("plain"), json);
    }

    #[test]
    fn two_credentials_collide_where_they_would_set_the_same_header() {
        let one = grant("api.example.com", STANDARD_HEADER);
        assert!(one.collides_with(&grant("*.example.com", "Authorization: Basic {secret}")));
        assert!(!one.collides_with(&grant("*.example.com", "x-key: {secret}")));
        assert!(!one.collides_with(&grant("api.example.org", STANDARD_HEADER)));
        assert!(!one.collides_with(&grant("http://api.example.com", STANDARD_HEADER)));
    }
}
