//! Running one grid: from a fetched job to what is to be committed.
//!
//! ```text
//!   begin ──► ready nodes ──call──► settle ──► … ──► conclude
//!               ▲                     │
//!               └── commit point ◄────┘   after a node with an outside effect
//! ```
//!
//! Everything since the last commit point is held in memory, so that a conflict or a crash loses only work that had no
//! outside effect.

mod call;
mod callee;
mod context;
mod execution;
mod storage;

use std::{sync::Arc, time::Duration};

use trellis_model::run::{LOST_HOSTS_MAX, RunState};
use trellis_store::{
    commit::{Conclusion, Effects, Finished, RunCommit},
    jobs::FetchedJob,
    shards::Suspect,
};

pub use callee::Callee;
pub use context::RunContext;
use execution::{Execution, NotBegun};

/// What has become of a run that was started on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Committed: its job is gone.
    Concluded,
    /// Committed: its job waits for this long.
    Waiting(Duration),
    /// Given back untouched, without a write: to be fetched again after this long.
    Released(Duration),
    /// The shard belongs to another host by now.
    Fenced,
}

/// Runs a job to whatever end it comes to now.
pub async fn run_job(context: &Arc<RunContext>, job: FetchedJob) -> RunEnd {
    let Some(holding) = context.lease.holding(job.shard) else { return RunEnd::Fenced };
    match Execution::begin(context, job, holding).await {
        Ok(execution) => execution.run().await,
        Err(NotBegun::NotNow) => RunEnd::Released(Duration::from_secs(1)),
        Err(NotBegun::Never(commit)) => match context.committer.commit(*commit).await {
            trellis_store::commit::CommitOutcome::Fenced => RunEnd::Fenced,
            _ => RunEnd::Concluded,
        },
    }
}

/// Buries a run that too many hosts were lost with: it is probably what they were lost of.
pub async fn bury_suspect(context: Arc<RunContext>, suspect: Suspect) {
    let Some(holding) = context.lease.holding(suspect.shard) else { return };
    let checkpoint = context.database.checkpoint(suspect.shard, suspect.account, suspect.run).await;
    let nodes = match checkpoint {
        Ok(checkpoint) => checkpoint.map_or_else(|| b"[]".to_vec(), |checkpoint| checkpoint.nodes),
        // Its lost hosts stay counted: it is buried when it is next fetched.
        Err(_) => return,
    };
    let commit = RunCommit {
        holding,
        account: suspect.account,
        project: trellis_model::ProjectId(0),
        run: suspect.run,
        effects: Effects::default(),
        conclusion: Conclusion::Finished(Finished {
            state: RunState::Dead,
            started_at_ms: suspect.run.accepted_at_ms(),
            error: Some(lost_hosts_message(LOST_HOSTS_MAX)),
            nodes,
            has_checkpoint: true,
        }),
    };
    context.committer.commit(commit).await;
}

fn lost_hosts_message(count: i16) -> String {
    format!("{count} hosts were lost while they ran this run")
}
