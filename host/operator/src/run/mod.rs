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
mod first_permit;
mod move_up;
mod outbox;
mod records;
mod secrets;
pub mod shadow;
mod storage;
mod suspects;

use std::{sync::Arc, time::Duration};

use trellis_model::run::LOST_HOSTS_SUSPECT;
use trellis_store::{fail_point, jobs::FetchedJob, shards::Holding};

pub use callee::Callee;
pub use conflicts::Conflicts;
pub use context::RunContext;
use execution::{Execution, GivenBack, NotBegun};
use first_permit::FirstPermit;
pub use first_permit::FirstPermits;
pub use move_up::move_up;
pub use suspects::Suspects;

use crate::{
    committer::CommitEnd,
    starts::{Start, giving_up},
};

/// What has become of a run that was started on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Committed: its job is gone.
    Concluded,
    /// Its job is being cancelled: the canceller ends it, and tells who waits for its key.
    Barred,
    /// Committed: its job waits for this long.
    Waiting(Duration),
    /// Given back untouched, without a write: to be fetched again after this long.
    Released(Duration),
    /// Given back by itself, whatever becomes of others of its account: it is passed over for this long.
    Aside(Duration),
    /// The shard belongs to another host by now.
    Fenced,
}

/// How long a run waits when this host's lease is in doubt.
const LEASE_PAUSE: Duration = Duration::from_secs(1);
/// Before a run is tried again that the host or the database has failed at.
pub(crate) const FAILED_PAUSE: Duration = Duration::from_secs(5);
/// A suspect for which there is no room among those that wait for their turn is fetched again after this long.
const SUSPECT_PAUSE: Duration = Duration::from_secs(1);
/// A job whose run was given back because the database did not answer is fetched again after this long.
const NOT_NOW_PAUSE: Duration = Duration::from_secs(1);
/// A job whose grid needs credentials that this host has no key for is passed over for this long: only another host can run
/// it, or this one after its next start.
const KEYLESS_PAUSE: Duration = Duration::from_secs(30);

/// Runs a job to whatever end it comes to now. `start` is given up as soon as the run waits for something else than a core.
pub async fn run_job(context: &Arc<RunContext>, job: FetchedJob, start: Start) -> RunEnd {
    let first_permit = FirstPermit::of(&context.first_permits, job.queue());
    // A stop may have come while it stood in line.
    if !context.lease.may_start() || context.lease.is_leaving() {
        return RunEnd::Released(NOT_NOW_PAUSE);
    }
    if job.lost_hosts < LOST_HOSTS_SUSPECT {
        return execute(context, job, first_permit, Some(start)).await;
    }
    drop(start);
    let Some(_turn) = context.suspects.turn().await else { return RunEnd::Aside(SUSPECT_PAUSE) };
    if !context.lease.may_start() || context.lease.is_leaving() {
        return RunEnd::Released(NOT_NOW_PAUSE);
    }
    execute_alone(context, job, first_permit).await
}

/// Runs a suspect with a claim of its own, which says whose turn it was if this host is lost.
async fn execute_alone(context: &Arc<RunContext>, job: FetchedJob, first_permit: FirstPermit) -> RunEnd {
    let holding = Holding { shard: job.shard, epoch: job.epoch };
    let claim = match context.database.claim_alone(holding, job.account, job.run).await {
        Ok(claim) => (job.shard, claim),
        Err(error) => {
            tracing::warn!(run = %job.run, %error, "a suspect was not claimed; its run is given back");
            // The row may have been written all the same.
            context.claims.note_lost();
            return RunEnd::Released(NOT_NOW_PAUSE);
        }
    };
    let _open = context.claims.guard(claim);
    execute(context, job, first_permit, None).await
}

async fn execute(
    context: &Arc<RunContext>,
    job: FetchedJob,
    first_permit: FirstPermit,
    mut start: Option<Start>,
) -> RunEnd {
    let Some(in_flight) = context.cancellations.enter(job.account, job.run) else {
        return RunEnd::Barred;
    };
    let beginning = Execution::begin(context, job, first_permit, &in_flight);
    let begun = giving_up(&mut start, beginning).await;
    match begun {
        Ok(execution) => {
            fail_point!("run-begun");
            execution.run(start).await
        }
        Err(NotBegun::GivenBack(why)) => given_back(why),
        Err(NotBegun::Never(commit)) => {
            drop(start);
            match context.committer.commit(*commit).await {
                CommitEnd::Fenced => RunEnd::Fenced,
                CommitEnd::Unwritten => RunEnd::Aside(FAILED_PAUSE),
                _ => RunEnd::Concluded,
            }
        }
    }
}

fn given_back(why: GivenBack) -> RunEnd {
    match why {
        GivenBack::NotNow => RunEnd::Released(NOT_NOW_PAUSE),
        // By itself: the account's other runs may need no key.
        GivenBack::Keyless => RunEnd::Aside(KEYLESS_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_needs_a_key_which_its_host_has_not_holds_up_no_other_run_of_its_account() {
        assert_eq!(given_back(GivenBack::Keyless), RunEnd::Aside(KEYLESS_PAUSE));
        assert!(KEYLESS_PAUSE > FAILED_PAUSE, "only a start of a host changes that");
        assert_eq!(given_back(GivenBack::NotNow), RunEnd::Released(NOT_NOW_PAUSE));
    }
}
