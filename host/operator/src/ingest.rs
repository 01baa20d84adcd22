//! Ingest: events gathered into batches, committed, and only then acknowledged.
//!
//! Never talks to the engine. Runs on every host, whoever owns the shard.

mod replays;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, Place, ProjectId, RevisionId, RunId};
use trellis_store::{Database, StoreError, jobs::NewJob};

pub use self::replays::ReplayOf;
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

type Accepted = Result<RunId, IngestError>;

struct Request {
    event: NewEvent,
    replay: Option<ReplayOf>,
    reply: oneshot::Sender<Accepted>,
}

impl Request {
    /// What its rows hold, roughly, in bytes.
    fn size_bytes(&self) -> usize {
        let nodes = self.replay.as_ref().and_then(|replay| replay.nodes.as_ref());
        self.event.payload.len() + nodes.map_or(0, Vec::len)
    }
}

/// Handle to ingest; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingest {
    requests: mpsc::Sender<Request>,
}

impl Ingest {
    /// Starts the batching task. After `stop` it refuses new events and ends when the last one is committed.
    pub fn start(
        database: Database,
        lease: Arc<Lease>,
        ids: RunIds,
        spreads: Arc<Spreads>,
        wakeups: Wakeups,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, waiting) = mpsc::channel(WAITING_EVENTS_MAX);
        let batcher = Batcher { database, lease, spreads, wakeups, ids, last_batch: 0 };
        (Self { requests }, tokio::spawn(batcher.run(waiting, stop)))
    }

    /// Commits an event and returns the id of its run. When this returns an id, the event is fsynced.
    ///
    /// # Errors
    /// See [`IngestError`].
    pub async fn accept(&self, event: NewEvent) -> Result<RunId, IngestError> {
        self.send(event, None).await
    }

    async fn send(&self, event: NewEvent, replay: Option<ReplayOf>) -> Accepted {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request { event, replay, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IngestError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => IngestError::Stopping,
        })?;
        answer.await.unwrap_or(Err(IngestError::Stopping))
    }
}

struct Batcher {
    database: Database,
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

    async fn commit(&mut self, batch: Vec<Request>) {
        if !self.lease.may_start() {
            let error = IngestError::Unavailable("this host holds no lease at the moment".to_owned());
            batch.into_iter().for_each(|request| drop(request.reply.send(Err(error.clone()))));
            return;
        }
        let (replays, events): (Vec<Request>, Vec<Request>) =
            batch.into_iter().partition(|request| request.replay.is_some());
        if !events.is_empty() {
            self.commit_events(events).await;
        }
        if !replays.is_empty() {
            self.commit_replays(replays).await;
        }
    }

    async fn commit_events(&mut self, batch: Vec<Request>) {
        let (mut jobs, replies) = self.number_runs(batch);
        match self.insert(&mut jobs).await {
            Ok(()) => {
                for (job, reply) in jobs.iter().zip(replies) {
                    // A client that has gone away is not told; its event is kept all the same.
                    let _ = reply.send(Ok(job.run));
                }
                self.wakeups.committed(&self.lease, &jobs).await;
            }
            Err(error) => {
                let error = refusal(&error);
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// A host that was away for longer than its lease may have numbered runs like another one meanwhile: new numbers help.
    async fn insert(&mut self, jobs: &mut [NewJob]) -> Result<(), StoreError> {
        match self.database.insert_jobs(jobs).await {
            Err(error) if error.is_duplicate() => {
                let ids = self.ids.take(jobs.len());
                jobs.iter_mut().zip(ids).for_each(|(job, id)| job.run = id);
                self.database.insert_jobs(jobs).await
            }
            answer => answer,
        }
    }

    fn number_runs(&self, batch: Vec<Request>) -> (Vec<NewJob>, Vec<oneshot::Sender<Accepted>>) {
        let ids = self.ids.take(batch.len());
        batch.into_iter().zip(ids).map(|(request, run)| (self.job(request.event, run), request.reply)).unzip()
    }

    fn job(&self, event: NewEvent, run: RunId) -> NewJob {
        NewJob {
            shard: event.place.shard(event.account, run, self.spreads.of(event.account)),
            place: event.place,
            account: event.account,
            run,
            project: event.project,
            revision: event.revision,
            grid: event.grid,
            payload: event.payload,
        }
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

fn refusal(error: &StoreError) -> IngestError {
    tracing::warn!(%error, "a batch of events was not committed");
    if error.is_unavailable() {
        IngestError::Unavailable(error.to_string())
    } else {
        IngestError::Refused("the database refused the event".to_owned())
    }
}
