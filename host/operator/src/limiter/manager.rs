//! The limiter's manager: the one task that writes the table, and keeps snapshots of it in the database.
//!
//! It never waits for the database: what it writes there, tasks of its own write, one at a time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, Queue, Shard, window::AccountLimits};
use trellis_store::{
    Database,
    limits::{Snapshot, StoredLimit},
};

use super::{
    Permit,
    publisher::Publisher,
    share,
    table::{Known, QueueStanding, Row, Table},
};
use crate::{clock::Clock, lease::Lease};

pub(super) enum Message {
    /// What the database says of some accounts. The windows of queues in `take_up` come into the table, unless they are
    /// there already.
    Learn {
        stored: HashMap<AccountId, StoredLimit>,
        take_up: Vec<Queue>,
        reply: oneshot::Sender<()>,
    },
    /// The owner of a queue has told until when it is throttled.
    Throttled {
        queue: Queue,
        until_ms: i64,
        reply: oneshot::Sender<()>,
    },
    Increment {
        queue: Queue,
        reply: Option<oneshot::Sender<()>>,
    },
    Take {
        queue: Queue,
        reply: oneshot::Sender<Permit>,
    },
    /// The windows of the queues on these shards that are not stored as they are.
    Unsaved {
        shards: Vec<Shard>,
        reply: oneshot::Sender<Vec<Snapshot>>,
    },
    Forget {
        queues: Vec<Queue>,
        reply: oneshot::Sender<()>,
    },
}

/// After kill -9 at most this much of the counts is forgotten.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(2);
/// Queues of one statement at most.
const SNAPSHOT_QUEUES_MAX: usize = 1_000;
/// The last snapshot, at the stop, is tried this often.
const LAST_SNAPSHOT_ATTEMPTS: u32 = 3;
const LAST_SNAPSHOT_PAUSE: Duration = Duration::from_millis(250);
/// How often the table is looked through for what is not in use.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// A queue that nothing was taken from for this long leaves the table, once its windows are stored.
const IDLE_MS: i64 = 60_000;
/// What is known of an account leaves the table after this long, unless one of its queues is in it.
const KNOWN_MS: i64 = 60_000;

pub(super) struct Manager {
    table: Arc<Table>,
    database: Database,
    clock: Clock,
    lease: Arc<Lease>,
    /// Limits of accounts that have none of their own.
    defaults: AccountLimits,
    /// Counts all changes of windows: the number of a snapshot is that of the change which it holds.
    changes: i64,
    /// Queues whose windows changed since their last snapshot that is known to be written, and by which change.
    dirty: HashMap<Queue, i64>,
    /// The snapshot being written, if one is; answers with what was written.
    writing: Option<JoinHandle<Vec<Snapshot>>>,
    publisher: Publisher,
}

impl Manager {
    pub(super) fn new(
        table: Arc<Table>,
        database: Database,
        clock: Clock,
        lease: Arc<Lease>,
        defaults: AccountLimits,
    ) -> Self {
        Self {
            table,
            publisher: Publisher::new(database.clone()),
            database,
            clock,
            lease,
            defaults,
            changes: 0,
            dirty: HashMap::new(),
            writing: None,
        }
    }

    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>, stop: CancellationToken) {
        let (mut snapshots, mut sweeps) = (every(SNAPSHOT_INTERVAL), every(SWEEP_INTERVAL));
        loop {
            tokio::select! {
                Some(message) = messages.recv() => self.handle(message),
                _ = snapshots.tick() => self.start_snapshot(),
                _ = sweeps.tick() => self.sweep(),
                saved = ended(&mut self.writing) => self.note_saved(&saved),
                failed = self.publisher.due() => self.publisher.go_on(failed, &self.table, self.clock.now_ms()),
                () = stop.cancelled() => break,
            }
        }
        while let Ok(message) = messages.try_recv() {
            self.handle(message);
        }
        self.finish().await;
    }

    fn handle(&mut self, message: Message) {
        // Whoever asked may have gone meanwhile: a reply that nobody hears is no error.
        match message {
            Message::Learn { stored, take_up, reply } => {
                for (account, stored) in stored {
                    self.learn(account, &stored, &take_up);
                }
                let _ = reply.send(());
            }
            Message::Throttled { queue, until_ms, reply } => {
                self.table.note_throttle(queue, until_ms);
                let _ = reply.send(());
            }
            Message::Increment { queue, reply } => {
                self.add(queue);
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
            }
            Message::Take { queue, reply } => {
                let _ = reply.send(self.take(queue));
            }
            Message::Unsaved { shards, reply } => {
                let shards: HashSet<Shard> = shards.into_iter().collect();
                let _ = reply.send(self.unsaved(|queue| shards.contains(&queue.shard)));
            }
            Message::Forget { queues, reply } => {
                queues.into_iter().for_each(|queue| self.forget(queue));
                let _ = reply.send(());
            }
        }
    }

    fn learn(&mut self, account: AccountId, stored: &StoredLimit, take_up: &[Queue]) {
        let (now_ms, limits, spread) = (self.clock.now_ms(), stored.limits.over(self.defaults), stored.spread);
        let told = stored.queues.iter().map(|(shard, queue)| (*shard, queue.throttled_until_ms));
        let parts = share::parts(account, spread, |queue| {
            self.table.has(queue) || take_up.contains(&queue) || share::is_in_use(queue, stored, limits, now_ms)
        });
        let known = Known { limits, spread, parts, throttled_until_ms: told.collect(), learned_ms: now_ms };
        self.table.learn(account, known);
        for queue in share::all_queues(account) {
            if self.table.set_limits(queue, share::limits_of(queue, limits, parts), now_ms) {
                self.note_change(queue);
                self.publisher.consider(queue);
            }
            let stored = stored.queues.get(&queue.shard).copied().unwrap_or_default();
            self.publisher.compare(queue, stored.throttled_until_ms, now_ms);
        }
        for queue in take_up.iter().copied().filter(|queue| queue.account == account) {
            self.take_up(queue, stored, share::limits_of(queue, limits, parts));
        }
    }

    /// Begins with the windows as the last owner left them. Its snapshot is that of the epoch before, or an older one if
    /// no owner since has taken anything and lived for two seconds: such a one counts as well, for what was counted then
    /// was counted rightly, and what has passed since has turned. A newer one means that the shard is lost already.
    fn take_up(&mut self, queue: Queue, stored: &StoredLimit, limits: AccountLimits) {
        let Some(epoch) = self.lease.epoch(queue.shard) else { return };
        let stored = stored.queues.get(&queue.shard).copied().unwrap_or_default();
        if self.table.holds(queue, epoch) || stored.snap_epoch > epoch {
            return;
        }
        self.forget(queue);
        self.table.insert(queue, Row::new(limits, epoch, stored.windows, self.clock.now_ms()));
    }

    fn add(&mut self, queue: Queue) {
        let Some(standing) = self.table.add(queue, self.clock.now_ms()) else {
            tracing::debug!(account = %queue.account, "a permit of a queue that was given away is not counted");
            return;
        };
        self.note_change(queue);
        if !standing.wait.is_zero() {
            self.publisher.consider(queue);
        }
    }

    /// Check and take in one step.
    fn take(&mut self, queue: Queue) -> Permit {
        match self.table.standing(queue, self.clock.now_ms()) {
            Some(QueueStanding { wait, .. }) if !wait.is_zero() => Permit::Wait(wait),
            _ => {
                self.add(queue);
                Permit::Granted
            }
        }
    }

    fn forget(&mut self, queue: Queue) {
        self.table.remove(queue);
        self.dirty.remove(&queue);
        self.publisher.forget(queue);
    }

    fn note_change(&mut self, queue: Queue) {
        self.changes += 1;
        self.dirty.insert(queue, self.changes);
    }

    fn unsaved(&self, is_wanted: impl Fn(Queue) -> bool) -> Vec<Snapshot> {
        let wanted = self.dirty.iter().filter(|(queue, _)| is_wanted(**queue));
        let snapshot = |(queue, number): (&Queue, &i64)| {
            let (epoch, windows) = self.table.windows(*queue)?;
            Some(Snapshot { queue: *queue, epoch, number: *number, windows })
        };
        wanted.filter_map(snapshot).collect()
    }

    fn start_snapshot(&mut self) {
        if !self.dirty.is_empty() && self.writing.is_none() {
            let snapshots = self.unsaved(|_| true);
            self.writing = Some(tokio::spawn(write(self.database.clone(), snapshots)));
        }
    }

    /// What was written is clean, unless it has changed meanwhile. What was not stays dirty, and is tried again.
    fn note_saved(&mut self, saved: &[Snapshot]) {
        for snapshot in saved {
            if self.dirty.get(&snapshot.queue) == Some(&snapshot.number) {
                self.dirty.remove(&snapshot.queue);
            }
        }
    }

    /// What is not in use takes no memory: it is stored, and comes back when it is asked for.
    fn sweep(&self) {
        let now_ms = self.clock.now_ms();
        for queue in self.table.untouched_since(now_ms - IDLE_MS) {
            if !self.dirty.contains_key(&queue) {
                self.table.remove(queue);
            }
        }
        self.table.unlearn_before(now_ms - KNOWN_MS);
    }

    async fn finish(mut self) {
        if self.writing.is_some() {
            let saved = ended(&mut self.writing).await;
            self.note_saved(&saved);
        }
        for attempt in 0..LAST_SNAPSHOT_ATTEMPTS {
            let snapshots = self.unsaved(|_| true);
            if snapshots.is_empty() {
                return;
            }
            if attempt > 0 {
                tokio::time::sleep(LAST_SNAPSHOT_PAUSE).await;
            }
            let saved = write(self.database.clone(), snapshots).await;
            self.note_saved(&saved);
        }
    }
}

fn every(interval: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The end of the snapshot being written; never, while none is.
async fn ended(writing: &mut Option<JoinHandle<Vec<Snapshot>>>) -> Vec<Snapshot> {
    let Some(task) = writing else { return std::future::pending().await };
    let saved = task.await.unwrap_or_default();
    *writing = None;
    saved
}

/// Writes snapshots, and answers with those that are written.
async fn write(database: Database, snapshots: Vec<Snapshot>) -> Vec<Snapshot> {
    let mut saved = 0;
    for batch in snapshots.chunks(SNAPSHOT_QUEUES_MAX) {
        if let Err(error) = database.snapshot_windows(batch).await {
            tracing::warn!(queues = snapshots.len() - saved, %error, "the limiter's snapshot was not written; trying again");
            break;
        }
        saved += batch.len();
    }
    snapshots[..saved].to_vec()
}
