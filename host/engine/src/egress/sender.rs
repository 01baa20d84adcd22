//! The guarded sender: HTTP over TLS to addresses that were judged, and to no others.
//!
//! A name is resolved once per connection, every address of the answer is judged, and the connection goes to those very
//! addresses. No proxy, no redirects. Connections are kept for reuse within one account only, so that no account's bytes
//! ever share a connection with another's; clients are made when first needed and the least used are dropped.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use http_body_util::{BodyDataStream, BodyExt};
use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;
use tokio::time::timeout;
use trellis_model::AccountId;

use super::{
    body::TimedBody,
    limits::EgressLimits,
    lookup::{Lookup, LookupError, LookupShare, Lookups, SystemLookup},
    outbound::{Outbound, OutboundBody, OutboundRequest, OutboundResponse, SendError, find},
    policy::{EgressPolicy, ForbiddenAddress},
    unpacking::{offer_packing, unpack},
};

/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unused connections kept for one host of one account.
const IDLE_CONNECTIONS_MAX: usize = 4;
/// Clients (of accounts with recent requests) kept for reuse. An empty one costs about 10 KiB.
const CLIENTS_MAX: usize = 512;
const USER_AGENT: &str = concat!("trellis/", env!("CARGO_PKG_VERSION"));

/// Whose connections a client holds, and the port for which its resolver knows exceptions.
type ClientKey = (AccountId, Option<u16>);

/// The clients of all accounts.
pub(crate) struct Senders {
    policy: Arc<EgressPolicy>,
    limits: EgressLimits,
    lookups: Arc<Lookups>,
    /// Trusted besides the platform's.
    roots: Vec<CertificateDer<'static>>,
    /// Made at the first request: reading the platform's trust roots takes a while.
    tls: OnceLock<rustls::ClientConfig>,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    by_key: HashMap<ClientKey, (Client, u64)>,
    /// Counts uses; a client's number is the time of its latest use.
    uses: u64,
}

impl Senders {
    pub fn new(policy: Arc<EgressPolicy>, limits: EgressLimits, roots: Vec<CertificateDer<'static>>) -> Self {
        Self::asking(Arc::new(SystemLookup), policy, limits, roots)
    }

    fn asking(
        names: Arc<dyn Lookup>,
        policy: Arc<EgressPolicy>,
        limits: EgressLimits,
        roots: Vec<CertificateDer<'static>>,
    ) -> Self {
        let (at_once, per_account) = (limits.lookups_at_once, limits.lookups_at_once_per_account);
        let lookups = Arc::new(Lookups::new(names, at_once, per_account, limits.lookup_timeout));
        Self { policy, limits, lookups, roots, tls: OnceLock::new(), clients: Mutex::default() }
    }

    fn client(&self, account: AccountId, port: u16) -> Result<Client, SendError> {
        let key = (account, self.policy.has_exception_at(port).then_some(port));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.uses += 1;
        let now = clients.uses;
        if let Some((client, used)) = clients.by_key.get_mut(&key) {
            *used = now;
            return Ok(client.clone());
        }
        let client = self.build_client(key)?;
        if clients.by_key.len() >= CLIENTS_MAX
            && let Some(oldest) = clients.by_key.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            clients.by_key.remove(&oldest);
        }
        clients.by_key.insert(key, (client.clone(), now));
        Ok(client)
    }

    fn build_client(&self, (account, exception_port): ClientKey) -> Result<Client, SendError> {
        let tls = self.tls.get_or_init(|| tls_config(&self.roots)).clone();
        let resolver = JudgingResolver {
            policy: Arc::clone(&self.policy),
            lookups: Arc::clone(&self.lookups),
            share: self.lookups.share(account),
            exception_port,
        };
        Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver)
            .no_proxy()
            // Unpacked here, where what comes over the wire is counted.
            .no_gzip()
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(self.limits.connect_timeout)
            .timeout(self.limits.exchange_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build()
            .map_err(|error| SendError::Transport(format!("cannot set up an HTTP client: {error}")))
    }
}

/// TLS 1.2 and 1.3 with ring, trusting the platform's roots and these. Shared by all clients: only the settings, not
/// connections.
fn tls_config(roots: &[CertificateDer<'static>]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3");
    let mut config = match Verifier::new_with_extra_roots(roots.iter().cloned(), provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "this machine has no trust roots; every HTTPS request of a guest will fail");
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Sessions could be resumed across accounts, which would tell a server that they share a host.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Resolves names and refuses those of which any address is forbidden.
struct JudgingResolver {
    policy: Arc<EgressPolicy>,
    lookups: Arc<Lookups>,
    /// Of the client's account.
    share: LookupShare,
    /// The one port that this resolver's client connects to, where the policy has exceptions there; else none apply.
    exception_port: Option<u16>,
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, lookups, share) = (Arc::clone(&self.policy), Arc::clone(&self.lookups), self.share.clone());
        // Port 0 is in no exception.
        let port = self.exception_port.unwrap_or(0);
        Box::pin(async move {
            let addresses = lookups.addresses(&share, name.as_str().to_owned()).await?;
            policy.check_all(&addresses, port)?;
            let judged: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(judged)
        })
    }
}

/// Sends the requests of one account.
pub(crate) struct AccountSender {
    pub senders: Arc<Senders>,
    pub account: AccountId,
}

#[async_trait::async_trait]
impl Outbound for AccountSender {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let port = request.url.port_or_known_default().unwrap_or_default();
        let client = self.senders.client(self.account, port)?;
        let mut headers = request.headers;
        offer_packing(&mut headers);
        let mut builder = client.request(request.method, request.url).headers(headers);
        builder = match request.body {
            OutboundBody::Empty => builder,
            OutboundBody::Full(bytes) => builder.body(bytes),
            OutboundBody::Stream(stream) => builder.body(reqwest::Body::wrap_stream(BodyDataStream::new(stream))),
        };
        let (deadlines, limits) = (request.deadlines, &self.senders.limits);
        let sending = builder.timeout(deadlines.exchange(limits)).send();
        let response = match timeout(deadlines.head(limits), sending).await {
            Ok(response) => response.map_err(|error| explain(&error))?,
            Err(_) => return Err(SendError::Timeout("waiting for the response")),
        };
        let response = http::Response::<reqwest::Body>::from(response);
        let response = response.map(|body| body.map_err(|error| explain(&error)).boxed_unsync());
        let (parts, body) = unpack(response, request.wire).await.into_parts();
        let body = TimedBody::new(body, deadlines.between_bytes(limits)).boxed_unsync();
        Ok(OutboundResponse { status: parts.status, headers: parts.headers, body })
    }
}

/// The cause of a failure, without the URL: a query may hold a secret.
fn explain(error: &reqwest::Error) -> SendError {
    if let Some(forbidden) = find::<ForbiddenAddress>(error) {
        return SendError::Denied(forbidden.to_string());
    }
    if let Some(lookup) = find::<LookupError>(error) {
        return match lookup {
            LookupError::TimedOut(_) => SendError::Timeout("looking up the host"),
            LookupError::Failed(_) | LookupError::NoAddress => SendError::Dns(lookup.to_string()),
        };
    }
    if let Some(guest_side) = find::<SendError>(error) {
        return guest_side.clone();
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return SendError::Tls(tls.to_string());
    }
    let cause = root_cause(error);
    if error.is_dns() {
        SendError::Dns(cause)
    } else if error.is_timeout() {
        SendError::Timeout(if error.is_connect() { "while connecting" } else { "waiting for the response" })
    } else if error.is_connect() {
        SendError::Connect(cause)
    } else if error.is_builder() {
        SendError::Invalid(cause)
    } else {
        SendError::Transport(cause)
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request failed".to_owned(),
        None => cause.to_string(),
    }
}

#[cfg(test)]
mod tests;
