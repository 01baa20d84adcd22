//! The scheduler: turns over the accounts of this host's shards, fetches their jobs and starts their runs.
//!
//! Knows when and whose work is started; what a run does is [`crate::run`]'s part.

mod active;
mod handover;
mod lanes;
mod queues;
mod starting;
mod wakeups;

use std::{
    collections::{HashMap, HashSet},
    num::NonZero,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, ClaimId, Lane, Queue, RunId, Shard};
use trellis_store::{StoreError, shards::Holding};

use self::{active::ActiveQueues, queues::Queues};
pub use self::{starting::RunStarter, wakeups::Wakeups};
use crate::{
    lease::ShardChange,
    run::{RunContext, RunEnd},
    starts::Starts,
};

/// What the scheduler is told.
#[derive(Debug)]
pub enum Message {
    /// Jobs were committed: where they stand, and the first run of each lane.
    Jobs(HashMap<(Queue, Lane), RunId>),
    /// Jobs may have been committed to this shard by another host.
    Look(Shard),
    /// Anything may have been missed.
    LookEverywhere,
    /// Waiting jobs may be due sooner than is known.
    LookAtDue,
    /// An account's limits changed.
    LimitsChanged(AccountId),
    /// A run has ended, for good or for now.
    Ended { queue: Queue, run: RunId, claim: ClaimId, end: RunEnd },
    /// The host is stopping: start nothing more. Answered when that is so.
    Leave(oneshot::Sender<()>),
}

/// Messages handled before the next fetch.
const MESSAGES_AT_ONCE: usize = 256;
/// How often every shard is looked through for work that nobody announced.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A look usually takes a millisecond. One that takes longer than this walks over rows that were deleted and cannot be vacuumed
/// yet, because some transaction is old: then announced shards wait for their next look, so that looking takes no more than
/// its part of the time.
const LOOK_SLOW: Duration = Duration::from_millis(5);
const LOOK_PART: u32 = 10;
/// After a failed statement.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Jobs moved back to the queue in one statement, of all shards together: some tens of milliseconds. If more are due, the
/// next statement follows at once.
const PROMOTE_JOBS_MAX: i64 = 1_000;
/// Payloads moved in one statement, in bytes: it must be over long before anybody gives it up.
const PROMOTE_BYTES_MAX: i64 = 16 * 1024 * 1024;

pub struct Scheduler {
    context: Arc<RunContext>,
    starts: Arc<Starts>,
    wakeups: Wakeups,
    messages: mpsc::Receiver<Message>,
    changes: mpsc::Receiver<ShardChange>,
    /// Runs in flight at most.
    runs_max: usize,
    /// The shards that this scheduler works on: changed by [`ShardChange`]s alone, in their order.
    holdings: HashMap<Shard, i64>,
    queues: Queues,
    active: ActiveQueues,
    running: usize,
    releasing: HashSet<Shard>,
    /// The host is stopping.
    is_leaving: bool,
    next_look: Instant,
    /// When the first waiting job is due, as far as is known.
    next_due: Option<Instant>,
    /// No statement before then: the last one failed.
    paused_until: Option<Instant>,
    shards_to_look_at: HashSet<Shard>,
    /// Not before then.
    next_announced_look: Instant,
    /// A fetch, or the claim of a suspect, was not answered: it may have left a claim of which nobody knows.
    is_claim_lost: bool,
}

impl Scheduler {
    pub fn new(
        starter: RunStarter,
        messages: mpsc::Receiver<Message>,
        changes: mpsc::Receiver<ShardChange>,
        runs_max: usize,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            context: Arc::clone(&starter.context),
            wakeups: starter.wakeups.clone(),
            starts: Starts::new(cores, move |job, start| starter.start(job, start)),
            messages,
            changes,
            runs_max,
            holdings: HashMap::new(),
            queues: Queues::default(),
            active: ActiveQueues::new(Instant::now()),
            running: 0,
            releasing: HashSet::new(),
            is_leaving: false,
            next_look: Instant::now() + LOOK_INTERVAL,
            next_due: None,
            paused_until: None,
            shards_to_look_at: HashSet::new(),
            next_announced_look: Instant::now(),
            is_claim_lost: false,
        }
    }

    /// Runs until `stop`. Runs that were started go on; the caller waits for them.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut messages = Vec::with_capacity(MESSAGES_AT_ONCE);
        while !stop.is_cancelled() {
            self.work().await;
            let pause = self.pause(Instant::now());
            tokio::select! {
                // What is known of others comes before the next turn of those who have had theirs.
                biased;
                () = stop.cancelled() => return,
                Some(change) = self.changes.recv() => self.change_shards(change).await,
                count = self.messages.recv_many(&mut messages, MESSAGES_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                }
                () = std::future::ready(()), if pause.is_zero() => {}
                () = tokio::time::sleep(pause) => {}
            }
            messages.drain(..).for_each(|message| self.handle(message));
        }
    }

    /// All that can be done now, step by step.
    async fn work(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        if !self.context.lease.may_start() {
            self.paused_until = Some(now + RETRY_INTERVAL);
            return;
        }
        self.paused_until = None;
        self.queues.unthrottle(now);
        let done = async {
            if self.is_leaving {
                return self.release_drained().await;
            }
            self.look_for_work(now).await?;
            self.promote_due(now).await?;
            self.release_drained().await?;
            self.start_runs().await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "the scheduler could not go on; trying again");
            self.paused_until = Some(Instant::now() + RETRY_INTERVAL);
        }
    }

    /// How long nothing will have to be done, if nobody says anything.
    fn pause(&self, now: Instant) -> Duration {
        if let Some(until) = self.paused_until {
            return until.saturating_duration_since(now);
        }
        if self.is_leaving {
            // Nothing is looked for, promoted or fetched any more; the end of a run is told.
            return LOOK_INTERVAL;
        }
        if self.can_start() {
            return Duration::ZERO;
        }
        let announced = (!self.shards_to_look_at.is_empty()).then_some(self.next_announced_look);
        let times = [Some(self.next_look), announced, self.next_due, self.queues.next_unthrottle()];
        let next = times.into_iter().flatten().min();
        next.map_or(LOOK_INTERVAL, |next| next.saturating_duration_since(now))
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Jobs(lanes) => {
                for ((queue, lane), first) in lanes {
                    self.wake(queue, lane, RunId(first.0 - 1));
                }
            }
            Message::Look(shard) => {
                self.shards_to_look_at.insert(shard);
            }
            Message::LookEverywhere => self.next_look = Instant::now(),
            Message::LookAtDue => self.next_due = Some(Instant::now()),
            Message::LimitsChanged(account) => self.queues.reconsider(account),
            Message::Ended { queue, run, claim, end } => self.ended(queue, run, claim, end),
            Message::Leave(done) => {
                self.leave();
                // Whoever asked has given up waiting, if nobody hears this.
                let _ = done.send(());
            }
        }
    }

    fn wake(&mut self, queue: Queue, lane: Lane, cursor: RunId) {
        if self.serves(queue.shard) {
            self.queues.wake(queue, lane, cursor);
        }
    }

    fn serves(&self, shard: Shard) -> bool {
        self.holdings.contains_key(&shard) && !self.releasing.contains(&shard)
    }

    fn holdings(&self) -> Vec<Holding> {
        self.holdings.iter().map(|(shard, epoch)| Holding { shard: *shard, epoch: *epoch }).collect()
    }

    fn ended(&mut self, queue: Queue, run: RunId, claim: ClaimId, end: RunEnd) {
        self.running -= 1;
        match end {
            RunEnd::Concluded | RunEnd::Fenced => {
                self.queues.ended(queue, run, claim);
            }
            RunEnd::Barred => {
                self.queues.barred(queue, run, claim);
            }
            RunEnd::Aside(wait) => {
                if self.serves(queue.shard) {
                    self.queues.put_aside(queue, run, claim, Instant::now() + wait);
                } else {
                    self.queues.ended(queue, run, claim);
                }
            }
            RunEnd::Waiting(after) => {
                self.queues.ended(queue, run, claim);
                let due = Instant::now() + after;
                self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            }
            RunEnd::Released(wait) => {
                if self.serves(queue.shard) {
                    self.queues.released(queue, run, claim, Instant::now() + wait);
                } else {
                    self.queues.ended(queue, run, claim);
                }
            }
        }
    }

    /// Finds accounts with work that nobody announced: other hosts' events, and what was there before.
    async fn look_for_work(&mut self, now: Instant) -> Result<(), StoreError> {
        let shards: Vec<Shard> = if now >= self.next_look {
            self.holdings.keys().copied().collect()
        } else if now < self.next_announced_look {
            return Ok(());
        } else {
            self.shards_to_look_at.iter().copied().filter(|shard| self.holdings.contains_key(shard)).collect()
        };
        if !shards.is_empty() {
            let began = Instant::now();
            for (queue, lane) in self.context.database.queues_with_jobs(&shards).await? {
                self.wake(queue, lane, RunId(0));
            }
            self.next_announced_look = Instant::now() + look_pause(began.elapsed());
        }
        self.shards_to_look_at.clear();
        if now >= self.next_look {
            self.forget_lost_claims().await?;
            self.next_look = now + LOOK_INTERVAL;
        }
        Ok(())
    }

    /// Jobs of a claim whose answer was lost were never started: nobody would ever settle it.
    async fn forget_lost_claims(&mut self) -> Result<(), StoreError> {
        self.is_claim_lost |= self.context.claims.take_lost();
        if self.is_claim_lost {
            let known = self.context.claims.known();
            self.context.database.delete_unknown_claims(&self.holdings(), &known).await?;
            self.is_claim_lost = false;
        }
        Ok(())
    }

    async fn promote_due(&mut self, now: Instant) -> Result<(), StoreError> {
        if self.next_due.is_none_or(|due| now < due) {
            return Ok(());
        }
        let holdings = self.holdings();
        let host = self.context.lease.identity().host;
        let promoted =
            self.context.database.promote_due_jobs(host, &holdings, PROMOTE_JOBS_MAX, PROMOTE_BYTES_MAX).await?;
        for (queue, lane) in promoted {
            self.wake(queue, lane, RunId(0));
        }
        self.note_next_due(&holdings).await
    }

    async fn note_next_due(&mut self, holdings: &[Holding]) -> Result<(), StoreError> {
        let shards: Vec<Shard> = holdings.iter().map(|holding| holding.shard).collect();
        let next = self.context.database.next_due(&shards).await?;
        self.next_due = next.map(|after| Instant::now() + after);
        Ok(())
    }
}

/// How long announced shards wait after a look that took so long.
fn look_pause(took: Duration) -> Duration {
    if took <= LOOK_SLOW { Duration::ZERO } else { (took * (LOOK_PART - 1)).min(LOOK_INTERVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_take_long_take_no_more_than_their_part_of_the_time() {
        assert_eq!(look_pause(LOOK_SLOW), Duration::ZERO, "what is announced is usually looked at at once");
        let slow = Duration::from_millis(30);
        assert_eq!((slow + look_pause(slow)) / LOOK_PART, slow);
        assert_eq!(look_pause(Duration::from_secs(60)), LOOK_INTERVAL, "and no later than without any announcement");
    }
}
