//! The HTTP edge: connections are accepted, bounded in number, size and time, and drained at the end.
//!
//! Every client is taken for hostile until its request's head is complete. Deliberately does not know what is served:
//! limits on bodies and on whole requests are layers of the router.
//!
//! ```text
//! accept ─► head (timeout, size, count) ─► router ─► response (stall limit) ─► next head … ─► closed
//!    └─► 503, where one client has too many
//! shutdown: no more accepting, idle connections close, running requests finish, the rest is cut off at the deadline
//! ```

mod peers;
mod stall;

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::{
    peers::{PeerPlace, Peers},
    stall::{Patience, StallGuard},
};
use crate::{api::Problem, config::HttpConfig};

/// Pause after a failure to accept that is the machine's (no more files, no more memory): time for others to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Room for reading, in bytes: a head fits in, and a large body comes in few pieces.
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Limits of the edge.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// How long a client may take to send a request's head, counted from the connection's start or the former response.
    pub header_timeout: Duration,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Size of a request's head, in bytes.
    pub header_bytes_max: usize,
    /// How long a client may take no byte of a response, and how long it may fall short of the rate.
    pub stall_timeout: Duration,
    /// What a client must take in each second that the host has to wait for it.
    pub response_bytes_per_second: u64,
    /// Connections at the same time; more wait in the kernel's queue.
    pub connections_max: usize,
    /// The same of one client; more are told 503 and closed.
    pub peer_connections_max: usize,
    /// From where connections are not counted by client.
    pub proxies: Vec<IpNet>,
    /// How long running requests may go on after the shutdown.
    pub drain: Duration,
}

impl From<&HttpConfig> for EdgeConfig {
    fn from(config: &HttpConfig) -> Self {
        Self {
            header_timeout: config.header_timeout,
            headers_max: config.headers_max as usize,
            header_bytes_max: usize::try_from(config.header_max.0).unwrap_or(usize::MAX),
            stall_timeout: config.stall_timeout,
            response_bytes_per_second: config.response_rate_min.0,
            connections_max: config.connections_max as usize,
            peer_connections_max: config.peer_connections_max as usize,
            proxies: config.proxies.clone(),
            drain: config.drain,
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy at the deadline and were closed in the middle of a request.
    pub cut_off: usize,
}

/// Serves `router` to all who connect, until `shutdown`; then lets running requests finish, up to `config.drain`.
/// Handlers find their client's address as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, config: EdgeConfig, shutdown: CancellationToken) -> Drained {
    let permits = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
    let peers = Peers::new(config.peer_connections_max, &config.proxies);
    let too_many = too_many_connections();
    let http = http_of(&config);
    let mut connections = JoinSet::new();
    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &permits)).await {
        // Those that have ended meanwhile; there are never more than `connections_max`.
        while connections.try_join_next().is_some() {}
        let Some(place) = peers.enter(accepted.peer.ip()) else {
            turn_away(&accepted, &too_many);
            continue;
        };
        let connection = Connection { accepted, _place: place, http: http.clone(), patience: Patience::of(&config) };
        connections.spawn(connection.serve(router.clone(), shutdown.clone()));
    }
    // From here on the kernel refuses: another host, or a load balancer, is told at once.
    drop(listener);
    drain(connections, config.drain).await
}

async fn drain(mut connections: JoinSet<()>, deadline: Duration) -> Drained {
    let all_end = async { while connections.join_next().await.is_some() {} };
    if timeout(deadline, all_end).await.is_ok() {
        return Drained { cut_off: 0 };
    }
    while connections.try_join_next().is_some() {}
    let cut_off = connections.len();
    connections.shutdown().await;
    Drained { cut_off }
}

/// The protocol, HTTP/1 alone: so there is no version to be sniffed, and no time limit on sniffing to be forgotten.
fn http_of(config: &EdgeConfig) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(config.headers_max)
        .max_header_size(config.header_bytes_max)
        .max_buf_size(READ_BUFFER_BYTES_MAX.max(config.header_bytes_max));
    http
}

/// A connection and its place among `connections_max`.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Accepted {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Accepted { stream, peer, _permit: permit },
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What a client is told that has too many connections already, as it goes over the wire.
fn too_many_connections() -> String {
    let detail = "there are as many connections from this address as there may be; close some";
    let problem = Problem::unavailable(detail, Duration::from_secs(1));
    let body = serde_json::to_string(&problem).expect("a problem is made of texts and numbers");
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// No request of its was read, so it may close before the answer has come. Waits for nobody: who floods must not hold up those
/// that come behind.
fn turn_away(accepted: &Accepted, answer: &str) {
    tracing::debug!(peer = %accepted.peer, "a client has as many connections as it may have");
    // The buffer of a new connection takes it whole; where it does not, closing must do.
    let _ = accepted.stream.try_write(answer.as_bytes());
}

/// Whether only this one connection failed, before it was accepted.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection {
    accepted: Accepted,
    _place: PeerPlace,
    http: http1::Builder,
    patience: Patience,
}

impl Connection {
    async fn serve(self, router: Router, shutdown: CancellationToken) {
        let Accepted { stream, peer, _permit } = self.accepted;
        // Responses are written whole: waiting for more to send with them would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "the connection is already gone");
            return;
        }
        let service = service_fn(move |request| answer(router.clone(), peer, request));
        let io = TokioIo::new(StallGuard::new(stream, self.patience));
        let mut connection = pin!(self.http.serve_connection(io, service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            // Clients hang up and dawdle all day; that is their business.
            tracing::debug!(%error, %peer, "connection ended early");
        }
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

#[cfg(test)]
mod tests;
