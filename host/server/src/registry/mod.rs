//! Components in registries of containers: found by a reference, fetched, and checked against their digests.
//!
//! Speaks as much of the OCI distribution specification as fetching takes, over the HTTP client that is there anyway: a
//! registry is a stranger, so every answer is read up to a bound and no further, an address that it names is never one of this
//! machine, and what it says is told shortened.
//! Knows nothing of plugins: what is in a component the host finds out that it is pushed to.

mod challenge;
mod reference;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{RequestBuilder, Response, StatusCode, header, redirect};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use self::challenge::Challenge;
pub use self::reference::{InvalidReference, Reference};

/// Longest manifest, in bytes: as much as the specification asks registries to take.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest answer with a token, or with an error, in bytes.
const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: usize = 5;
/// Letters of what a registry says that an error tells.
const TOLD_LETTERS: usize = 300;

const MANIFEST_KINDS: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// What the layer of a component is called, by those who wrote the first artifacts of the kind too.
const COMPONENT_KINDS: [&str; 2] = ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"];

/// Why nothing was pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("cannot reach the registry {host}")]
    Unreachable {
        host: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{0} would be fetched over plain HTTP, where others can read and change it; `--insecure` allows that")]
    Plain(&'static str),
    #[error(
        "the registry {host} leads to {address}, which is this machine; a registry elsewhere has no business there"
    )]
    LeadsHere { host: String, address: String },
    #[error("there is no {0} in this registry; check the repository and the tag")]
    NotFound(Reference),
    #[error(
        "the registry {0} wants a user and a password: give --username, and the password in TRELLIS_REGISTRY_PASSWORD"
    )]
    Unauthorized(String),
    #[error("the registry {host} answered {status}")]
    Refused { host: String, status: StatusCode },
    #[error("the registry answered with more than {bytes_max} bytes for {what}")]
    TooLarge { what: &'static str, bytes_max: usize },
    #[error("{what} is no {expected}: {reason}")]
    Unreadable { what: &'static str, expected: &'static str, reason: String },
    #[error("{reference} is no component: {reason}")]
    NoComponent { reference: Reference, reason: String },
    #[error("{what} has the digest sha256:{found}, and sha256:{expected} was expected; do not use it")]
    Digest { what: &'static str, found: String, expected: String },
}

/// What was pulled.
#[derive(Debug)]
pub struct Pulled {
    pub component: Bytes,
    /// SHA-256 of the manifest, hexadecimal: what names these bytes for ever, unlike a tag.
    pub manifest_digest: String,
}

/// Who asks a registry.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub password: zeroize::Zeroizing<String>,
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// The largest component, in bytes.
    pub bytes_max: usize,
    /// Plain HTTP to other machines.
    pub is_insecure: bool,
    pub login: Option<Login>,
}

/// Whether plain HTTP stays on this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Fetches a component. `progress` hears of every piece: bytes so far, bytes in all.
///
/// # Errors
/// See [`PullError`]. What does not match its digest is thrown away.
pub async fn pull(
    reference: &Reference,
    options: &PullOptions,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Pulled, PullError> {
    let mut session = Session::new(reference, options)?;
    let (layer, manifest_digest) = session.manifest().await?;
    let component = session.component(&layer, progress).await?;
    Ok(Pulled { component, manifest_digest })
}

struct Session<'s> {
    http: reqwest::Client,
    base: Url,
    reference: &'s Reference,
    options: &'s PullOptions,
    /// What the registry has given in exchange for the login, or for nothing.
    token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

/// Under which name a token is given, registries do not agree; some use both for the same.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'s> Session<'s> {
    fn new(reference: &'s Reference, options: &'s PullOptions) -> Result<Self, PullError> {
        let is_here = Url::parse(&format!("http://{}", reference.host)).is_ok_and(|url| is_loopback(&url));
        let scheme = if is_here || options.is_insecure { "http" } else { "https" };
        let unreadable = |reason: url::ParseError| PullError::Unreadable {
            what: "the host of the reference",
            expected: "address",
            reason: reason.to_string(),
        };
        let base = Url::parse(&format!("{scheme}://{}/v2/", reference.host)).map_err(unreadable)?;
        crate::tls::install_provider();
        let is_insecure = options.is_insecure;
        let follow = redirect::Policy::custom(move |attempt| {
            let leads_here = is_loopback(attempt.url());
            if attempt.previous().len() > REDIRECTS_MAX {
                attempt.error("too many redirects")
            } else if leads_here && !is_here {
                attempt.error("a redirect to this machine")
            } else if attempt.url().scheme() == "https" || is_insecure || leads_here {
                attempt.follow()
            } else {
                attempt.error("a redirect to plain HTTP")
            }
        });
        let mut http = reqwest::Client::builder()
            .redirect(follow)
            .read_timeout(READ_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("trellis/", env!("CARGO_PKG_VERSION")));
        if is_here {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|source| PullError::Unreachable { host: reference.host.clone(), source })?;
        Ok(Self { http, base, reference, options, token: None })
    }

    fn unreachable(&self, source: reqwest::Error) -> PullError {
        PullError::Unreachable { host: self.reference.host.clone(), source }
    }

    /// The layer with the component, and the digest of the manifest that names it.
    async fn manifest(&mut self) -> Result<(Layer, String), PullError> {
        let address = format!("{}/manifests/{}", self.reference.repository, self.reference.tag_or_digest());
        let answer = self.get(&address, Some(MANIFEST_KINDS)).await?;
        let body = bounded(self, answer, MANIFEST_BYTES_MAX, "a manifest", &mut |_| {}).await?;
        let found = hexadecimal(&body);
        if let Some(expected) = self.reference.digest.as_deref().filter(|expected| *expected != found) {
            return Err(PullError::Digest { what: "the manifest", found, expected: expected.to_owned() });
        }
        let manifest: Manifest = serde_json::from_slice(&body).map_err(|error| PullError::Unreadable {
            what: "what the registry answered",
            expected: "manifest",
            reason: told(&error.to_string()),
        })?;
        self.only_component(manifest).map(|layer| (layer, found))
    }

    fn only_component(&self, manifest: Manifest) -> Result<Layer, PullError> {
        let no_component = |reason: String| PullError::NoComponent { reference: self.reference.clone(), reason };
        let kinds: Vec<String> = manifest.layers.iter().map(|layer| layer.media_type.clone()).collect();
        let mut layers = manifest.layers.into_iter();
        match (layers.next(), layers.next()) {
            (Some(layer), None) if COMPONENT_KINDS.contains(&layer.media_type.as_str()) => {
                let bytes_max = self.options.bytes_max;
                if layer.size > bytes_max as u64 {
                    return Err(PullError::TooLarge { what: "a component; --max-size allows more", bytes_max });
                }
                Ok(layer)
            }
            (None, _) => Err(no_component("it has no layers; is it an index of several images?".to_owned())),
            _ => Err(no_component(format!(
                "one layer of `{}` is expected, and there are: {}",
                COMPONENT_KINDS[0],
                told(&kinds.join(", "))
            ))),
        }
    }

    async fn component(
        &mut self,
        layer: &Layer,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Bytes, PullError> {
        let expected = layer.digest.strip_prefix("sha256:").filter(|text| reference::is_sha256(text));
        let expected = expected.ok_or_else(|| PullError::Unreadable {
            what: "the digest of the layer",
            expected: "sha256",
            reason: told(&layer.digest),
        })?;
        let address = format!("{}/blobs/sha256:{expected}", self.reference.repository);
        let answer = self.get(&address, None).await?;
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX);
        let body =
            bounded(self, answer, size, "a component of that size", &mut |so_far| progress(so_far, layer.size)).await?;
        let found = hexadecimal(&body);
        if found != expected {
            return Err(PullError::Digest { what: "the component", found, expected: expected.to_owned() });
        }
        Ok(body)
    }

    /// Asks once, and once more with a token if one is wanted.
    async fn get(&mut self, address: &str, accept: Option<&str>) -> Result<Response, PullError> {
        let url = self.base.join(address).map_err(|reason| PullError::Unreadable {
            what: "the reference",
            expected: "address",
            reason: reason.to_string(),
        })?;
        let first = self.ask(&url, accept).send().await.map_err(|error| self.unreachable(error))?;
        let answer = match first.status() {
            StatusCode::UNAUTHORIZED => {
                self.log_in(first.headers()).await?;
                self.ask(&url, accept).send().await.map_err(|error| self.unreachable(error))?
            }
            _ => first,
        };
        let host = self.reference.host.clone();
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND => Err(PullError::NotFound(self.reference.clone())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(PullError::Unauthorized(host)),
            status => Err(PullError::Refused { host, status }),
        }
    }

    fn ask(&self, url: &Url, accept: Option<&str>) -> RequestBuilder {
        let mut request = self.http.get(url.clone());
        if let Some(kinds) = accept {
            request = request.header(header::ACCEPT, kinds);
        }
        match (&self.token, &self.options.login) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(login)) => request.basic_auth(&login.username, Some(login.password.as_str())),
            (None, None) => request,
        }
    }

    /// Gets a token where the registry says that there are some.
    async fn log_in(&mut self, headers: &header::HeaderMap) -> Result<(), PullError> {
        let host = || self.reference.host.clone();
        let offered = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = offered.into_iter().find_map(Challenge::of_bearer);
        let challenge = challenge.ok_or_else(|| PullError::Unauthorized(host()))?;
        let url = challenge.token_url(&self.reference.repository).ok_or_else(|| PullError::Unauthorized(host()))?;
        if is_loopback(&url) && !is_loopback(&self.base) {
            return Err(PullError::LeadsHere { host: host(), address: told(url.as_str()) });
        }
        if url.scheme() != "https" && !is_loopback(&url) && !self.options.is_insecure {
            return Err(PullError::Plain("the token of the registry"));
        }
        let mut request = self.http.get(url);
        if let Some(login) = &self.options.login {
            request = request.basic_auth(&login.username, Some(login.password.as_str()));
        }
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        match answer.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(PullError::Unauthorized(host())),
            status => return Err(PullError::Refused { host: host(), status }),
        }
        let body = bounded(self, answer, TOKEN_BYTES_MAX, "a token", &mut |_| {}).await?;
        let answer = serde_json::from_slice::<TokenAnswer>(&body).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        let missing = || PullError::Unreadable {
            what: "what the registry answered",
            expected: "token",
            reason: "it has neither `token` nor `access_token`".to_owned(),
        };
        self.token = Some(token.ok_or_else(missing)?);
        Ok(())
    }
}

/// A body of at most `bytes_max` bytes.
async fn bounded(
    session: &Session<'_>,
    mut answer: Response,
    bytes_max: usize,
    what: &'static str,
    heard: &mut (dyn FnMut(u64) + Send),
) -> Result<Bytes, PullError> {
    let mut body = BytesMut::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| session.unreachable(error))? {
        if body.len() + piece.len() > bytes_max {
            return Err(PullError::TooLarge { what, bytes_max });
        }
        body.extend_from_slice(&piece);
        heard(body.len() as u64);
    }
    Ok(body.freeze())
}

/// The beginning of what a registry says.
fn told(text: &str) -> String {
    let beginning: String = text.chars().take(TOLD_LETTERS).collect();
    if beginning.len() < text.len() { format!("{beginning}…") } else { beginning }
}

fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
