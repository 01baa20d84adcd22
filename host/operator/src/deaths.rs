//! Dead letters, told in the log as they are committed: `run_dead`, for those who watch logs. Which account, project and run;
//! what a guest has said of it stays in history, where its owner looks.

use trellis_model::run::RunState;
use trellis_store::commit::{Conclusion, RunCommit};

use crate::committer::CommitEnd;

/// Tells of each run of a batch that has become a dead letter, once it is written.
pub fn tell(commits: &[RunCommit], ends: &[CommitEnd]) {
    for RunCommit { account, project, run, .. } in dead(commits, ends) {
        tracing::warn!(%account, %project, %run, "run_dead: a run has become a dead letter");
    }
}

fn dead<'c>(commits: &'c [RunCommit], ends: &'c [CommitEnd]) -> impl Iterator<Item = &'c RunCommit> {
    let is_dead = |(commit, end): &(&RunCommit, &CommitEnd)| match end {
        CommitEnd::Committed => {
            matches!(&commit.conclusion, Conclusion::Finished(finished) if finished.state == RunState::Dead)
        }
        CommitEnd::Buried => true,
        _ => false,
    };
    commits.iter().zip(ends).filter(is_dead).map(|(commit, _)| commit)
}
