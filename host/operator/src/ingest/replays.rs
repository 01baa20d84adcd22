//! Replays on their way through ingest: numbered and committed like events, and refused one by one where what they are made
//! of was replayed before.

use std::collections::HashSet;

use tokio::sync::oneshot;
use trellis_model::RunId;
use trellis_store::{StoreError, jobs::NewJob, replays::NewReplay};

use super::{Accepted, Batcher, Ingest, IngestError, NewEvent, Request, refusal};

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
        self.send(event, Some(of)).await
    }
}

impl Batcher {
    pub(super) async fn commit_replays(&mut self, batch: Vec<Request>) {
        let ids = self.ids.take(batch.len());
        let (mut replays, mut replies) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for (Request { event, replay, reply }, id) in batch.into_iter().zip(ids) {
            if let Some(ReplayOf { run, again, nodes }) = replay {
                replays.push(NewReplay { job: self.job(event, id), of: run, again, nodes });
                replies.push(reply);
            }
        }
        match self.insert_replays(&mut replays).await {
            Ok(made) => {
                let jobs: Vec<NewJob> =
                    replays.iter().filter(|one| made.contains(&one.job.run)).map(|one| one.job.clone()).collect();
                answer(&replays, replies, |run| made.contains(&run).then_some(run).ok_or(IngestError::Replayed));
                self.wakeups.committed(&self.lease, &jobs).await;
            }
            Err(error) => {
                let error = refusal(&error);
                answer(&replays, replies, |_| Err(error.clone()));
            }
        }
    }

    /// Like events, replays get new numbers when theirs are taken.
    async fn insert_replays(&mut self, replays: &mut [NewReplay]) -> Result<HashSet<RunId>, StoreError> {
        let made = match self.database.insert_replays(replays).await {
            Err(error) if error.is_duplicate() => {
                let ids = self.ids.take(replays.len());
                replays.iter_mut().zip(ids).for_each(|(one, id)| one.job.run = id);
                self.database.insert_replays(replays).await
            }
            answer => answer,
        };
        Ok(made?.into_iter().collect())
    }
}

fn answer(replays: &[NewReplay], replies: Vec<oneshot::Sender<Accepted>>, of: impl Fn(RunId) -> Accepted) {
    for (replay, reply) in replays.iter().zip(replies) {
        // A client that has gone away is not told; its replay is kept all the same.
        let _ = reply.send(of(replay.job.run));
    }
}
