//! The commit: what runs have come to, written in one fenced transaction for many runs.
//!
//! Either all of a run's effects (storage writes, emitted events, checkpoint, history) are written or none. A commit whose answer was lost
//! can be sent again: what is already there is not applied twice.

mod cancel;
mod conclude;
mod fence;
mod outbox;
mod records;
mod storage;

use std::{sync::Arc, time::Duration};

use sqlx::PgConnection;
use trellis_model::{AccountId, ClaimId, Lane, ProjectId, RunId, Shard, run::RunState, run_limits::PendingSize};
use uuid::Uuid;

use crate::{Database, Result, fail_point, jobs::NewJob, patient_pool::answered, shards::Holding};

/// What one run wants to have written.
#[derive(Clone, Debug)]
pub struct RunCommit {
    pub holding: Holding,
    pub account: AccountId,
    /// Where the run's job stands.
    pub lane: Lane,
    pub project: ProjectId,
    pub run: RunId,
    pub effects: Effects,
    pub conclusion: Conclusion,
}

impl RunCommit {
    /// Roughly what this writes, in bytes.
    pub fn size_bytes(&self) -> usize {
        let nodes = match &self.conclusion {
            Conclusion::Finished(end) => end.nodes.len(),
            Conclusion::Checkpoint(checkpoint) | Conclusion::Later { checkpoint: Some(checkpoint), .. } => {
                checkpoint.nodes.len()
            }
            Conclusion::Later { checkpoint: None, .. } => 0,
        };
        self.effects.size().bytes + nodes
    }
}

/// The effects of the nodes since the run's last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Committed versions that were read; 0 for keys that were absent.
    pub reads: Vec<ReadVersion>,
    /// In the order they were made.
    pub writes: Vec<Write>,
    /// Committed versions of records that were read; 0 for those that were absent.
    pub record_reads: Vec<RecordVersion>,
    /// In the order they were made.
    pub record_writes: Vec<RecordWrite>,
    /// In the order they were emitted.
    pub events: Vec<NewJob>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
            && self.writes.is_empty()
            && self.record_reads.is_empty()
            && self.record_writes.is_empty()
            && self.events.is_empty()
    }

    /// How much it is.
    pub fn size(&self) -> PendingSize {
        let value = |write: &Write| match &write.kind {
            WriteKind::Put { value, .. } => value.len(),
            WriteKind::Delete | WriteKind::Add(_) => 0,
        };
        let reads: usize = self.reads.iter().map(|read| read.store.len() + read.key.len()).sum();
        let writes: usize = self.writes.iter().map(|write| write.store.len() + write.key.len() + value(write)).sum();
        let record_reads: usize = self.record_reads.iter().map(|read| read.collection.len() + read.key.len()).sum();
        let record_writes: usize = self.record_writes.iter().map(RecordWrite::size_bytes).sum();
        let events: usize = self.events.iter().map(|event| event.payload.len()).sum();
        PendingSize {
            keys: self.reads.len() + self.writes.len() + self.record_reads.len() + self.record_writes.len(),
            bytes: reads + writes + record_reads + record_writes + events,
            events: self.events.len(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadVersion {
    pub store: String,
    pub key: String,
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub store: String,
    pub key: String,
    pub kind: WriteKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteKind {
    Put {
        /// Shared with calls that see it before it is committed.
        value: Arc<[u8]>,
        ttl: Option<Duration>,
    },
    Delete,
    /// Adds to a decimal integer; absent counts as 0.
    Add(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordVersion {
    pub collection: String,
    pub key: String,
    pub version: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordWrite {
    pub collection: String,
    pub key: String,
    /// JSON text; none: the record is deleted.
    pub data: Option<Arc<str>>,
}

impl RecordWrite {
    fn size_bytes(&self) -> usize {
        self.collection.len() + self.key.len() + self.data.as_ref().map_or(0, |data| data.len())
    }
}

/// How the run goes on after this commit.
#[derive(Clone, Debug)]
pub enum Conclusion {
    /// The run is over: its job is deleted and its history written.
    Finished(Finished),
    /// The run waits: its job moves to `job_later`, with a checkpoint of its finished nodes.
    Later { after: Duration, last_error: Option<String>, checkpoint: Option<Checkpoint> },
    /// The run goes on: its finished nodes will not be run again.
    Checkpoint(Checkpoint),
}

#[derive(Clone, Debug)]
pub struct Finished {
    /// Succeeded, dead or cancelled.
    pub state: RunState,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    pub error: Option<String>,
    /// Array of node results, JSON.
    pub nodes: Vec<u8>,
    /// Whether there is a checkpoint to delete.
    pub has_checkpoint: bool,
}

impl Finished {
    /// The end of a run that cannot be run on. `nodes`: what its last checkpoint held.
    pub fn dead_letter(run: RunId, error: &str, nodes: Option<Vec<u8>>) -> Self {
        Self {
            state: RunState::Dead,
            started_at_ms: run.accepted_at_ms(),
            // Postgres text holds no NUL.
            error: Some(error.replace('\0', "\u{fffd}")),
            nodes: nodes.unwrap_or_else(|| b"[]".to_vec()),
            has_checkpoint: true,
        }
    }

    /// The end of a run that was cancelled while nobody ran it. `nodes`: what its last checkpoint held.
    pub fn cancelled(run: RunId, nodes: Option<Vec<u8>>) -> Self {
        Self { state: RunState::Cancelled, error: None, ..Self::dead_letter(run, "", nodes) }
    }
}

#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Counts the run's checkpoints; rises with every one.
    pub sequence: i32,
    /// Array of node results, JSON.
    pub nodes: Vec<u8>,
}

/// What became of one [`RunCommit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    Committed,
    /// Something that the run had read was changed by another: nothing was written.
    Conflict,
    /// An addition to what is no integer, or beyond 64 bits: nothing was written, and would not be another time.
    Impossible,
    /// The shard belongs to another host by now: nothing was written.
    Fenced,
    /// An earlier sending of this very commit was written, but its answer lost. Told as `Committed`.
    Repeated,
}

/// Lets the writers of a project take turns, until the end of the transaction. Stores and records have one lock, so that who
/// writes both never waits for somebody who waits for them.
pub(crate) async fn lock_project(connection: &mut PgConnection, project: ProjectId) -> Result<()> {
    storage::lock(connection, vec![project.0]).await
}

impl Database {
    /// Writes a batch: fence, storage, emitted events, conclusions, finished claims, in one transaction. The outcomes stand in the order
    /// of `commits`.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`]: nothing is known of the outcome; send the batch again.
    pub async fn commit(
        &self,
        host: Uuid,
        commits: &[RunCommit],
        claims: &[(Shard, ClaimId)],
    ) -> Result<Vec<CommitOutcome>> {
        answered(self.commit_at_once(host, commits, claims)).await
    }

    async fn commit_at_once(
        &self,
        host: Uuid,
        commits: &[RunCommit],
        claims: &[(Shard, ClaimId)],
    ) -> Result<Vec<CommitOutcome>> {
        fail_point!("commit-before-fence");
        let mut transaction = self.durable.begin().await?;
        let mut outcomes = fence::check(&mut transaction, host, commits).await?;
        fail_point!("commit-after-fence");
        storage::apply(&mut transaction, commits, &mut outcomes).await?;
        outbox::insert(&mut transaction, commits, &outcomes).await?;
        conclude::write(&mut transaction, commits, &outcomes).await?;
        conclude::delete_claims(&mut transaction, claims).await?;
        fail_point!("commit-before-commit");
        transaction.commit().await?;
        fail_point!("commit-after-commit");
        for outcome in &mut outcomes {
            if *outcome == CommitOutcome::Repeated {
                *outcome = CommitOutcome::Committed;
            }
        }
        Ok(outcomes)
    }
}
