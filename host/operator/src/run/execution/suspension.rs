//! Why an execution starts no further node, and which of two reasons counts.

use std::time::Duration;

use super::RunEnd;

/// Why no further node is started now.
#[derive(Clone, Debug)]
pub(super) enum Suspension {
    /// The account is over its limits for this long.
    Throttled(Duration),
    /// A node failed for good.
    Failed,
    /// Another host owns the shard by now.
    Fenced,
    /// Nobody has a use for what else the run comes to: it was buried, or not even that could be written.
    Over(RunEnd),
    /// What the nodes have written can never be committed.
    Impossible,
    /// Somebody wants the run to end: what is not committed never happened.
    Cancelled,
}

impl Suspension {
    /// Whether this counts and the other does not. Of two throttles the longer one counts, of two ends the first.
    pub(super) fn is_stronger_than(&self, other: &Self) -> bool {
        match (other, self) {
            (Self::Fenced | Self::Over(_) | Self::Impossible | Self::Cancelled, _) => false,
            (_, Self::Fenced | Self::Over(_) | Self::Impossible | Self::Cancelled) => true,
            (Self::Failed, _) => false,
            (_, Self::Failed) => true,
            (Self::Throttled(before), Self::Throttled(wait)) => wait > before,
        }
    }
}
