//! What a node may use: outgoing HTTP by method, scheme, host, port and path; stores by name and mode; grids to emit to;
//! credentials that the host adds to its requests, and those that it may read.
//!
//! Says only what was granted. The operator's own policy (no private addresses, …) is the engine's egress guard.

mod credential;

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

pub use credential::{CredentialGrant, HeaderTemplate, InvalidCredentialGrant, Origin};

/// Credentials that one node may be granted: each is kept out of all that the node writes, which costs time and memory.
pub const CREDENTIALS_MAX: usize = 32;
/// Bytes of all of them together. A certificate chain with its key has about a tenth.
pub const SECRET_TEXT_BYTES_MAX: usize = 64 * 1024;

/// All grants of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<StorageGrant>,
    /// Grids of the project that the node may emit events to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emit: Vec<String>,
    /// Credentials that the host adds to requests. The node does not see them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub credential: Vec<CredentialGrant>,
    /// Credentials whose text the node may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret: Vec<String>,
}

impl Grants {
    /// Whether any grant allows this request.
    pub fn allows_request(&self, method: &str, url: &Url) -> bool {
        self.http.iter().any(|grant| grant.allows(method, url))
    }

    /// The mode in which `store` was granted, if it was.
    pub fn storage_mode(&self, store: &str) -> Option<StorageMode> {
        self.storage.iter().filter(|grant| grant.store == store).map(|grant| grant.mode).max()
    }

    /// All credentials of the project that the node needs, each once.
    pub fn credential_names(&self) -> Vec<&str> {
        let added = self.credential.iter().map(|grant| grant.name.as_str());
        let names: BTreeSet<&str> = added.chain(self.secret.iter().map(String::as_str)).collect();
        names.into_iter().collect()
    }

    /// How many bytes of secret text the node is granted, if that is more than it may be: see [`SECRET_TEXT_BYTES_MAX`].
    pub fn too_much_secret_text(&self, bytes_of: impl Fn(&str) -> usize) -> Option<usize> {
        let bytes = self.credential_names().into_iter().map(bytes_of).fold(0, usize::saturating_add);
        (bytes > SECRET_TEXT_BYTES_MAX).then_some(bytes)
    }

    /// Whether the node may read the text of this credential.
    pub fn allows_secret(&self, name: &str) -> bool {
        self.secret.iter().any(|granted| granted == name)
    }

    /// Whether the node may emit events to this grid.
    pub fn allows_emit(&self, grid: &str) -> bool {
        self.emit.iter().any(|granted| granted == grid)
    }
}

/// `GET https://api.github.com/*`, `GET,POST https://*.example.com:8443/hooks/*`, `* https://api.example.com/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// Upper-case methods; empty means any.
    methods: Vec<String>,
    scheme: String,
    host: HostPattern,
    port: u16,
    path: PathPattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Exact(Host),
    /// `*.example.com`: any subdomain, not the domain itself. Holds `.example.com`.
    Subdomains(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathPattern {
    Exact(String),
    /// `/hooks/*`: this text and anything behind it.
    Prefix(String),
}

/// Why a grant cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrant {
    #[error("`{0}` has no method and URL; write it like `GET https://api.example.com/*`")]
    Shape(String),
    #[error("`{0}` is no HTTP method; use GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or `*`")]
    Method(String),
    #[error("`{0}` is no URL pattern; write scheme, host and path, like `https://api.example.com/*`")]
    Url(String),
    #[error("`{0}`: only http and https can be granted")]
    Scheme(String),
    #[error("`{0}`: user names, queries and fragments cannot be granted; leave them out")]
    Extras(String),
    #[error("`{0}`: `*` may stand for the leftmost labels of a host (`*.example.com`) and at the end of the path")]
    Wildcard(String),
    #[error("`{0}` is no storage grant; write `store:r` or `store:rw`")]
    Storage(String),
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl HttpGrant {
    /// Whether this grant covers a request. `url` is already parsed, so every spelling of a host is one host here.
    pub fn allows(&self, method: &str, url: &Url) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|granted| granted == method))
            && url.scheme() == self.scheme
            && url.port_or_known_default() == Some(self.port)
            && url.host().is_some_and(|host| self.host.matches(&host))
            && self.path.matches(url.path())
    }
}

impl HttpGrant {
    /// Where the requests go that it allows, whatever their method and path.
    pub fn origin(&self) -> Origin {
        Origin::new(&self.scheme, &self.host, self.port)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Subdomains(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl HostPattern {
    pub fn matches(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Exact(granted), host) => granted.to_string() == host.to_string(),
            (Self::Subdomains(suffix), Host::Domain(domain)) => {
                domain.len() > suffix.len() && domain.ends_with(suffix.as_str())
            }
            (Self::Subdomains(_), _) => false,
        }
    }
}

impl PathPattern {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(granted) => path == granted,
            Self::Prefix(granted) => path.starts_with(granted.as_str()) && !has_dot_segment(path),
        }
    }
}

/// Times that a path is decoded: no server decodes more often. What is encoded still is refused, since nobody can say what
/// it will become.
const DECODINGS_MAX: usize = 4;

/// `Url` resolves plain dot segments; an encoded one (`%2e%2e`, `..%2f`, encoded several times) could still climb out of a
/// granted prefix at a lenient server, and one with parameters (`..;a`) at a server that cuts them off.
fn has_dot_segment(path: &str) -> bool {
    let mut decoded = path.as_bytes().to_vec();
    for _ in 0..DECODINGS_MAX {
        let further = percent_decoded(&decoded);
        if further == decoded {
            break;
        }
        decoded = further;
    }
    let is_encoded_still = percent_decoded(&decoded) != decoded;
    let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    is_encoded_still || segments.any(|segment| matches!(segment.split(|byte| *byte == b';').next(), Some(b"." | b"..")))
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let escape = if *first == b'%' { behind.get(..2).and_then(hex_byte) } else { None };
        decoded.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &behind[2..] } else { behind };
    }
    decoded
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    // `from_str_radix` alone would take a sign.
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

impl FromStr for HttpGrant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let (methods, pattern) = text.trim().split_once(' ').ok_or_else(|| InvalidGrant::Shape(text.to_owned()))?;
        let pattern = pattern.trim();
        let (subdomains, url_text) = match pattern.split_once("://*.") {
            Some((scheme, rest)) => (true, format!("{scheme}://{rest}")),
            None => (false, pattern.to_owned()),
        };
        let (prefix, url_text) = match url_text.strip_suffix('*') {
            Some(without) => (true, without.to_owned()),
            None => (false, url_text),
        };
        if url_text.contains('*') {
            return Err(InvalidGrant::Wildcard(pattern.to_owned()));
        }
        let url = Url::parse(&url_text).map_err(|_| InvalidGrant::Url(pattern.to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidGrant::Scheme(pattern.to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidGrant::Extras(pattern.to_owned()));
        }
        Ok(Self {
            methods: parse_methods(methods)?,
            scheme: url.scheme().to_owned(),
            host: host_pattern(&url, subdomains).ok_or_else(|| InvalidGrant::Wildcard(pattern.to_owned()))?,
            port: url.port_or_known_default().ok_or_else(|| InvalidGrant::Url(pattern.to_owned()))?,
            path: path_pattern(&url, prefix, &url_text).ok_or_else(|| InvalidGrant::Wildcard(pattern.to_owned()))?,
        })
    }
}

fn parse_methods(text: &str) -> Result<Vec<String>, InvalidGrant> {
    if text == "*" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|method| {
            let upper = method.trim().to_ascii_uppercase();
            if METHODS.contains(&upper.as_str()) { Ok(upper) } else { Err(InvalidGrant::Method(method.to_owned())) }
        })
        .collect()
}

pub(crate) fn host_pattern(url: &Url, subdomains: bool) -> Option<HostPattern> {
    let host = url.host()?;
    match (subdomains, host) {
        (false, host) => Some(HostPattern::Exact(host.to_owned())),
        (true, Host::Domain(domain)) => Some(HostPattern::Subdomains(format!(".{domain}"))),
        // `*.10.0.0.1` means nothing.
        (true, _) => None,
    }
}

/// `written` is the pattern without its `*`: a prefix must come behind the host's slash, or `https://example.com*` would
/// also grant `https://example.com.evil.net`.
fn path_pattern(url: &Url, prefix: bool, written: &str) -> Option<PathPattern> {
    let has_path = written.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    match (prefix, has_path) {
        (true, true) => Some(PathPattern::Prefix(url.path().to_owned())),
        (true, false) => None,
        (false, _) => Some(PathPattern::Exact(url.path().to_owned())),
    }
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = if self.methods.is_empty() { "*".to_owned() } else { self.methods.join(",") };
        write!(f, "{methods} {}://{}", self.scheme, self.host)?;
        let default_port = if self.scheme == "https" { 443 } else { 80 };
        if self.port != default_port {
            write!(f, ":{}", self.port)?;
        }
        match &self.path {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Prefix(path) => write!(f, "{path}*"),
        }
    }
}

/// `cache:rw` or `cache:r`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageGrant {
    pub store: String,
    pub mode: StorageMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageMode {
    Read,
    ReadWrite,
}

impl FromStr for StorageGrant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let invalid = || InvalidGrant::Storage(text.to_owned());
        let (store, mode) = text.split_once(':').ok_or_else(invalid)?;
        crate::description::check_name(store).map_err(|_| invalid())?;
        let mode = match mode {
            "r" => StorageMode::Read,
            "rw" => StorageMode::ReadWrite,
            _ => return Err(invalid()),
        };
        Ok(Self { store: store.to_owned(), mode })
    }
}

impl fmt::Display for StorageGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.mode == StorageMode::ReadWrite { "rw" } else { "r" };
        write!(f, "{}:{mode}", self.store)
    }
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(HttpGrant, StorageGrant);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(grant: &str, method: &str, url: &str, allowed: bool) {
        let parsed: HttpGrant = grant.parse().unwrap_or_else(|error| panic!("{grant}: {error}"));
        let url = Url::parse(url).expect("test URLs are valid");
        assert_eq!(parsed.allows(method, &url), allowed, "{grant} for {method} {url}");
    }

    #[test]
    fn a_grant_covers_its_method_scheme_host_port_and_path_alone() {
        check("GET https://api.example.com/*", "GET", "https://api.example.com/users?page=2", true);
        check("GET https://api.example.com/*", "POST", "https://api.example.com/users", false);
        check("GET https://api.example.com/*", "GET", "http://api.example.com/users", false);
        check("GET https://api.example.com/*", "GET", "https://api.example.com:8443/", false);
        check("GET https://api.example.com/*", "GET", "https://api.example.com.evil.net/", false);
        check("GET,POST https://api.example.com/v1/*", "POST", "https://api.example.com/v1/a", true);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/%2e%2e/admin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/..%2fadmin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/x%2f%2E%2e%5cadmin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/%252e%252e/admin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/100%25/a..b/%2", true);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/..;/admin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/%2e%2e%3ba=b/admin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/%25252e%25252e/admin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/%25252525252e/admin", false);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v1/a;b=..;c/%252541", true);
        check("GET https://api.example.com/v1/*", "GET", "https://api.example.com/v2", false);
        check("GET https://api.example.com/v1", "GET", "https://api.example.com/v1/a", false);
        check("* https://*.example.com/*", "DELETE", "https://eu.api.example.com/x", true);
        check("* https://*.example.com/*", "GET", "https://example.com/", false);
        check("* https://*.example.com/*", "GET", "https://badexample.com/", false);
        check("GET http://127.0.0.1:8080/*", "GET", "http://2130706433:8080/a", true);
        check("GET http://127.0.0.1:8080/*", "GET", "http://127.0.0.1/", false);
        check("GET https://API.Example.com/*", "GET", "https://api.example.com/", true);
    }

    #[test]
    fn grants_that_say_too_much_or_nothing_are_refused() {
        for text in [
            "https://example.com/*",
            "FETCH https://example.com/*",
            "GET ftp://example.com/*",
            "GET https://example.com*",
            "GET https://*/*",
            "GET https://a.*.com/*",
            "GET https://example.com/*/x",
            "GET https://user@example.com/*",
            "GET https://example.com/?q=*",
            "GET https://*.10.0.0.1/*",
        ] {
            assert!(text.parse::<HttpGrant>().is_err(), "{text}");
        }
    }

    #[test]
    fn grants_are_written_as_they_are_read() {
        for text in ["GET,POST https://*.example.com:8443/hooks/*", "* http://localhost/", "GET https://example.com/a"]
        {
            assert_eq!(text.parse::<HttpGrant>().expect("valid").to_string(), text);
        }
        for text in ["cache:rw", "names:r"] {
            assert_eq!(text.parse::<StorageGrant>().expect("valid").to_string(), text);
        }
        for text in ["cache", "cache:w", ":rw", "a b:r", "cache:rw "] {
            assert!(text.parse::<StorageGrant>().is_err(), "{text}");
        }
    }
}
