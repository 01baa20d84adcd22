//! Waiting for the end of one run, on whichever host it is run: told, not asked for again and again.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use trellis_model::{AccountId, RunId, Shard};
use trellis_store::{Database, StoreError};

use super::{EndedRun, LOOK_INTERVAL, Watches};

/// Of a run that is gone from the database, news of its end on another host come within this time, if there are any.
const LAST_NEWS: Duration = Duration::from_secs(1);

/// How a wait for a run ended.
#[derive(Clone, Debug)]
pub enum WaitEnd {
    /// With what this host knows of it.
    Ended(Arc<EndedRun>),
    /// History has it.
    InHistory,
    /// It is over, and nothing of it was kept.
    NotKept,
    /// Its time was up, or this host stops.
    NotYet,
}

impl Watches {
    /// Waits for the end of a run that was accepted, `longest` at most. `shard` is the one that it was put on; one that was
    /// accepted some time ago may be over.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn wait(
        self: &Arc<Self>,
        database: &Database,
        (account, run, shard): (AccountId, RunId, Shard),
        may_be_over: bool,
        longest: Duration,
    ) -> Result<WaitEnd, StoreError> {
        // Watched before it is looked for.
        let mut watcher = self.watch(account, run);
        let mut until = Instant::now() + longest;
        let (mut looked_at, mut is_gone) = (0, false);
        let mut must_look = may_be_over;
        let mut next_look = Instant::now() + LOOK_INTERVAL;
        if !self.is_ours(shard) {
            self.announce((account, run));
        }
        loop {
            let live = watcher.now();
            if let Some(end) = live.ended {
                return Ok(WaitEnd::Ended(end));
            }
            if must_look || live.looks > looked_at {
                (must_look, looked_at) = (false, live.looks);
                match database.run_state(account, run).await? {
                    Some((_, state)) if state.is_final() => return Ok(WaitEnd::InHistory),
                    Some(_) => {}
                    // It has ended, and its history keeps nothing of it.
                    None => (is_gone, until) = (true, until.min(Instant::now() + LAST_NEWS)),
                }
            }
            tokio::select! {
                () = watcher.changed() => {}
                () = tokio::time::sleep_until(next_look.min(until)) => {
                    if Instant::now() >= until {
                        return Ok(if is_gone { WaitEnd::NotKept } else { WaitEnd::NotYet });
                    }
                    // Notices can get lost, and shards move.
                    self.announce((account, run));
                    (must_look, next_look) = (!is_gone, Instant::now() + LOOK_INTERVAL);
                }
                () = self.closing.cancelled() => return Ok(WaitEnd::NotYet),
            }
        }
    }
}
