//! The canceller: ends the runs of this host's shards that somebody wants to be cancelled.
//!
//! It looks when it is told that there are requests, and by itself every few seconds: a request outlives notices that get
//! lost and owners that die. A run in flight is told, and ends itself; any other, whether it is queued or waits for its time,
//! is ended here, through the committer like every end.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use trellis_model::{Lane, Shard};
use trellis_store::{
    Database, StoreError,
    cancel_requests::{CancelRequest, UnfinishedRun},
    commit::{Conclusion, Effects, Finished, RunCommit},
    shards::Holding,
};

use crate::{
    cancellations::{Cancellations, Met},
    committer::Committer,
    lease::Lease,
    scheduler::{Message, Wakeups},
};

/// Between two looks that nobody asked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks, however many ask: a burst of requests is one look.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Requests of one look into the database. What these runs have come to is held in memory meanwhile.
const REQUESTS_AT_ONCE: usize = 100;
/// Requests of newly taken shards that are read at once: of each there is a key to be kept, and nothing else.
const BARRED_AT_ONCE: usize = 10_000;

pub struct Canceller {
    pub database: Database,
    pub cancellations: Arc<Cancellations>,
    pub committer: Committer,
    pub lease: Arc<Lease>,
    pub wakeups: Wakeups,
}

impl Canceller {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let looking = async {
            loop {
                if self.lease.may_start()
                    && let Err(error) = self.look().await
                {
                    tracing::warn!(%error, "requests to cancel runs were not looked at; trying again");
                }
                tokio::time::sleep(LOOK_PAUSE).await;
                tokio::select! {
                    () = self.cancellations.look_wanted() => {}
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                }
            }
        };
        stop.run_until_cancelled(looking).await;
    }

    /// Goes through all requests of this host's shards, a bounded number at a time.
    async fn look(&self) -> Result<(), StoreError> {
        let holdings: HashMap<Shard, Holding> =
            self.lease.holdings().into_iter().map(|holding| (holding.shard, holding)).collect();
        let shards: Vec<Shard> = holdings.keys().copied().collect();
        let mut pages = Pages::new(&self.database, shards, REQUESTS_AT_ONCE);
        while let Some(requests) = pages.next().await? {
            let is_idle = |one: &CancelRequest| self.cancellations.cancel(one.account, one.run) == Met::Barred;
            let idle: Vec<CancelRequest> = requests.into_iter().filter(is_idle).collect();
            if !idle.is_empty() {
                self.end(&holdings, idle).await?;
            }
        }
        Ok(())
    }

    /// Ends runs that nobody runs, and forgets requests for those that are over.
    async fn end(&self, holdings: &HashMap<Shard, Holding>, requests: Vec<CancelRequest>) -> Result<(), StoreError> {
        let unfinished = self.database.runs_to_cancel(&requests).await?;
        let found: HashSet<CancelRequest> = unfinished.iter().map(|run| run.request).collect();
        let late: Vec<CancelRequest> = requests.into_iter().filter(|request| !found.contains(request)).collect();
        if !late.is_empty() {
            self.database.delete_cancel_requests(&late).await?;
        }
        // What waited for the key of one of them can be started now.
        let keyed: HashSet<Shard> =
            unfinished.iter().filter(|run| run.lane == Lane::Keyed).map(|run| run.request.shard).collect();
        let commits = unfinished.into_iter().filter_map(|run| Some(cancelled(*holdings.get(&run.request.shard)?, run)));
        // One whose shard went to another host meanwhile is refused: that host looks at the request, too.
        join_all(commits.map(|commit| self.committer.commit(commit))).await;
        for shard in keyed {
            self.wakeups.tell(Message::Look(shard)).await;
        }
        Ok(())
    }
}

fn cancelled(holding: Holding, run: UnfinishedRun) -> RunCommit {
    RunCommit {
        holding,
        account: run.request.account,
        lane: run.lane,
        project: run.project,
        run: run.request.run,
        effects: Effects::default(),
        conclusion: Conclusion::Finished(Finished::cancelled(run.request.run, run.nodes)),
    }
}

/// Bars the runs of newly taken shards that somebody wants to be cancelled, before the first of them can be fetched: what
/// the former owner did not get to end is not begun again.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn bar_requested(
    database: &Database,
    cancellations: &Cancellations,
    taken: &[Holding],
) -> Result<(), StoreError> {
    let mut pages = Pages::new(database, taken.iter().map(|holding| holding.shard).collect(), BARRED_AT_ONCE);
    while let Some(requests) = pages.next().await? {
        requests.iter().for_each(|request| cancellations.bar(request.account, request.run));
    }
    Ok(())
}

/// The requests of some shards, page by page.
struct Pages<'d> {
    database: &'d Database,
    shards: Vec<Shard>,
    /// How many there are on a page.
    size: usize,
    last: Option<CancelRequest>,
    is_over: bool,
}

impl<'d> Pages<'d> {
    fn new(database: &'d Database, shards: Vec<Shard>, size: usize) -> Self {
        Self { database, is_over: shards.is_empty(), shards, size, last: None }
    }

    async fn next(&mut self) -> Result<Option<Vec<CancelRequest>>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        let requests = self.database.cancel_requests(&self.shards, self.last, self.size as i64).await?;
        self.is_over = requests.len() < self.size;
        self.last = requests.last().copied();
        Ok(Some(requests))
    }
}
