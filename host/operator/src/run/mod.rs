//! Running one grid: from a fetched job to what is to be committed.
//!
//! ```text
//!   begin ──► ready nodes ──call──► settle ──► … ──► conclude
//!               ▲                     │
//!               └── commit point ◄────┘   after a node with an outside effect, and when much waits
//! ```
//!
//! Everything since the last commit point is held in memory, so that a conflict or a crash loses only work that had no
//! outside effect.

mod call;
mod callee;
mod conflicts;
mod context;
mod execution;
mod outbox;
mod secrets;
mod storage;

use std::{sync::Arc, time::Duration};

use trellis_model::run::LOST_HOSTS_SUSPECT;
use trellis_store::{jobs::FetchedJob, shards::Holding};

pub use callee::Callee;
pub use conflicts::Conflicts;
pub use context::RunContext;
use execution::{Execution, NotBegun};

use crate::{
    committer::CommitEnd,
    starts::{Start, giving_up},
};

/// What has become of a run that was started on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Committed: its job is gone, or being cancelled.
    Concluded,
    /// Committed: its job waits for this long.
    Waiting(Duration),
    /// Given back untouched, without a write: to be fetched again after this long.
    Released(Duration),
    /// The shard belongs to another host by now.
    Fenced,
}

/// A job whose run was given back because the database did not answer is fetched again after this long.
const NOT_NOW_PAUSE: Duration = Duration::from_secs(1);

/// Runs a job to whatever end it comes to now. `start` is given up as soon as the run waits for something else than a core.
pub async fn run_job(context: &Arc<RunContext>, job: FetchedJob, start: Start) -> RunEnd {
    // A stop may have come while it stood in line.
    if !context.lease.may_start() || context.lease.is_leaving() {
        return RunEnd::Released(NOT_NOW_PAUSE);
    }
    if job.lost_hosts < LOST_HOSTS_SUSPECT {
        return execute(context, job, Some(start)).await;
    }
    drop(start);
    // The semaphore is never closed.
    let _turn = context.suspects.acquire().await;
    execute_alone(context, job).await
}

/// Runs a suspect with a claim of its own, which says whose turn it was if this host is lost.
async fn execute_alone(context: &Arc<RunContext>, job: FetchedJob) -> RunEnd {
    let holding = Holding { shard: job.shard, epoch: job.epoch };
    let claim = match context.database.claim_alone(holding, job.account, job.run).await {
        Ok(claim) => (job.shard, claim),
        Err(error) => {
            tracing::warn!(run = %job.run, %error, "a suspect was not claimed; its run is given back");
            return RunEnd::Released(NOT_NOW_PAUSE);
        }
    };
    context.claims.open(claim);
    let end = execute(context, job, None).await;
    context.claims.conclude(claim);
    end
}

async fn execute(context: &Arc<RunContext>, job: FetchedJob, mut start: Option<Start>) -> RunEnd {
    let Some(in_flight) = context.cancellations.enter(job.account, job.run) else {
        // The canceller ends it.
        return RunEnd::Concluded;
    };
    let begun = giving_up(&mut start, Execution::begin(context, job, in_flight.cancellation())).await;
    match begun {
        Ok(execution) => execution.run(start).await,
        Err(NotBegun::NotNow) => RunEnd::Released(NOT_NOW_PAUSE),
        Err(NotBegun::Never(commit)) => match context.committer.commit(*commit).await {
            CommitEnd::Fenced => RunEnd::Fenced,
            _ => RunEnd::Concluded,
        },
    }
}
