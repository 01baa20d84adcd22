//! What the nodes of a host are called on: their transformers. A measurement puts a function of its own in their place, to
//! see what everything but the sandbox costs.

use trellis_engine::{Call, CallReport, Transformer};

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
    pub(super) async fn call(self, transformer: &Transformer, call: Call) -> CallReport {
        match self {
            Self::Transformer => transformer.call(call).await,
            Self::Native(function) => function(call),
        }
    }
}
