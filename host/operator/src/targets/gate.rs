//! The gate of one call: finds the target of a request, asks its bucket, and waits where that is worth it.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use trellis_engine::{Passage, Patience, TargetFull, TargetGate};
use trellis_model::{
    manifest::Target,
    run::TargetWait,
    targets::{Answer, TargetLimit, advice},
};
use trellis_store::targets::TargetKey;
use url::Url;

use super::{
    Caller,
    bucket::{Bucket, Place},
    table::Table,
};
use crate::clock::Clock;

/// A call that can be suspended waits for no more than this part of its time: the rest is for what it is there for.
const WAIT_DIVISOR: u32 = 2;

pub(super) struct NodeGate {
    table: Arc<Table>,
    clock: Clock,
    caller: Caller,
    targets: Arc<[Target]>,
    /// The place that the node was promised when it was suspended; the first request to that target takes it.
    waiting: Mutex<Option<TargetWait>>,
}

/// One request before a target.
struct Request {
    key: TargetKey,
    bucket: Arc<Bucket>,
    limit: TargetLimit,
    place_ms: Option<i64>,
    /// It waits no longer than that.
    until: Instant,
    can_suspend: bool,
}

impl NodeGate {
    pub fn new(
        table: Arc<Table>,
        clock: Clock,
        caller: Caller,
        targets: Arc<[Target]>,
        waiting: Option<TargetWait>,
    ) -> Self {
        Self { table, clock, caller, targets, waiting: Mutex::new(waiting) }
    }

    fn request(&self, url: &Url, patience: Patience) -> Option<Request> {
        let (target, host) = Target::find(&self.targets, url)?;
        let Caller { queue, project, parts } = self.caller;
        let (key, bucket) = self.table.bucket(TargetKey { queue, project, target: target.name.clone(), host });
        let longest = if patience.can_suspend {
            Duration::from_millis(target.wait_max_ms).min(patience.longest / WAIT_DIVISOR)
        } else {
            patience.longest
        };
        Some(Request {
            place_ms: self.take_place(&key),
            limit: target.limit.divided(parts),
            until: Instant::now() + longest,
            can_suspend: patience.can_suspend,
            key,
            bucket,
        })
    }

    fn take_place(&self, key: &TargetKey) -> Option<i64> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let place = waiting.take_if(|waiting| waiting.target == key.target && waiting.host == key.host);
        place.map(|place| place.until_ms)
    }
}

#[async_trait]
impl TargetGate for NodeGate {
    async fn pass(&self, url: &Url, patience: Patience) -> Result<Option<Box<dyn Passage>>, TargetFull> {
        match self.request(url, patience) {
            Some(request) => request.pass(&self.clock).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Request {
    async fn pass(mut self, clock: &Clock) -> Result<Box<dyn Passage>, TargetFull> {
        let bucket = Arc::clone(&self.bucket);
        let mut waiting = None;
        let mut was_crowded = false;
        loop {
            // Listened to before the look, so that nobody leaves unnoticed in between.
            let mut freed = pin!(bucket.freed());
            freed.as_mut().enable();
            let now_ms = clock.now_ms();
            let left = self.until.saturating_duration_since(Instant::now());
            match bucket.ask(self.limit, self.place_ms, now_ms) {
                Answer::Go => {
                    let place = Place { bucket: self.bucket, began: Instant::now() };
                    return Ok(Box::new(NodePassage { place, clock: clock.clone() }));
                }
                Answer::Wait { until_ms } => {
                    // Time is what this one waits for: the next free place is for others.
                    freed.set(bucket.freed());
                    if was_crowded {
                        // Whoever waits for a place may be earlier than this one.
                        bucket.pass_on();
                    }
                    was_crowded = false;
                    self.place_ms = Some(until_ms);
                    let wait = Duration::from_millis((until_ms - now_ms).max(0).cast_unsigned());
                    if wait > left || !stay(&bucket, &mut waiting, self.can_suspend) {
                        return Err(self.full(until_ms, now_ms));
                    }
                    tokio::time::sleep(wait).await;
                }
                Answer::Crowded => {
                    was_crowded = true;
                    if left.is_zero() || !stay(&bucket, &mut waiting, self.can_suspend) {
                        let until_ms = bucket.turn_away(self.limit, now_ms);
                        return Err(self.full(until_ms, now_ms));
                    }
                    // Whichever comes first, the next look tells.
                    let _ = tokio::time::timeout(left, freed).await;
                }
            }
        }
    }

    fn full(self, until_ms: i64, now_ms: i64) -> TargetFull {
        let wait = Duration::from_millis((until_ms - now_ms).max(0).cast_unsigned());
        TargetFull { target: self.key.target, host: self.key.host, wait, until_ms }
    }
}

/// Whether this call may wait here.
fn stay<'b>(bucket: &'b Bucket, waiting: &mut Option<super::bucket::Waiting<'b>>, can_suspend: bool) -> bool {
    if waiting.is_none() {
        *waiting = bucket.wait(can_suspend);
    }
    waiting.is_some()
}

/// One request that was let go.
struct NodePassage {
    place: Place,
    clock: Clock,
}

impl Passage for NodePassage {
    fn answered(&self, status: StatusCode, headers: &HeaderMap) {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let now_ms = self.clock.now_ms();
        let silence_ms = advice::silence_ms(status.as_u16(), header, now_ms);
        self.place.bucket.note_answer(status.as_u16(), silence_ms, now_ms);
    }
}
