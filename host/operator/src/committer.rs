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
use trellis_model::run::RunState;
use trellis_store::{
    Database, StoreError,
    commit::{CommitOutcome, Conclusion, Effects, Finished, RunCommit},
};

use crate::{claims::Claims, lease::Lease};

/// Runs of one flush at most.
const FLUSH_RUNS_MAX: usize = 500;
/// Commits that may wait for a flush: runs in flight are bounded, so this is never full.
const WAITING_COMMITS_MAX: usize = 4_096;
/// Claims are deleted along with the next flush, or after this long.
const CLAIMS_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

struct Request {
    commit: RunCommit,
    reply: oneshot::Sender<CommitOutcome>,
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
        give_up: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (requests, waiting) = mpsc::channel(WAITING_COMMITS_MAX);
        let flusher = Flusher { database, lease, claims, give_up };
        (Self { requests }, tokio::spawn(flusher.run(waiting)))
    }

    /// Writes what a run has come to, and waits until it is fsynced. While the database is away this waits for it.
    /// A host that gives up at its stop answers `Fenced`: the next owner does the work.
    pub async fn commit(&self, commit: RunCommit) -> CommitOutcome {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request { commit, reply }).await.is_err() {
            return CommitOutcome::Fenced;
        }
        answer.await.unwrap_or(CommitOutcome::Fenced)
    }
}

struct Flusher {
    database: Database,
    lease: Arc<Lease>,
    claims: Arc<Claims>,
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
            self.flush(std::mem::take(&mut batch)).await;
        }
        self.flush(Vec::new()).await;
    }

    async fn flush(&self, batch: Vec<Request>) {
        let (commits, replies): (Vec<RunCommit>, Vec<_>) =
            batch.into_iter().map(|request| (request.commit, request.reply)).unzip();
        let claims = self.claims.take_settled();
        let outcomes = self.write(&commits, &claims).await;
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // The run's task waits for this; if it was aborted, nobody needs the answer.
            let _ = reply.send(outcome);
        }
    }

    /// Sends the batch until the database has answered.
    async fn write(&self, commits: &[RunCommit], claims: &[crate::claims::SettledClaim]) -> Vec<CommitOutcome> {
        if commits.is_empty() && claims.is_empty() {
            return Vec::new();
        }
        let mut pause = RETRY_FIRST;
        loop {
            match self.database.commit(self.lease.identity().host, commits, claims).await {
                Ok(outcomes) => return outcomes,
                Err(StoreError::Unavailable(error)) => {
                    tracing::warn!(runs = commits.len(), %error, "a commit was not answered; sending it again");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LONGEST),
                        () = self.give_up.cancelled() => return vec![CommitOutcome::Fenced; commits.len()],
                    }
                }
                Err(error) => return Box::pin(self.write_one_by_one(commits, &error)).await,
            }
        }
    }

    /// One of them cannot be written: find it, so that the others are.
    async fn write_one_by_one(&self, commits: &[RunCommit], error: &StoreError) -> Vec<CommitOutcome> {
        if let [commit] = commits {
            return vec![self.bury(commit, error).await];
        }
        let mut outcomes = Vec::with_capacity(commits.len());
        for commit in commits {
            outcomes.extend(self.write(std::slice::from_ref(commit), &[]).await);
        }
        outcomes
    }

    /// What the run has come to cannot be stored: end it without its effects rather than try for ever.
    async fn bury(&self, commit: &RunCommit, error: &StoreError) -> CommitOutcome {
        tracing::error!(run = %commit.run, %error, "a run cannot be committed; it becomes a dead letter");
        let burial = RunCommit {
            effects: Effects::default(),
            conclusion: Conclusion::Finished(burial(commit.run.accepted_at_ms())),
            ..commit.clone()
        };
        // A burial that is refused as well stays undone; the run is looked at again when it is next fetched.
        if !is_burial(commit) {
            self.write(&[burial], &[]).await;
        }
        // The run's task must not go on: for it, the run is somebody else's.
        CommitOutcome::Fenced
    }
}

const NO_NODES: &[u8] = b"[]";

fn burial(started_at_ms: i64) -> Finished {
    Finished {
        state: RunState::Dead,
        started_at_ms,
        error: Some("the database refused what the run has come to".to_owned()),
        nodes: NO_NODES.to_vec(),
        has_checkpoint: true,
    }
}

fn is_burial(commit: &RunCommit) -> bool {
    matches!(&commit.conclusion, Conclusion::Finished(end) if end.state == RunState::Dead && end.nodes == NO_NODES)
}
