//! Ingest: events gathered into batches, committed, and only then acknowledged.
//!
//! An event with a key that was accepted before is answered with the run that there is. Never talks to the engine. Runs on
//! every host, whoever owns the shard.

mod batch;
mod room;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, ProjectId, RevisionId, RunId, Shard, ids::RunIdSequence};
use trellis_store::{
    Database, StoreError,
    dedup::{Acceptance, Digest},
    jobs::NewJob,
    notices::Notice,
};

use self::{
    batch::Batch,
    room::{Room, Rooms},
};
use crate::{clock::Clock, lease::Lease, scheduler::Wakeups};

/// An event to be accepted.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub account: AccountId,
    pub project: ProjectId,
    pub revision: RevisionId,
    pub grid: Arc<str>,
    /// [`trellis_model::run::Event`] as JSON.
    pub payload: Vec<u8>,
    pub keys: EventKeys,
}

/// By what a repeat of an event is recognised. Without keys an event repeats none.
#[derive(Clone, Debug, Default)]
pub struct EventKeys {
    pub keys: Vec<EventKey>,
    /// SHA-256 of the event's data; of no meaning without keys.
    pub payload: Digest,
}

#[derive(Clone, Copy, Debug)]
pub struct EventKey {
    /// SHA-256 of the key and of where it is good. Of one account; no two of an event are the same.
    pub digest: Digest,
    /// The same key with other data is a mistake of the sender, and refused.
    pub is_strict: bool,
}

/// An event that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub run: RunId,
    /// It was accepted before, with the same key: this is its run.
    pub is_repeat: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct IngestConfig {
    /// How long the database may take for a batch, and an event may wait for one.
    pub timeout: Duration,
    /// For how long keys are remembered.
    pub dedupe_retention: Duration,
}

/// Why an event was not accepted. Nothing of it was kept, or nothing is known of its fate.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the database is not available: {0}")]
    Unavailable(String),
    #[error("more events are waiting to be committed than this host can hold")]
    Overloaded,
    #[error("this host is stopping")]
    Stopping,
    /// Nothing is known of the event's fate. Sent again with the same key it is accepted once.
    #[error("the database did not answer within {0:?}")]
    Unanswered(Duration),
    /// The key was used before, for an event with other data.
    #[error("the key was used before, with other data")]
    KeyReused,
    #[error("{0}")]
    Refused(String),
}

/// Events of one batch at most: one statement, one fsync.
const BATCH_EVENTS_MAX: usize = 500;
/// Payloads of one statement at most, in bytes, but for a single event.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a batch is gathered while events keep coming.
const GATHER: Duration = Duration::from_millis(2);
/// Under this many events a batch is not worth waiting for: a quiet host answers at once.
const GATHER_FROM_EVENTS: usize = 8;
/// Events that may wait for a batch; more are refused, so that the client backs off.
const WAITING_EVENTS_MAX: usize = 20_000;

struct Request {
    event: NewEvent,
    received: Instant,
    room: Room,
    reply: oneshot::Sender<Result<Accepted, IngestError>>,
}

/// Handle to ingest; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    requests: mpsc::Sender<Request>,
    rooms: Rooms,
}

impl Ingest {
    /// Starts the batching task. After `stop` it refuses new events and ends when the last one is committed.
    pub fn start(
        database: Database,
        config: IngestConfig,
        lease: Arc<Lease>,
        clock: Clock,
        wakeups: Wakeups,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, waiting) = mpsc::channel(WAITING_EVENTS_MAX);
        let number = lease.identity().number;
        let batcher =
            Batcher { database, config, lease, clock, wakeups, ids: RunIdSequence::new(number), number, last_batch: 0 };
        (Self { requests, rooms: Rooms::default() }, tokio::spawn(batcher.run(waiting, stop)))
    }

    /// Commits an event, unless it is known by its keys, and returns its run. When this returns a run, the event is fsynced.
    ///
    /// # Errors
    /// See [`IngestError`].
    pub async fn accept(&self, event: NewEvent) -> Result<Accepted, IngestError> {
        let room = self.rooms.take(event.payload.len()).ok_or(IngestError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { event, received: Instant::now(), room, reply }).map_err(
            |error| match error {
                mpsc::error::TrySendError::Full(_) => IngestError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => IngestError::Stopping,
            },
        )?;
        answer.await.unwrap_or(Err(IngestError::Stopping))
    }
}

struct Batcher {
    database: Database,
    config: IngestConfig,
    lease: Arc<Lease>,
    clock: Clock,
    wakeups: Wakeups,
    ids: RunIdSequence,
    /// The host number that `ids` was made for.
    number: u8,
    /// Events in the batch before: tells whether more are likely to come.
    last_batch: usize,
}

impl Batcher {
    async fn run(mut self, mut waiting: mpsc::Receiver<Request>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH_EVENTS_MAX);
        loop {
            tokio::select! {
                count = waiting.recv_many(&mut batch, BATCH_EVENTS_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                () = stop.cancelled(), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            }
            self.gather(&mut waiting, &mut batch).await;
            self.last_batch = batch.len();
            while !batch.is_empty() {
                let rest = batch.split_off(fitting(&batch));
                self.commit(std::mem::replace(&mut batch, rest)).await;
            }
        }
    }

    /// Waits a moment for more when the host is busy.
    async fn gather(&self, waiting: &mut mpsc::Receiver<Request>, batch: &mut Vec<Request>) {
        if self.last_batch.max(batch.len()) < GATHER_FROM_EVENTS {
            return;
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH_EVENTS_MAX {
            let room = BATCH_EVENTS_MAX - batch.len();
            match tokio::time::timeout_at(until, waiting.recv_many(batch, room)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    async fn commit(&mut self, requests: Vec<Request>) {
        let mut requests = self.still_waiting(requests);
        while !requests.is_empty() {
            let mut batch = self.number_runs(std::mem::take(&mut requests));
            if !self.lease.may_start() {
                return batch.refuse(&IngestError::Unavailable("this host holds no lease at the moment".to_owned()));
            }
            let inserted = tokio::time::timeout(self.config.timeout, self.insert(&mut batch)).await;
            match inserted.unwrap_or(Err(IngestError::Unanswered(self.config.timeout))) {
                Ok(acceptances) => {
                    let wakes = self.wakes(&batch.jobs, &acceptances);
                    requests = batch.tell(&acceptances);
                    self.wake(wakes).await;
                }
                Err(error) => {
                    tracing::warn!(events = batch.jobs.len(), %error, "a batch of events was not committed");
                    return batch.refuse(&error);
                }
            }
        }
    }

    /// Refuses what has waited for too long: whoever sent it is hardly there any more.
    fn still_waiting(&self, requests: Vec<Request>) -> Vec<Request> {
        let is_in_time = |request: &Request| request.received.elapsed() <= self.config.timeout;
        let (in_time, late): (Vec<Request>, Vec<Request>) = requests.into_iter().partition(is_in_time);
        for request in late {
            let _ = request.reply.send(Err(IngestError::Overloaded));
        }
        in_time
    }

    /// One statement, unless there are keys. A host that was away for longer than its lease may have numbered runs like
    /// another one meanwhile: new numbers help.
    async fn insert(&mut self, batch: &mut Batch) -> Result<Vec<Acceptance>, IngestError> {
        let inserted = match self.try_insert(batch).await {
            Err(error) if error.is_duplicate() => {
                let now_ms = self.clock.now_ms();
                batch.jobs.iter_mut().for_each(|job| job.run = self.ids.next(now_ms));
                self.try_insert(batch).await
            }
            answer => answer,
        };
        inserted.map_err(|error| refusal(&error))
    }

    async fn try_insert(&self, Batch { jobs, claims, .. }: &Batch) -> Result<Vec<Acceptance>, StoreError> {
        if claims.is_empty() {
            self.database.insert_jobs(jobs).await?;
            return Ok(vec![Acceptance::New; jobs.len()]);
        }
        self.database.insert_jobs_once(jobs, claims, self.config.dedupe_retention).await
    }

    fn number_runs(&mut self, requests: Vec<Request>) -> Batch {
        let number = self.lease.identity().number;
        if number != self.number {
            (self.ids, self.number) = (RunIdSequence::new(number), number);
        }
        let (now_ms, mut batch) = (self.clock.now_ms(), Batch::default());
        for request in requests {
            batch.add(request, || self.ids.next(now_ms));
        }
        batch
    }

    /// Who has new work: accounts of this host, with the first run of each, and shards of others.
    fn wakes(&self, jobs: &[NewJob], acceptances: &[Acceptance]) -> Wakes {
        let mut wakes = Wakes::default();
        for (job, _) in jobs.iter().zip(acceptances).filter(|(_, acceptance)| **acceptance == Acceptance::New) {
            if self.lease.holds(job.shard()) {
                let first = wakes.own.entry(job.account).or_insert(job.run);
                *first = job.run.min(*first);
            } else {
                wakes.others.insert(job.shard());
            }
        }
        wakes
    }

    /// Tells the scheduler of this host, or the hosts that own the shards, that there is work.
    async fn wake(&self, Wakes { own, others }: Wakes) {
        self.wakeups.jobs(own).await;
        self.wakeups.notice(others.into_iter().map(Notice::Jobs));
    }
}

#[derive(Default)]
struct Wakes {
    own: HashMap<AccountId, RunId>,
    others: BTreeSet<Shard>,
}

/// How many of the first events fit into one statement; at least one.
fn fitting(batch: &[Request]) -> usize {
    let mut bytes = 0;
    let over = batch.iter().skip(1).position(|request| {
        bytes += request.event.payload.len();
        bytes > BATCH_BYTES_MAX
    });
    over.map_or(batch.len(), |over| over + 1)
}

fn refusal(error: &StoreError) -> IngestError {
    if error.is_unavailable() {
        IngestError::Unavailable(error.to_string())
    } else {
        tracing::error!(%error, "the database refused a batch of events");
        IngestError::Refused("the database refused the event".to_owned())
    }
}
