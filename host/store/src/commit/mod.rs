//! The commit: what runs have come to, written in one fenced transaction for many runs.
//!
//! Either all of a run's effects (storage writes, checkpoint, history) are written or none. A commit whose answer was lost
//! can be sent again: what is already there is not applied twice.

mod conclude;
mod fence;
mod storage;

use std::time::Duration;

use trellis_model::{AccountId, ClaimId, ProjectId, RunId, Shard, run::RunState};
use uuid::Uuid;

use crate::{Database, Result, shards::Holding};

/// What one run wants to have written.
#[derive(Clone, Debug)]
pub struct RunCommit {
    pub holding: Holding,
    pub account: AccountId,
    pub project: ProjectId,
    pub run: RunId,
    pub effects: Effects,
    pub conclusion: Conclusion,
}

/// The storage effects of the nodes since the run's last commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Committed versions that were read; 0 for keys that were absent.
    pub reads: Vec<ReadVersion>,
    /// In the order they were made.
    pub writes: Vec<Write>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
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
        value: Vec<u8>,
        ttl: Option<Duration>,
    },
    Delete,
    /// Adds to a decimal integer; absent counts as 0.
    Add(i64),
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
    /// Succeeded or dead.
    pub state: RunState,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    pub error: Option<String>,
    /// Array of node results, JSON.
    pub nodes: Vec<u8>,
    /// Whether there is a checkpoint to delete.
    pub has_checkpoint: bool,
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
    /// The shard belongs to another host by now: nothing was written.
    Fenced,
}

impl Database {
    /// Writes a batch: fence, storage, conclusions, finished claims, in one transaction. The outcomes stand in the order
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
        let mut transaction = self.durable.begin().await?;
        let mut outcomes = fence::check(&mut transaction, host, commits).await?;
        storage::apply(&mut transaction, commits, &mut outcomes).await?;
        conclude::write(&mut transaction, commits, &outcomes).await?;
        conclude::delete_claims(&mut transaction, claims).await?;
        transaction.commit().await?;
        Ok(outcomes)
    }
}
