//! Starting runs: a turn of the queues, the fetch of its jobs, and, when a core is near, a task for each.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures_util::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trellis_model::Queue;
use trellis_store::{
    StoreError, fail_point, failed_starts::StartedJob, fetch::FetchTerms, jobs::FetchedJob, shards::Holding,
};

use super::{
    Scheduler, Wakeups,
    queues::{Allowance, InFlight, Turn},
};
use crate::{
    run::{FAILED_PAUSE, RunContext, RunEnd, run_job},
    starts::Start,
};

/// An account of weight 1 has no more than this part of all runs in flight while few others have work, one of weight 2 twice as
/// much, and so on.
const ACCOUNTS_FEW: usize = 4;
/// However many have work, an account of weight 1 may have this part of all runs in flight. Among many it has less than among
/// few: what a flood has in flight is what stands before the others at the cores and in the database.
const ACCOUNTS_MANY: usize = 24;
/// However much an account weighs, this part of all runs is left to the others.
const OTHERS_SHARE: usize = 8;
/// Payloads of all runs in flight at most, in bytes, but for a single run.
const IN_FLIGHT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Payloads of one fetch at most, in bytes, but for a single job: what comes over the wire at once.
const FETCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What it takes to start a run.
pub struct RunStarter {
    pub context: Arc<RunContext>,
    pub wakeups: Wakeups,
    /// The runs that were started.
    pub tasks: TaskTracker,
    /// Ends runs that did not end within the grace of a stop; they are left to the next owner.
    pub abandon: CancellationToken,
}

impl RunStarter {
    pub(super) fn start(&self, job: FetchedJob, start: Start) {
        let (context, wakeups, abandon) = (Arc::clone(&self.context), self.wakeups.clone(), self.abandon.clone());
        self.tasks.spawn(async move {
            let (queue, run, claim, started) = (job.queue(), job.run, job.claim, StartedJob::from(&job));
            // A run's state is large: in a box it is not moved about with the task around it.
            let running = AssertUnwindSafe(Box::pin(run_job(&context, job, start))).catch_unwind();
            let end = match abandon.run_until_cancelled(running).await {
                Some(Ok(end)) => end,
                Some(Err(_)) => {
                    tracing::error!(%run, "the host failed while it ran this run; it is run again");
                    count_failure(&context, started).await;
                    RunEnd::Aside(FAILED_PAUSE)
                }
                None => RunEnd::Fenced,
            };
            if !matches!(end, RunEnd::Fenced) {
                context.claims.conclude((queue.shard, claim));
            }
            wakeups.ended(queue, run, claim, end).await;
        });
    }
}

/// A run at which the host fails again and again ends like one that kills it.
async fn count_failure(context: &RunContext, started: StartedJob) {
    let host = context.lease.identity().host;
    if let Err(error) = context.database.count_lost_host(host, started).await {
        tracing::warn!(run = %started.run, %error, "that the host failed at a run was not counted");
    }
}

impl Scheduler {
    /// Whether there is work, and room for it.
    pub(super) fn can_start(&self) -> bool {
        self.queues.has_ready()
            && self.running < self.runs_max
            && self.queues.bytes_in_flight() < IN_FLIGHT_BYTES_MAX
            && self.context.lease.may_start()
            // The others are told of a stop before this scheduler is.
            && !self.context.lease.is_leaving()
    }

    /// Fetches and starts the runs of one turn.
    pub(super) async fn start_runs(&mut self) -> Result<(), StoreError> {
        if !self.can_start() {
            return Ok(());
        }
        self.context.limiter.load(self.queues.ready_queues().take(self.runs_max - self.running)).await?;
        let now = Instant::now();
        let (context, shared) = (&self.context, Shared { runs_max: self.runs_max, weights: self.active.weights(now) });
        let turn = self.queues.turn(self.runs_max - self.running, now, |queue| allowance(context, shared, queue));
        if turn.asked.is_empty() {
            return Ok(());
        }
        match self.fetch(&turn).await {
            Ok((jobs, is_cut)) => self.start(&turn, jobs, is_cut),
            Err(error) => {
                self.queues.not_fetched(&turn);
                self.is_claim_lost = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The jobs of a turn, and whether there may be more because they were too large together.
    async fn fetch(&mut self, turn: &Turn) -> Result<(Vec<FetchedJob>, bool), StoreError> {
        let database = &self.context.database;
        let bytes_max = IN_FLIGHT_BYTES_MAX.saturating_sub(self.queues.bytes_in_flight()).min(FETCH_BYTES_MAX);
        let holdings: Vec<Holding> = self.holdings();
        let bytes_max_column = i64::try_from(bytes_max).expect("at most FETCH_BYTES_MAX");
        let terms = FetchTerms { holdings: &holdings, in_flight: &turn.in_flight, bytes_max: bytes_max_column };
        let (mut jobs, mut is_cut) = (Vec::new(), false);
        let lanes = turn.lanes();
        if !lanes.is_empty() {
            jobs = database.fetch_jobs(terms, &lanes).await?;
            is_cut = payload_bytes(&jobs) >= bytes_max;
        }
        let looked = self.queues.keys_to_find(turn);
        if !looked.is_empty() {
            let found = database.find_keys(&looked).await?;
            let keys = self.queues.choose_keys(turn, &looked, &found);
            if !keys.is_empty() {
                let keyed = database.fetch_jobs_of_keys(terms, &keys).await?;
                is_cut |= payload_bytes(&keyed) >= bytes_max;
                jobs.extend(keyed);
            }
        }
        Ok((jobs, is_cut))
    }

    fn start(&mut self, turn: &Turn, jobs: Vec<FetchedJob>, is_cut: bool) {
        let mut runs: HashMap<Queue, Vec<InFlight>> = HashMap::new();
        // All of a claim's jobs are open before the first of them can be concluded.
        for job in &jobs {
            runs.entry(job.queue()).or_default().push(InFlight {
                run: job.run,
                lane: job.place.lane,
                claim: job.claim,
                key: job.place.key,
                payload_bytes: job.payload.len(),
            });
            self.context.claims.open((job.shard, job.claim));
        }
        self.running += jobs.len();
        for (queue, runs) in &runs {
            self.context.first_permits.expect(*queue, u32::try_from(runs.len()).unwrap_or(u32::MAX));
        }
        self.starts.line_up(jobs, |queue| self.context.limits(queue).weight);
        let now = Instant::now();
        for queue in runs.keys() {
            self.active.note(*queue, self.context.limits(*queue).weight.max(1), now);
        }
        for asked in &turn.asked {
            self.queues.fetched(asked, runs.get(&asked.queue).map_or(&[], Vec::as_slice), is_cut, now);
        }
    }
}

fn payload_bytes(jobs: &[FetchedJob]) -> usize {
    jobs.iter().map(|job| job.payload.len()).sum()
}

/// What all active queues share.
#[derive(Clone, Copy)]
struct Shared {
    /// Runs in flight.
    runs_max: usize,
    /// The weights of all of them together.
    weights: usize,
}

/// What a queue may have now: what the limiter says, and its part of this host.
fn allowance(context: &RunContext, shared: Shared, queue: Queue) -> Allowance {
    let limiter = &context.limiter;
    let weight = context.limits(queue).weight.max(1);
    // A run that is on its way has a module running, or will have one at any moment.
    let running_max = context.running_max(queue).map_or(usize::MAX, |most| most as usize);
    // Before the permits: a run that takes one meanwhile is counted twice rather than not at all.
    let spoken_for = context.first_permits.expected(queue);
    Allowance {
        permit: limiter.check(queue),
        permits: limiter.permits(queue).saturating_sub(spoken_for),
        runs_max: shared.part(weight).min(running_max),
        weight,
    }
}

impl Shared {
    /// Runs in flight that an account of this weight may have at most.
    fn part(self, weight: u32) -> usize {
        let Self { runs_max, weights } = self;
        fail_point!("fair-turns-off", runs_max);
        let most = runs_max - runs_max / OTHERS_SHARE;
        let among = weights.clamp(ACCOUNTS_FEW, ACCOUNTS_MANY);
        (runs_max.saturating_mul(weight as usize) / among).clamp(1, most.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(runs_max: usize, weights: usize, weight: u32) -> usize {
        Shared { runs_max, weights }.part(weight)
    }

    #[test]
    fn shares_follow_the_weights_and_leave_room_for_others() {
        assert_eq!((part(100, 1, 1), part(100, 4, 3), part(100, 1, 100)), (25, 75, 88));
        assert_eq!((part(1, 1, 1), part(4, 1, 100)), (1, 4));
    }

    #[test]
    fn among_many_each_has_less_and_never_too_little() {
        assert_eq!((part(1_000, 10, 1), part(1_000, 10, 3), part(1_000, 500, 1)), (100, 300, 41));
    }
}
