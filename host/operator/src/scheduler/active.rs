//! Which queues have had runs started lately: among so many the host is shared out. Pure: time is an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use trellis_model::Queue;

/// Queues are counted for one to two of these after their last start.
const INTERVAL: Duration = Duration::from_secs(2);

/// The queues of the present interval and of the one before it, with their weights.
#[derive(Debug)]
pub struct ActiveQueues {
    present: HashMap<Queue, u32>,
    former: HashMap<Queue, u32>,
    /// The weights of all in `present`, and of those in `former` that are in `former` alone.
    weights: usize,
    turns_at: Instant,
}

impl ActiveQueues {
    pub fn new(now: Instant) -> Self {
        Self { present: HashMap::new(), former: HashMap::new(), weights: 0, turns_at: now + INTERVAL }
    }

    /// Runs of this queue were started.
    pub fn note(&mut self, queue: Queue, weight: u32, now: Instant) {
        self.turn(now);
        let former = self.former.remove(&queue).unwrap_or(0);
        let present = self.present.insert(queue, weight).unwrap_or(0);
        self.weights = self.weights + weight as usize - (former + present) as usize;
    }

    /// The weights of all active queues together.
    pub fn weights(&mut self, now: Instant) -> usize {
        self.turn(now);
        self.weights
    }

    fn turn(&mut self, now: Instant) {
        if now < self.turns_at {
            return;
        }
        let is_long_ago = now >= self.turns_at + INTERVAL;
        self.former = if is_long_ago { HashMap::new() } else { std::mem::take(&mut self.present) };
        self.present.clear();
        self.weights = self.former.values().map(|weight| *weight as usize).sum();
        self.turns_at = now + INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use trellis_model::AccountId;

    use super::*;

    fn queue(account: i64) -> Queue {
        Queue::home(AccountId(account))
    }

    #[test]
    fn a_queue_is_counted_once_with_its_last_weight_until_it_has_been_still_for_a_while() {
        let began = Instant::now();
        let mut active = ActiveQueues::new(began);
        active.note(queue(1), 1, began);
        active.note(queue(1), 3, began);
        active.note(queue(2), 2, began);
        assert_eq!(active.weights(began), 5);
        active.note(queue(2), 4, began + INTERVAL);
        assert_eq!(active.weights(began + INTERVAL), 7, "both of the intervals count, each queue once");
        assert_eq!(active.weights(began + 2 * INTERVAL), 4, "the first queue was still for a whole interval");
        assert_eq!(active.weights(began + 4 * INTERVAL), 0, "and by now all are");
    }
}
