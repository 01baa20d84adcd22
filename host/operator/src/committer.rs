//! The committer: gathers what runs have come to and writes it in batches, one flush at a time.
//!
//! While a flush is under way the next batch gathers by itself, so that batches grow with the load and a quiet host
//! waits for nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use trellis_store::{
    Database, StoreError,
    commit::{CommitOutcome, Conclusion, Effects, Finished, RunCommit},
};

use crate::{
    claims::{Claims, SettledClaim},
    deaths,
    lease::Lease,
    outbox::Outbox,
    watch::Watches,
};

/// Runs of one flush at most.
const FLUSH_RUNS_MAX: usize = 500;
/// What one flush writes at most, in bytes, but for a single run.
const FLUSH_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Commits that may wait for a flush; more wait to be sent, which holds their runs back.
const WAITING_COMMITS_MAX: usize = 4_096;
/// A batch that was sent this often without an answer is sent run by run: it may be the batch that the server dies of.
const TOGETHER_MAX: u32 = 8;
/// Claims are deleted along with the next flush, or after this long.
const CLAIMS_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

struct Request {
    commit: RunCommit,
    reply: oneshot::Sender<CommitEnd>,
}

/// What became of a run's commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitEnd {
    Committed,
    /// See [`CommitOutcome::Conflict`].
    Conflict,
    /// See [`CommitOutcome::Impossible`].
    Impossible,
    /// The run is somebody else's by now.
    Fenced,
    /// The database refuses what the run has come to: it has become a dead letter.
    Buried,
    /// Neither what the run has come to nor its dead letter could be written: it is run again.
    Unwritten,
}

impl From<CommitOutcome> for CommitEnd {
    fn from(outcome: CommitOutcome) -> Self {
        match outcome {
            CommitOutcome::Committed | CommitOutcome::Repeated => Self::Committed,
            CommitOutcome::Conflict => Self::Conflict,
            CommitOutcome::Impossible => Self::Impossible,
            CommitOutcome::Fenced => Self::Fenced,
        }
    }
}

/// Handle to the committer; cheap to clone.
#[derive(Clone, Debug)]
pub struct Committer {
    requests: mpsc::Sender<Request>,
}

impl Committer {
    /// Starts the flushing task. It ends when every handle is dropped and everything is written, or `give_up` is cancelled.
    pub fn start(
        database: Database,
        lease: Arc<Lease>,
        claims: Arc<Claims>,
        outbox: Outbox,
        watches: Arc<Watches>,
        give_up: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, waiting) = mpsc::channel(WAITING_COMMITS_MAX);
        let flusher = Flusher { database, lease, claims, outbox, watches, give_up };
        (Self { requests }, tokio::spawn(flusher.run(waiting)))
    }

    /// Writes what a run has come to, and waits until it is fsynced. While the database is away this waits for it.
    /// A host that gives up at its stop answers `Fenced`: the next owner does the work.
    pub async fn commit(&self, commit: RunCommit) -> CommitEnd {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request { commit, reply }).await.is_err() {
            return CommitEnd::Fenced;
        }
        answer.await.unwrap_or(CommitEnd::Fenced)
    }
}

struct Flusher {
    database: Database,
    lease: Arc<Lease>,
    claims: Arc<Claims>,
    outbox: Outbox,
    watches: Arc<Watches>,
    give_up: CancellationToken,
}

impl Flusher {
    async fn run(self, mut waiting: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(FLUSH_RUNS_MAX);
        loop {
            tokio::select! {
                count = waiting.recv_many(&mut batch, FLUSH_RUNS_MAX) => {
                    if count == 0 {
                        break;
                    }
                }
                () = self.claims.settled(CLAIMS_INTERVAL) => {}
                () = self.give_up.cancelled() => break,
            }
            while !batch.is_empty() {
                let rest = batch.split_off(fitting(&batch));
                self.flush(std::mem::replace(&mut batch, rest)).await;
            }
            self.delete_claims().await;
        }
        self.delete_claims().await;
    }

    async fn flush(&self, batch: Vec<Request>) {
        let (mut commits, replies): (Vec<RunCommit>, Vec<_>) =
            batch.into_iter().map(|request| (request.commit, request.reply)).unzip();
        let claims = self.claims.take_settled();
        self.outbox.number(&mut commits);
        let ends = self.write(&mut commits, &claims).await;
        self.outbox.wake(&commits, &ends).await;
        deaths::tell(&commits, &ends);
        self.watches.committed(commits, &ends);
        for (reply, end) in replies.into_iter().zip(ends) {
            // The run's task waits for this; if it was aborted, nobody needs the answer.
            let _ = reply.send(end);
        }
    }

    /// Claims that no flush has taken along.
    async fn delete_claims(&self) {
        let claims = self.claims.take_settled();
        if !claims.is_empty() {
            self.write(&mut [], &claims).await;
        }
    }

    /// Sends the batch until the database has answered.
    async fn write(&self, commits: &mut [RunCommit], claims: &[SettledClaim]) -> Vec<CommitEnd> {
        let (mut pause, mut is_renumbered) = (RETRY_FIRST, false);
        for attempt in 1.. {
            let error = match self.database.commit(self.lease.identity().host, commits, claims).await {
                Ok(outcomes) => return outcomes.into_iter().map(CommitEnd::from).collect(),
                Err(error) => error,
            };
            if error.is_duplicate() && !is_renumbered {
                // As in ingest: a host that was away for longer than its lease may have numbered runs like another one
                // meanwhile. Nothing was written, so new numbers are as good.
                is_renumbered = true;
                self.outbox.number(commits);
                continue;
            }
            let is_together = commits.len() > 1;
            if error.is_of_the_data() || (is_together && attempt >= TOGETHER_MAX) {
                self.claims.put_back(claims);
                return Box::pin(self.write_one_by_one(commits, &error)).await;
            }
            tracing::warn!(runs = commits.len(), %error, "a commit was not written; sending it again");
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LONGEST),
                () = self.give_up.cancelled() => break,
            }
        }
        vec![CommitEnd::Fenced; commits.len()]
    }

    /// One of them cannot be written: find it, so that the others are.
    async fn write_one_by_one(&self, commits: &mut [RunCommit], error: &StoreError) -> Vec<CommitEnd> {
        if let [commit] = commits {
            return vec![self.bury(commit, error).await];
        }
        let mut ends = Vec::with_capacity(commits.len());
        for commit in commits {
            ends.extend(self.write(std::slice::from_mut(commit), &[]).await);
        }
        ends
    }

    /// What the run has come to cannot be stored: end it without its effects rather than try for ever.
    async fn bury(&self, commit: &RunCommit, error: &StoreError) -> CommitEnd {
        tracing::error!(run = %commit.run, %error, "a run cannot be committed; it becomes a dead letter");
        let reason = "the database refused what the run has come to";
        let burial = RunCommit {
            effects: Effects::default(),
            conclusion: Conclusion::Finished(Finished::dead_letter(commit.run, reason, None)),
            ..commit.clone()
        };
        match self.database.commit(self.lease.identity().host, &[burial], &[]).await {
            Ok(_) => CommitEnd::Buried,
            Err(error) => {
                tracing::error!(run = %commit.run, %error, "the dead letter was not written either; it is run again");
                CommitEnd::Unwritten
            }
        }
    }
}

/// How many of the first commits fit into one flush; at least one.
fn fitting(batch: &[Request]) -> usize {
    let mut bytes = 0;
    let over = batch.iter().skip(1).position(|request| {
        bytes += request.commit.size_bytes();
        bytes > FLUSH_BYTES_MAX
    });
    over.map_or(batch.len(), |over| over + 1)
}
