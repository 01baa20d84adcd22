//! How an execution ends when somebody wants its run to be cancelled.

use trellis_model::run::RunState;
use trellis_store::commit::{Conclusion, Finished};

use super::{Execution, Suspension};

impl Execution<'_> {
    /// Whether the run is to be cancelled and has not turned to it yet.
    pub(super) fn must_cancel(&self) -> bool {
        self.cancellation.is_cancelled() && !self.is_over() && !matches!(self.suspension, Some(Suspension::Cancelled))
    }

    /// Drops the calls under way, and with them whatever they would have come to.
    pub(super) fn cancel(&mut self) {
        self.calls.clear();
        self.busy.clear();
        if !self.is_over() {
            self.suspension = Some(Suspension::Cancelled);
        }
    }

    /// Whether this host has nothing more to commit of the run.
    fn is_over(&self) -> bool {
        matches!(self.suspension, Some(Suspension::Fenced | Suspension::Over(_)))
    }

    /// The run ends where its last commit point was; failed attempts since then are told all the same.
    pub(super) fn cancelled(&mut self) -> Conclusion {
        self.roll_back();
        Conclusion::Finished(Finished {
            state: RunState::Cancelled,
            started_at_ms: self.started_at_ms,
            error: None,
            nodes: self.nodes(),
            has_checkpoint: true,
        })
    }
}
