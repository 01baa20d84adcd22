//! What a shadow call would have done to the world, and did not do.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use trellis_engine::{Outbound, OutboundRequest, OutboundResponse, SendError};

/// Effects that a call of a shadow run did not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Requests by method and origin, such as `POST https://api.example.com`, and how many of each. No path: it may be a
    /// secret.
    pub requests: BTreeMap<String, u32>,
    /// Keys of stores and records that would have been written.
    pub writes: usize,
    /// Events that would have been emitted to grids.
    pub events: usize,
}

/// Refuses every request, and remembers where it would have gone.
#[derive(Default)]
pub(super) struct NoRequests(Mutex<BTreeMap<String, u32>>);

impl NoRequests {
    pub fn withheld(&self) -> Withheld {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Withheld { requests, ..Withheld::default() }
    }
}

#[async_trait::async_trait]
impl Outbound for NoRequests {
    async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        let shown = format!("{} {}", request.method, request.url.origin().ascii_serialization());
        let refusal = format!("a shadow run sends nothing: {shown} was not asked");
        // As many entries as the call may make requests, at most.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(shown).or_default() += 1;
        Err(SendError::Denied(refusal))
    }
}
