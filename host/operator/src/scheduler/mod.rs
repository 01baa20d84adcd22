//! The scheduler: turns over the accounts of this host's shards, fetches their jobs and starts their runs.
//!
//! Knows when and whose work is started; what a run does is [`crate::run`]'s part.

mod queues;
mod wakeups;

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trellis_model::{AccountId, ClaimId, Queue, RunId, Shard};
use trellis_store::{StoreError, jobs::FetchedJob, shards::Holding};

use self::queues::{Allowance, Queues, Turn};
pub use self::wakeups::Wakeups;
use crate::{
    lease::ShardChange,
    run::{RunContext, RunEnd, run_job},
};

/// What the scheduler is told.
#[derive(Debug)]
pub enum Message {
    /// Jobs were committed: accounts and the first run of each.
    Jobs(HashMap<AccountId, RunId>),
    /// Jobs may have been committed to this shard by another host.
    Look(Shard),
    /// Anything may have been missed.
    LookEverywhere,
    /// An account's limits changed.
    LimitsChanged(AccountId),
    /// A run has ended, for good or for now.
    Ended { account: AccountId, run: RunId, claim: ClaimId, end: RunEnd },
}

/// Messages handled before the next fetch.
const MESSAGES_AT_ONCE: usize = 256;
/// How often every shard is looked through for work that nobody announced.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// After a failed statement.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// No account has more than this part of all runs in flight.
const ACCOUNT_SHARE: usize = 4;
/// Before a run is tried again that the host itself has failed at.
const PANIC_PAUSE: Duration = Duration::from_secs(5);
/// Jobs moved back to the queue at a time, per shard.
const PROMOTE_JOBS_MAX: i64 = 500;

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
    fn start(&self, job: FetchedJob) {
        let (context, wakeups, abandon) = (Arc::clone(&self.context), self.wakeups.clone(), self.abandon.clone());
        self.tasks.spawn(async move {
            let (shard, account, run, claim) = (job.shard, job.account, job.run, job.claim);
            let running = AssertUnwindSafe(run_job(&context, job)).catch_unwind();
            let end = match abandon.run_until_cancelled(running).await {
                Some(Ok(end)) => end,
                Some(Err(_)) => {
                    tracing::error!(%run, "the host failed while it ran this run; it is run again");
                    RunEnd::Released(PANIC_PAUSE)
                }
                None => RunEnd::Fenced,
            };
            if !matches!(end, RunEnd::Fenced) {
                context.claims.conclude((shard, claim));
            }
            wakeups.ended(account, run, claim, end).await;
        });
    }
}

pub struct Scheduler {
    context: Arc<RunContext>,
    starter: RunStarter,
    messages: mpsc::Receiver<Message>,
    changes: mpsc::Receiver<ShardChange>,
    /// Runs in flight at most.
    runs_max: usize,
    /// The shards that this scheduler works on: changed by [`ShardChange`]s alone, in their order.
    holdings: HashMap<Shard, i64>,
    queues: Queues,
    running: usize,
    releasing: HashSet<Shard>,
    next_look: Instant,
    /// When the first waiting job is due, as far as is known.
    next_due: Option<Instant>,
    /// No statement before then: the last one failed.
    paused_until: Option<Instant>,
    shards_to_look_at: HashSet<Shard>,
    /// A fetch was not answered: it may have left a claim of which nobody knows.
    is_claim_lost: bool,
}

impl Scheduler {
    pub fn new(
        starter: RunStarter,
        messages: mpsc::Receiver<Message>,
        changes: mpsc::Receiver<ShardChange>,
        runs_max: usize,
    ) -> Self {
        Self {
            context: Arc::clone(&starter.context),
            starter,
            messages,
            changes,
            runs_max,
            holdings: HashMap::new(),
            queues: Queues::default(),
            running: 0,
            releasing: HashSet::new(),
            next_look: Instant::now() + LOOK_INTERVAL,
            next_due: None,
            paused_until: None,
            shards_to_look_at: HashSet::new(),
            is_claim_lost: false,
        }
    }

    /// Runs until `stop`. Runs that were started go on; the caller waits for them.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut messages = Vec::with_capacity(MESSAGES_AT_ONCE);
        while !stop.is_cancelled() {
            self.work().await;
            let pause = self.pause(Instant::now());
            tokio::select! {
                count = self.messages.recv_many(&mut messages, MESSAGES_AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                }
                Some(change) = self.changes.recv() => self.change_shards(change).await,
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            messages.drain(..).for_each(|message| self.handle(message));
        }
    }

    /// All that can be done now, step by step.
    async fn work(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        if !self.context.lease.may_start() {
            self.paused_until = Some(now + RETRY_INTERVAL);
            return;
        }
        self.paused_until = None;
        self.queues.unthrottle(now);
        let done = async {
            self.look_for_work(now).await?;
            self.promote_due(now).await?;
            self.release_drained().await?;
            self.start_runs().await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "the scheduler could not go on; trying again");
            self.paused_until = Some(Instant::now() + RETRY_INTERVAL);
        }
    }

    /// How long nothing will have to be done, if nobody says anything.
    fn pause(&self, now: Instant) -> Duration {
        if let Some(until) = self.paused_until {
            return until.saturating_duration_since(now);
        }
        let next = [Some(self.next_look), self.next_due, self.queues.next_unthrottle()].into_iter().flatten().min();
        next.map_or(LOOK_INTERVAL, |next| next.saturating_duration_since(now))
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Jobs(accounts) => {
                for (account, first) in accounts {
                    self.wake(account, RunId(first.0 - 1));
                }
            }
            Message::Look(shard) => {
                self.shards_to_look_at.insert(shard);
            }
            Message::LookEverywhere => self.next_look = Instant::now(),
            Message::LimitsChanged(account) => self.queues.reconsider(account),
            Message::Ended { account, run, claim, end } => self.ended(account, run, claim, end),
        }
    }

    fn wake(&mut self, account: AccountId, cursor: RunId) {
        if self.serves(account) {
            self.queues.wake(account, cursor);
        }
    }

    fn serves(&self, account: AccountId) -> bool {
        let shard = Shard::of(account);
        self.holdings.contains_key(&shard) && !self.releasing.contains(&shard)
    }

    fn holdings(&self) -> Vec<Holding> {
        self.holdings.iter().map(|(shard, epoch)| Holding { shard: *shard, epoch: *epoch }).collect()
    }

    fn ended(&mut self, account: AccountId, run: RunId, claim: ClaimId, end: RunEnd) {
        self.running -= 1;
        match end {
            RunEnd::Concluded | RunEnd::Fenced => {
                self.queues.ended(account, run, claim);
            }
            RunEnd::Waiting(after) => {
                self.queues.ended(account, run, claim);
                let due = Instant::now() + after;
                self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
            }
            RunEnd::Released(wait) => {
                if self.serves(account) {
                    self.queues.released(account, run, claim, Instant::now() + wait);
                } else {
                    self.queues.ended(account, run, claim);
                }
            }
        }
    }

    /// Finds accounts with work that nobody announced: other hosts' events, and what was there before.
    async fn look_for_work(&mut self, now: Instant) -> Result<(), StoreError> {
        let shards: Vec<Shard> = if now >= self.next_look {
            self.holdings.keys().copied().collect()
        } else {
            self.shards_to_look_at.iter().copied().filter(|shard| self.holdings.contains_key(shard)).collect()
        };
        if !shards.is_empty() {
            for (_, account) in self.context.database.accounts_with_jobs(&shards).await? {
                self.wake(account, RunId(0));
            }
        }
        self.shards_to_look_at.clear();
        if now >= self.next_look {
            self.forget_lost_claims().await?;
            self.next_look = now + LOOK_INTERVAL;
        }
        Ok(())
    }

    /// Jobs of a claim whose answer was lost were never started: nobody would ever settle it.
    async fn forget_lost_claims(&mut self) -> Result<(), StoreError> {
        if self.is_claim_lost {
            let known = self.context.claims.known();
            self.context.database.delete_unknown_claims(&self.holdings(), &known).await?;
            self.is_claim_lost = false;
        }
        Ok(())
    }

    async fn promote_due(&mut self, now: Instant) -> Result<(), StoreError> {
        if self.next_due.is_none_or(|due| now < due) {
            return Ok(());
        }
        let holdings = self.holdings();
        let host = self.context.lease.identity().host;
        for (_, account) in self.context.database.promote_due_jobs(host, &holdings, PROMOTE_JOBS_MAX).await? {
            self.wake(account, RunId(0));
        }
        self.note_next_due(&holdings).await
    }

    async fn note_next_due(&mut self, holdings: &[Holding]) -> Result<(), StoreError> {
        let shards: Vec<Shard> = holdings.iter().map(|holding| holding.shard).collect();
        let next = self.context.database.next_due(&shards).await?;
        self.next_due = next.map(|after| Instant::now() + after);
        Ok(())
    }

    /// Fetches and starts runs while there is room and work.
    async fn start_runs(&mut self) -> Result<(), StoreError> {
        while self.queues.has_ready() && self.running < self.runs_max && self.context.lease.may_start() {
            let limiter = &self.context.limiter;
            limiter.load(self.queues.ready_accounts().map(Queue::home)).await?;
            let allowance = |account| {
                let queue = Queue::home(account);
                Allowance { permit: limiter.check(queue), permits: limiter.permits(queue) }
            };
            let account_runs_max = (self.runs_max / ACCOUNT_SHARE).max(1);
            let turn = self.queues.turn(self.runs_max - self.running, account_runs_max, Instant::now(), allowance);
            if turn.accounts.is_empty() {
                continue;
            }
            let holdings = self.holdings();
            match self.context.database.fetch_jobs(&holdings, &turn.accounts, &turn.in_flight).await {
                Ok(jobs) => self.start(&turn, jobs),
                Err(error) => {
                    self.queues.not_fetched(&turn);
                    self.is_claim_lost = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, turn: &Turn, jobs: Vec<FetchedJob>) {
        let mut runs: HashMap<AccountId, Vec<(RunId, ClaimId)>> = HashMap::new();
        // All of a claim's jobs are open before the first of them can be concluded.
        for job in &jobs {
            runs.entry(job.account).or_default().push((job.run, job.claim));
            self.context.claims.open((job.shard, job.claim));
        }
        self.running += jobs.len();
        jobs.into_iter().for_each(|job| self.starter.start(job));
        for asked in &turn.accounts {
            self.queues.fetched(asked, runs.get(&asked.account).map_or(&[], Vec::as_slice));
        }
    }

    async fn change_shards(&mut self, change: ShardChange) {
        match change {
            ShardChange::Taken(taken) => {
                // What was known of these accounts while another host counted is out of date.
                let shards: HashSet<Shard> = taken.iter().map(|holding| holding.shard).collect();
                self.context.limiter.forget(|shard| shards.contains(&shard)).await;
                self.releasing.retain(|shard| !shards.contains(shard));
                self.holdings.extend(taken.iter().map(|holding| (holding.shard, holding.epoch)));
                self.next_look = Instant::now();
                self.next_due = Some(Instant::now());
            }
            ShardChange::Release(shards) => {
                self.releasing.extend(shards);
                let releasing = &self.releasing;
                self.queues.stop_shards(|shard| releasing.contains(&shard));
            }
            ShardChange::Lost => {
                self.holdings.clear();
                self.queues.clear();
                self.releasing.clear();
                self.context.claims.clear();
                self.context.limiter.forget(|_| true).await;
            }
        }
    }

    /// Gives shards back that have nothing in flight any more.
    async fn release_drained(&mut self) -> Result<(), StoreError> {
        let drained: Vec<Shard> =
            self.releasing.iter().copied().filter(|shard| !self.queues.has_in_flight(*shard)).collect();
        if drained.is_empty() {
            return Ok(());
        }
        self.context.limiter.hand_over(&drained).await?;
        let holdings: Vec<Holding> = self.holdings().into_iter().filter(|one| drained.contains(&one.shard)).collect();
        self.context.database.release_shards(self.context.lease.identity().host, &holdings).await?;
        self.context.lease.drop_holdings(&drained);
        self.holdings.retain(|shard, _| !drained.contains(shard));
        self.releasing.retain(|shard| !drained.contains(shard));
        Ok(())
    }
}
