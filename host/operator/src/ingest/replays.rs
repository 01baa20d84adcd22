//! Replays on their way through ingest: numbered and committed like events, and refused one by one where what they are made
//! of was replayed before.

use std::collections::HashSet;

use tokio::sync::oneshot;
use trellis_model::RunId;
use trellis_store::{jobs::NewJob, replays::NewReplay};

use super::{Accepted, Answer, Batcher, Ingest, IngestError, NewEvent, Request, no_lease, refusal};

/// What makes an event the replay of a run.
#[derive(Clone, Debug)]
pub struct ReplayOf {
    pub run: RunId,
    /// Even if it was replayed before.
    pub again: bool,
    /// What the new run begins with: array of [`trellis_model::run::NodeResult`] as JSON. None: with nothing.
    pub nodes: Option<Vec<u8>>,
}

impl Ingest {
    /// Commits the replay of a run that is over, and the mark on it, and returns the id of the new run. It waits for its turn
    /// like any event, whatever the account's limits say at the moment.
    ///
    /// # Errors
    /// See [`IngestError`].
    pub async fn replay(&self, event: NewEvent, of: ReplayOf) -> Result<RunId, IngestError> {
        Ok(self.send(event, Some(of)).await?.run)
    }
}

impl Batcher {
    pub(super) async fn commit_replays(&mut self, batch: Vec<Request>) {
        let ids = self.ids.take(batch.len());
        let (mut replays, mut replies) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for (Request { event, replay, reply, .. }, id) in batch.into_iter().zip(ids) {
            let spread = self.spreads.of(event.account);
            if let Some(ReplayOf { run, again, nodes }) = replay {
                replays.push(NewReplay { job: event.into_job(id, spread), of: run, again, nodes });
                replies.push(reply);
            }
        }
        if !self.lease.may_start() {
            return answer(&replays, replies, |_| Err(no_lease()));
        }
        let inserted = tokio::time::timeout(self.config.timeout, self.insert_replays(&mut replays)).await;
        match inserted.unwrap_or(Err(IngestError::Unanswered(self.config.timeout))) {
            Ok(made) => {
                let jobs: Vec<NewJob> =
                    replays.iter().filter(|one| made.contains(&one.job.run)).map(|one| one.job.clone()).collect();
                answer(&replays, replies, |run| {
                    let accepted = Accepted { run, is_repeat: false };
                    made.contains(&run).then_some(accepted).ok_or(IngestError::Replayed)
                });
                self.wakeups.committed(&self.lease, &jobs).await;
            }
            Err(error) => {
                tracing::warn!(replays = replays.len(), %error, "a batch of replays was not committed");
                answer(&replays, replies, |_| Err(error.clone()));
            }
        }
    }

    /// Like events, replays get new numbers when theirs are taken.
    async fn insert_replays(&mut self, replays: &mut [NewReplay]) -> Result<HashSet<RunId>, IngestError> {
        let made = match self.database.insert_replays(replays).await {
            Err(error) if error.is_duplicate() => {
                let ids = self.ids.take(replays.len());
                replays.iter_mut().zip(ids).for_each(|(one, id)| self.spreads.number(&mut one.job, id));
                self.database.insert_replays(replays).await
            }
            answer => answer,
        };
        Ok(made.map_err(|error| refusal(&error))?.into_iter().collect())
    }
}

fn answer(replays: &[NewReplay], replies: Vec<oneshot::Sender<Answer>>, of: impl Fn(RunId) -> Answer) {
    for (replay, reply) in replays.iter().zip(replies) {
        // A client that has gone away is not told; its replay is kept all the same.
        let _ = reply.send(of(replay.job.run));
    }
}
