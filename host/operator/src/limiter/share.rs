//! Which queues an account has, and which share of its limits each of them. The only place of the limiter that knows how
//! an account is spread.
//!
//! A spread that was lowered leaves jobs on parts that the account has no more. While these are run, the limits are divided
//! as they were before: else every part that was left, and the account's home besides, would have more than its share.

use trellis_model::{AccountId, Queue, ids::SPREAD_MAX, window::AccountLimits};
use trellis_store::limits::{StoredLimit, StoredQueue};

/// The queues of an account that is spread over this many shards, in the order of their parts.
pub(super) fn queues(account: AccountId, spread: u8) -> impl Iterator<Item = Queue> {
    Queue::parts(account, spread.max(1))
}

/// Every queue that an account can have, however it was spread before.
pub(super) fn all_queues(account: AccountId) -> impl Iterator<Item = Queue> {
    Queue::parts(account, SPREAD_MAX)
}

/// Into how many parts the limits are divided: as many as the account is spread over, or as it was before while one of
/// those is in use.
pub(super) fn parts(account: AccountId, spread: u8, is_in_use: impl Fn(Queue) -> bool) -> u8 {
    let spread = spread.max(1);
    let last = (1..).zip(all_queues(account)).filter(|(_, queue)| is_in_use(*queue)).last();
    last.map_or(spread, |(parts, _)| spread.max(parts))
}

/// Whether permits were taken from a queue in the present burst window, or somebody waits for one: by what its owner has
/// stored, which is at most some seconds old. `limits` are those of the whole account.
pub(super) fn is_in_use(queue: Queue, stored: &StoredLimit, limits: AccountLimits, now_ms: i64) -> bool {
    let Some(StoredQueue { windows, throttled_until_ms, .. }) = stored.queues.get(&queue.shard) else { return false };
    let period_ms = limits_of(queue, limits, stored.spread).burst.period_ms;
    *throttled_until_ms > now_ms || windows.burst.start_ms.saturating_add(period_ms) > now_ms
}

/// What a queue has of its account's limits, which are divided into this many parts. A queue that is none of the account's
/// any more is one of the parts that there were: its jobs must be run.
pub(super) fn limits_of(queue: Queue, whole: AccountLimits, parts: u8) -> AccountLimits {
    whole.divided(at_least(queue, parts), queue.part().unwrap_or(0))
}

/// As many parts as there must be for the queue to be one of them.
pub(super) fn at_least(queue: Queue, parts: u8) -> u8 {
    parts.max(queue.part().unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId(7);

    #[test]
    fn limits_are_divided_as_before_while_a_part_that_the_account_has_no_more_is_in_use() {
        let queues: Vec<Queue> = all_queues(ACCOUNT).collect();
        // The spread, which parts are in use, and into how many the limits are divided.
        let cases =
            [(1, vec![], 1), (1, vec![0], 1), (1, vec![0, 3], 4), (2, vec![3], 4), (4, vec![1], 4), (0, vec![], 1)];
        for (spread, used, expected) in cases {
            let is_used = |queue: Queue| used.iter().any(|part| queues[*part] == queue);
            assert_eq!(parts(ACCOUNT, spread, is_used), expected, "spread {spread}, in use {used:?}");
        }
    }

    #[test]
    fn the_shares_of_all_parts_in_use_make_up_the_whole_when_the_spread_was_lowered() {
        let whole = AccountLimits::default();
        let parts = parts(ACCOUNT, 1, |queue| queue.part() == Some(3));
        let shares: u32 = all_queues(ACCOUNT).take(4).map(|queue| limits_of(queue, whole, parts).burst.max).sum();
        assert_eq!(shares, whole.burst.max);
        let left = all_queues(ACCOUNT).nth(3).map(|queue| limits_of(queue, whole, 1).burst.max);
        assert_eq!(
            left,
            Some(whole.burst.max / 4),
            "its owner gives it no more even before others are known to use it"
        );
    }
}
