//! Ingest: events gathered into batches, committed, and only then acknowledged.
//!
//! An event with a key that was accepted before is answered with the run that there is. Never talks to the engine. Runs on
//! every host, whoever owns the shard.

mod batch;
mod room;

mod replays;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, Place, ProjectId, RevisionId, RunId};
use trellis_store::{
    Database, StoreError,
    dedup::{Acceptance, Digest},
    jobs::NewJob,
};

pub use self::replays::ReplayOf;
use self::{
    batch::Batch,
    room::{Room, Rooms},
};
use crate::{lease::Lease, run_ids::RunIds, scheduler::Wakeups, spreads::Spreads};

/// An event to be accepted.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub account: AccountId,
    pub project: ProjectId,
    pub revision: RevisionId,
    pub grid: Arc<str>,
    /// See [`crate::catalog::LoadedRevision::place`].
    pub place: Place,
    /// [`trellis_model::run::Event`] as JSON.
    pub payload: Vec<u8>,
    pub keys: EventKeys,
}

impl NewEvent {
    /// `spread`: on how many shards the jobs of its account are put.
    fn into_job(self, run: RunId, spread: u8) -> NewJob {
        NewJob {
            shard: self.place.shard(self.account, run, spread),
            place: self.place,
            account: self.account,
            run,
            project: self.project,
            revision: self.revision,
            grid: self.grid,
            payload: self.payload,
        }
    }
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
    /// What was to be replayed was replayed before, or is not there any more.
    #[error("the run was replayed already, or is not kept any more")]
    Replayed,
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

type Answer = Result<Accepted, IngestError>;

struct Request {
    event: NewEvent,
    replay: Option<ReplayOf>,
    received: Instant,
    room: Room,
    reply: oneshot::Sender<Answer>,
}

impl Request {
    /// What its rows hold, roughly, in bytes.
    fn size_bytes(&self) -> usize {
        size_bytes(&self.event, self.replay.as_ref())
    }
}

fn size_bytes(event: &NewEvent, replay: Option<&ReplayOf>) -> usize {
    event.payload.len() + replay.and_then(|replay| replay.nodes.as_ref()).map_or(0, Vec::len)
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
        ids: RunIds,
        spreads: Arc<Spreads>,
        wakeups: Wakeups,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, waiting) = mpsc::channel(WAITING_EVENTS_MAX);
        let batcher = Batcher { database, config, lease, spreads, wakeups, ids, last_batch: 0 };
        (Self { requests, rooms: Rooms::default() }, tokio::spawn(batcher.run(waiting, stop)))
    }

    /// Commits an event, unless it is known by its keys, and returns its run. When this returns a run, the event is fsynced.
    ///
    /// # Errors
    /// See [`IngestError`].
    pub async fn accept(&self, event: NewEvent) -> Answer {
        self.send(event, None).await
    }

    async fn send(&self, event: NewEvent, replay: Option<ReplayOf>) -> Answer {
        let room = self.rooms.take(size_bytes(&event, replay.as_ref())).ok_or(IngestError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { event, replay, received: Instant::now(), room, reply };
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IngestError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => IngestError::Stopping,
        })?;
        answer.await.unwrap_or(Err(IngestError::Stopping))
    }
}

struct Batcher {
    database: Database,
    config: IngestConfig,
    lease: Arc<Lease>,
    spreads: Arc<Spreads>,
    wakeups: Wakeups,
    ids: RunIds,
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
        let in_time = self.still_waiting(requests);
        let (replays, events): (Vec<Request>, Vec<Request>) =
            in_time.into_iter().partition(|request| request.replay.is_some());
        self.commit_events(events).await;
        if !replays.is_empty() {
            self.commit_replays(replays).await;
        }
    }

    async fn commit_events(&mut self, mut requests: Vec<Request>) {
        while !requests.is_empty() {
            let mut batch = self.number_runs(std::mem::take(&mut requests));
            if !self.lease.may_start() {
                return batch.refuse(&no_lease());
            }
            let inserted = tokio::time::timeout(self.config.timeout, self.insert(&mut batch)).await;
            match inserted.unwrap_or(Err(IngestError::Unanswered(self.config.timeout))) {
                Ok(acceptances) => {
                    self.wakeups.committed(&self.lease, batch.accepted(&acceptances)).await;
                    requests = batch.tell(&acceptances);
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
                let ids = self.ids.take(batch.jobs.len());
                batch.jobs.iter_mut().zip(ids).for_each(|(job, id)| self.spreads.number(job, id));
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

    fn number_runs(&self, requests: Vec<Request>) -> Batch {
        let mut batch = Batch::default();
        for (run, request) in self.ids.take(requests.len()).into_iter().zip(requests) {
            let spread = self.spreads.of(request.event.account);
            batch.add(request, run, spread);
        }
        batch
    }
}

/// How many of the first events fit into one statement; at least one.
fn fitting(batch: &[Request]) -> usize {
    let mut bytes = 0;
    let over = batch.iter().skip(1).position(|request| {
        bytes += request.size_bytes();
        bytes > BATCH_BYTES_MAX
    });
    over.map_or(batch.len(), |over| over + 1)
}

fn no_lease() -> IngestError {
    IngestError::Unavailable("this host holds no lease at the moment".to_owned())
}

fn refusal(error: &StoreError) -> IngestError {
    if error.is_unavailable() {
        IngestError::Unavailable(error.to_string())
    } else {
        tracing::error!(%error, "the database refused a batch of events");
        IngestError::Refused("the database refused the event".to_owned())
    }
}
