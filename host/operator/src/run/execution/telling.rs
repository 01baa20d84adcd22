//! What an execution tells those who watch its run. Costs one look at a number while nobody does.

use std::sync::{Arc, Mutex, PoisonError};

use trellis_engine::{ProgressReport, ProgressSink};
use trellis_model::{
    AccountId, RunId,
    news::{CallProgress, NodeNews, NodePhase, RunNews},
    run::{RunState, Step},
};

use super::{Execution, NodeCall};
use crate::watch::Watches;

/// How far one call has come, as its guest says: the last report alone.
pub struct CallVoice {
    watches: Arc<Watches>,
    account: AccountId,
    run: RunId,
    /// What is told with a report; none: of one element among many nothing is told.
    news: Option<NodeNews>,
    last: Mutex<Option<CallProgress>>,
}

impl CallVoice {
    fn last(&self) -> Option<CallProgress> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ProgressSink for CallVoice {
    fn report(&self, report: ProgressReport) {
        let progress = CallProgress { fraction: report.fraction, text: report.text };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.clone());
        if let Some(news) = self.news.as_ref().filter(|_| self.watches.is_watched(self.account, self.run)) {
            self.watches.tell_nodes(
                self.account,
                self.run,
                vec![NodeNews { progress: Some(progress), ..news.clone() }],
            );
        }
    }
}

impl Execution<'_> {
    /// For a call that is about to be made.
    pub(super) fn voice(&self, step: Step) -> Arc<CallVoice> {
        let node = &self.grid.nodes[step.node];
        let attempt = self.progress.attempts(step) + 1;
        let news = NodeNews::running(&node.name, attempt, self.looked_at_ms, None);
        Arc::new(CallVoice {
            watches: Arc::clone(&self.context.watches),
            account: self.job.account,
            run: self.job.run,
            news: step.element.is_none().then_some(news),
            last: Mutex::new(None),
        })
    }

    fn is_watched(&self) -> bool {
        self.context.watches.is_watched(self.job.account, self.job.run)
    }

    pub(super) fn tell_begun(&self) {
        if self.is_watched() {
            let news = RunNews::new(RunState::Running, self.started_at_ms);
            self.context.watches.tell_run(self.job.account, self.job.run, news);
            self.tell_all();
        }
    }

    /// A call is being made.
    pub(super) fn tell_called(&mut self, call: &NodeCall) {
        self.progress_of.insert(call.step, Arc::clone(&call.voice));
        self.tell_node(call.step.node);
    }

    /// Where a node stands.
    pub(super) fn tell_node(&self, node: usize) {
        if self.is_watched() {
            let news = self.news(node).into_iter().collect();
            self.context.watches.tell_nodes(self.job.account, self.job.run, news);
        }
    }

    /// Where every node stands, to somebody who has just begun to watch.
    pub(super) fn tell_all(&self) {
        if self.is_watched() {
            let news = (0..self.grid.nodes.len()).filter_map(|node| self.news(node)).collect();
            let (account, run) = (self.job.account, self.job.run);
            self.context.watches.tell_run(account, run, RunNews::new(RunState::Running, self.started_at_ms));
            self.context.watches.tell_nodes(account, run, news);
        }
    }

    /// None: the node's turn has not come.
    fn news(&self, node: usize) -> Option<NodeNews> {
        let result = self.progress.result(Step::of(node));
        if !self.busy.iter().any(|step| step.node == node) {
            return result.map(NodeNews::of);
        }
        let voice = self.progress_of.get(&Step::of(node));
        let (attempt, at_ms) = match voice.and_then(|voice| voice.news.as_ref()) {
            Some(news) => (news.attempt, news.at_ms),
            // Of elements there are many at once.
            None => (result.map_or(1, |result| result.attempts + 1), self.looked_at_ms),
        };
        let mut news = NodeNews::running(&self.grid.nodes[node].name, attempt, at_ms, result);
        if result.is_some_and(|result| NodePhase::from(result.state).is_final()) {
            // One of its elements has failed for good, and others are still under way.
            return result.map(NodeNews::of);
        }
        news.elements_total = news.elements_total.or(self.progress.elements_total(node));
        news.progress = voice.and_then(|voice| voice.last());
        Some(news)
    }
}
