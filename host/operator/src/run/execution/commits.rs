//! What an execution hands to the committer: checkpoints on its way, and its end for now or for good; and what follows when
//! that does not go through.

use std::time::Duration;

use trellis_model::{
    results,
    run::{Metering, RunState},
};
use trellis_store::commit::{Checkpoint, Conclusion, Effects, Finished, RunCommit};

use super::{Execution, FAILED_PAUSE, NodeCall, Pending, RunEnd, Saved, Suspension, conflict};
use crate::committer::CommitEnd;

impl Execution<'_> {
    /// After a node with an outside effect: it must never be called again, so it is committed before its successors start.
    /// And in the middle of quiet nodes (`call` is none) when they hold back as much as a run may.
    pub(super) async fn commit_point(&mut self, call: Option<&NodeCall>) {
        let checkpoint = self.checkpoint();
        let commit = self.run_commit(self.pending.effects().clone(), Conclusion::Checkpoint(checkpoint.clone()));
        match self.context.committer.commit(commit).await {
            CommitEnd::Committed => {
                self.pending.take();
                self.saved = Saved { progress: self.progress.clone(), sequence: checkpoint.sequence };
            }
            CommitEnd::Fenced => self.suspend(Suspension::Fenced),
            CommitEnd::Buried => self.suspend(Suspension::Over(RunEnd::Concluded)),
            CommitEnd::Unwritten => self.suspend(Suspension::Over(RunEnd::Aside(FAILED_PAUSE))),
            CommitEnd::Impossible => self.suspend(Suspension::Impossible),
            CommitEnd::Conflict => {
                self.roll_back();
                match call {
                    Some(call) => self.fail(call, conflict(), None, Vec::new(), Metering::default()),
                    None => self.make_room().await,
                }
            }
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { sequence: self.saved.sequence + 1, nodes: self.nodes() }
    }

    pub(super) fn nodes(&self) -> Vec<u8> {
        results::to_json(&self.progress.results().collect::<Vec<_>>())
    }

    /// What history keeps of a run that succeeded.
    fn nodes_for_history(&self) -> Vec<u8> {
        results::to_bounded_json(&self.progress.results().collect::<Vec<_>>(), results::RESULTS_BYTES_MAX)
    }

    fn run_commit(&self, effects: Effects, conclusion: Conclusion) -> RunCommit {
        RunCommit {
            holding: self.holding,
            account: self.job.account,
            lane: self.job.place.lane,
            project: self.job.project,
            run: self.job.run,
            effects,
            conclusion,
        }
    }

    /// Everything since the last commit point never happened, but for failed attempts: these are counted all the same.
    pub(super) fn roll_back(&mut self) {
        self.progress.roll_back_to(&self.saved.progress);
        self.pending = Pending::default();
        self.generation += 1;
    }

    /// Commits what the run has come to. None: a conflict; the run goes on from its last commit point.
    pub(super) async fn conclude(&mut self) -> Option<RunEnd> {
        let suspension = self.suspension.take();
        let conclusion = match suspension.clone() {
            Some(Suspension::Fenced) => return Some(RunEnd::Fenced),
            Some(Suspension::Over(end)) => return Some(end),
            Some(Suspension::Impossible) => self.impossible(),
            Some(Suspension::Cancelled) => self.cancelled(),
            Some(Suspension::Throttled(wait)) if self.is_untouched() => return Some(RunEnd::Released(wait)),
            Some(Suspension::Throttled(wait)) => self.later(wait, None),
            Some(Suspension::Failed) => self.finished(),
            None => match self.progress.next_due(self.looked_at_ms) {
                Some((_, pending)) => self.later(self.due_after().unwrap_or_default(), pending.error()),
                None => self.finished(),
            },
        };
        let end = match &conclusion {
            Conclusion::Later { after, .. } => RunEnd::Waiting(*after),
            Conclusion::Finished(_) | Conclusion::Checkpoint(_) => RunEnd::Concluded,
        };
        let effects = self.pending.take();
        match self.context.committer.commit(self.run_commit(effects, conclusion)).await {
            CommitEnd::Committed => Some(end),
            CommitEnd::Buried => Some(RunEnd::Concluded),
            CommitEnd::Unwritten => Some(RunEnd::Aside(FAILED_PAUSE)),
            CommitEnd::Fenced => Some(RunEnd::Fenced),
            CommitEnd::Impossible => {
                self.suspension = Some(Suspension::Impossible);
                None
            }
            CommitEnd::Conflict => {
                self.roll_back();
                // A failed node stays failed: it is committed without what the quiet nodes had done.
                self.suspension = suspension.filter(|one| matches!(one, Suspension::Failed));
                None
            }
        }
    }

    /// The run ends without the effects that cannot be.
    fn impossible(&mut self) -> Conclusion {
        self.roll_back();
        let reason =
            "an addition in storage was not possible: the value is no integer, or the sum does not fit into 64 bits";
        Conclusion::Finished(Finished::dead_letter(self.job.run, reason, Some(self.nodes())))
    }

    /// Whether nothing would be lost if the run were begun anew: it stands where it was left, and so nothing waits to be
    /// committed either.
    fn is_untouched(&self) -> bool {
        self.progress.is_like(&self.saved.progress)
    }

    fn later(&self, after: Duration, last_error: Option<String>) -> Conclusion {
        Conclusion::Later { after, last_error, checkpoint: Some(self.checkpoint()) }
    }

    fn finished(&self) -> Conclusion {
        let failed = self.progress.failed();
        let error = failed.map(|result| result.error().unwrap_or_else(|| format!("node `{}` failed", result.node)));
        Conclusion::Finished(Finished {
            state: if failed.is_some() { RunState::Dead } else { RunState::Succeeded },
            started_at_ms: self.started_at_ms,
            error,
            // A dead letter is replayed: it is kept whole.
            nodes: if failed.is_some() { self.nodes() } else { self.nodes_for_history() },
            has_checkpoint: self.saved.sequence > 0 || self.job.is_resumed,
        })
    }
}
