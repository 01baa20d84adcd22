//! What the nodes of a host are called on: their transformers. A measurement puts a function of its own in their place, to
//! see what everything but the sandbox costs.

use trellis_engine::{Call, CallReport, Place, Transformer};
use trellis_model::{AccountId, call_limits::CallLimits, grant::Grants};

/// The same for every node of a host.
#[derive(Clone, Copy, Debug, Default)]
pub enum Callee {
    /// The node's own transformer, in the sandbox. What every host that serves somebody has.
    #[default]
    Transformer,
    /// A function of this program, whatever the node's plugin is. Has none of the sandbox's limits.
    Native(fn(Call) -> CallReport),
}

impl Callee {
    /// Waits for room in the sandbox; none: it is not the sandbox that is called.
    pub(super) async fn enter(
        self,
        transformer: &Transformer,
        account: AccountId,
        limits: &CallLimits,
        grants: &Grants,
    ) -> Option<Place> {
        match self {
            Self::Transformer => Some(transformer.enter(account, limits, grants).await),
            Self::Native(_) => None,
        }
    }

    pub(super) async fn call(self, transformer: &Transformer, place: Option<Place>, call: Call) -> CallReport {
        match (self, place) {
            (Self::Transformer, Some(place)) => transformer.call_in(place, call).await,
            (Self::Transformer, None) => transformer.call(call).await,
            (Self::Native(function), _) => function(call),
        }
    }
}
