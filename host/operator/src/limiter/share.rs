//! Which queues an account has, and which share of its limits each of them. The only place of the limiter that knows how
//! an account is spread.

use trellis_model::{AccountId, Queue, window::AccountLimits};

/// The queues of an account that is spread over this many shards, in the order of their parts.
pub(super) fn queues(account: AccountId, spread: u8) -> impl Iterator<Item = Queue> {
    Queue::parts(account, spread.max(1))
}

/// What a queue has of its account's limits. A queue that is none of the account's any more (its spread was lowered while
/// jobs were left there) counts as the first part: its jobs must be run.
pub(super) fn limits_of(queue: Queue, whole: AccountLimits, spread: u8) -> AccountLimits {
    let part = queue.part().filter(|part| *part < spread).unwrap_or(0);
    whole.divided(spread, part)
}
