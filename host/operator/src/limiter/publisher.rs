//! What owners tell all hosts of their full queues: until when each is throttled, so that any host can refuse events that
//! would only wait. As seldom as can be: a turn of a window is told once, and waits that are over before they are heard of
//! are not told at all.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use trellis_model::Queue;
use trellis_store::{Database, limits::Throttle, notices::Notice};

use super::table::Table;

/// Full queues are gathered for this long: one statement for many, and what is still under way is counted by then.
const GATHER: Duration = Duration::from_millis(200);
/// After a publication that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Shorter waits are not told, and a time that differs by less is the same time.
const TOLD_FROM_MS: i64 = 1_000;

pub(super) struct Publisher {
    database: Database,
    /// Queues that became full, or were given other limits, since the last publication.
    candidates: HashSet<Queue>,
    /// Until when queues were told to be throttled, in Unix milliseconds. What has passed is forgotten.
    told: HashMap<Queue, i64>,
    due_at: Instant,
    /// One publication at a time, so that they arrive in order.
    sending: Option<JoinHandle<Vec<Queue>>>,
}

impl Publisher {
    pub(super) fn new(database: Database) -> Self {
        Self { database, candidates: HashSet::new(), told: HashMap::new(), due_at: Instant::now(), sending: None }
    }

    /// A queue may have something to be told.
    pub(super) fn consider(&mut self, queue: Queue) {
        if self.candidates.is_empty() {
            self.due_at = Instant::now() + GATHER;
        }
        self.candidates.insert(queue);
    }

    /// A queue is not this host's any more.
    pub(super) fn forget(&mut self, queue: Queue) {
        self.candidates.remove(&queue);
        self.told.remove(&queue);
    }

    /// Waits until there is something to do for [`Publisher::go_on`]; for ever if nothing is to be told.
    pub(super) async fn due(&mut self) -> Vec<Queue> {
        if let Some(sending) = &mut self.sending {
            return sending.await.unwrap_or_default();
        }
        if self.candidates.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.due_at).await;
        Vec::new()
    }

    /// Starts the publication that is due, or ends the one that was under way; `failed` is what [`Publisher::due`] gave.
    pub(super) fn go_on(&mut self, failed: Vec<Queue>, table: &Table, now_ms: i64) {
        if self.sending.take().is_some() {
            for queue in failed {
                self.told.remove(&queue);
                self.consider(queue);
                self.due_at = Instant::now() + RETRY;
            }
            return;
        }
        self.told.retain(|_, until_ms| *until_ms > now_ms);
        let mut throttles = Vec::new();
        for queue in self.candidates.drain() {
            let (Some(standing), Some((epoch, _))) = (table.standing(queue, now_ms), table.windows(queue)) else {
                continue;
            };
            let told_ms = self.told.get(&queue).copied().unwrap_or(0);
            if let Some(until_ms) = to_be_told(told_ms, standing.wait, now_ms) {
                self.told.insert(queue, until_ms);
                throttles.push(Throttle { queue, epoch, until_ms });
            }
        }
        if !throttles.is_empty() {
            self.sending = Some(tokio::spawn(send(self.database.clone(), throttles)));
        }
    }
}

/// Until when a queue is to be told to be throttled, if others do not know it well enough.
fn to_be_told(told_ms: i64, wait: Duration, now_ms: i64) -> Option<i64> {
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let until_ms = now_ms.saturating_add(wait_ms);
    let is_later = wait_ms >= TOLD_FROM_MS && until_ms >= told_ms.saturating_add(TOLD_FROM_MS);
    let is_earlier = told_ms > now_ms && until_ms <= told_ms - TOLD_FROM_MS;
    (is_later || is_earlier).then_some(until_ms)
}

/// The column first: whoever misses the notice, or asks only later, reads it there. Returns what could not be told.
async fn send(database: Database, throttles: Vec<Throttle>) -> Vec<Queue> {
    let notices: Vec<Notice> = throttles
        .iter()
        .map(|throttle| Notice::Throttled(throttle.queue.account, throttle.queue.shard, throttle.until_ms))
        .collect();
    let sent = async {
        database.keep_throttles(&throttles).await?;
        database.notify(&notices).await
    };
    match sent.await {
        Ok(()) => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "other hosts were not told of throttled accounts; trying again");
            throttles.into_iter().map(|throttle| throttle.queue).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    #[test]
    fn a_turn_of_a_window_is_told_once() {
        let seconds = Duration::from_secs;
        // Told until, the wait, and what is to be told.
        let cases = [
            (0, seconds(30), Some(NOW + 30_000), "nobody knows"),
            (NOW + 30_000, seconds(30), None, "all know"),
            (NOW + 30_000, seconds(90), Some(NOW + 90_000), "an overshoot fills the next window, too"),
            (NOW - 5, seconds(30), Some(NOW + 30_000), "the former time has passed"),
            (0, Duration::from_millis(900), None, "over before it is heard of"),
            (NOW + 30_000, Duration::from_millis(29_500), None, "about the same"),
            (NOW + 30_000, Duration::ZERO, Some(NOW), "the limits were raised"),
            (NOW + 30_000, seconds(10), Some(NOW + 10_000), "the limits were raised a little"),
            (NOW + 500, Duration::ZERO, None, "nearly over"),
            (0, Duration::ZERO, None, "never throttled"),
        ];
        for (told_ms, wait, expected, why) in cases {
            assert_eq!(to_be_told(told_ms, wait, NOW), expected, "{why}");
        }
    }
}
