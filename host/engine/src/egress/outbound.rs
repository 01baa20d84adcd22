//! The seam towards the network: one request that the guard has let through goes out, its response comes back as a stream.
//!
//! Implemented by the sender of this crate, and by the fakes of the test harness.

use std::{error::Error as _, fmt, io};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use url::Url;

use super::limits::Deadlines;
pub use super::unpacking::WireMeter;

/// A body that arrives piece by piece.
pub type StreamBody = UnsyncBoxBody<Bytes, SendError>;

/// Sends requests. The guard has checked grants, literal addresses, method and headers; whoever resolves a name must
/// still hold the addresses to the operator's policy.
#[async_trait::async_trait]
pub trait Outbound: Send + Sync {
    /// Sends one request and waits for the head of its response. Dropping the future or the body ends the request.
    ///
    /// # Errors
    /// Why there is no response.
    async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError>;
}

#[derive(Debug)]
pub struct OutboundRequest {
    pub method: Method,
    /// `http` or `https`, with a host, without a user name.
    pub url: Url,
    pub headers: HeaderMap,
    pub body: OutboundBody,
    /// What the guest wants; whoever sends holds it to the operator's limits as well.
    pub deadlines: Deadlines,
    /// Whoever unpacks the response's body counts here what came over the wire.
    pub wire: WireMeter,
}

pub enum OutboundBody {
    Empty,
    Full(Bytes),
    Stream(StreamBody),
}

impl fmt::Debug for OutboundBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl OutboundBody {
    /// Reads the body to its end.
    ///
    /// # Errors
    /// The guest broke the body off.
    pub async fn collect(self) -> Result<Bytes, SendError> {
        match self {
            Self::Empty => Ok(Bytes::new()),
            Self::Full(bytes) => Ok(bytes),
            Self::Stream(stream) => Ok(stream.collect().await?.to_bytes()),
        }
    }
}

#[derive(Debug)]
pub struct OutboundResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Decoded.
    pub body: StreamBody,
}

/// Why a request has no response, or only a part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Refused by grant, policy or limit; the text names the rule.
    #[error("{0}")]
    Denied(String),
    /// The request cannot be sent as it is.
    #[error("{0}")]
    Invalid(String),
    #[error("timed out {0}")]
    Timeout(&'static str),
    #[error("the response body is longer than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the request body is longer than its limit of {limit} bytes")]
    RequestTooLarge { limit: u64 },
    #[error("cannot resolve the host: {0}")]
    Dns(String),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no secure connection: {0}")]
    Tls(String),
    #[error("{0}")]
    Transport(String),
}

/// The first error of type `T` in a chain.
pub(crate) fn find<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        // An I/O error passes over what it was made of when it is asked for its source.
        let within = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match within {
            Some(within) => Some(within),
            None => cause.source(),
        };
    }
    None
}
