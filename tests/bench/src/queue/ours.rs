//! Our side: the store's statements, sent as a host sends them. Every worker has accounts of its own.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;
use trellis_model::{
    AccountId, ClaimId, Lane, Place, ProjectId, Queue, RevisionId, RunId, Shard,
    ids::{RunIdSequence, SHARD_COUNT},
    run::RunState,
};
use trellis_store::{
    Database,
    commit::{CommitOutcome, Conclusion, Effects, Finished, RunCommit},
    fetch::{FetchLane, FetchTerms},
    jobs::{FetchedJob, NewJob},
    shards::Holding,
};
use uuid::Uuid;

use super::{BATCH_JOBS, Turn, WORKERS, batches, part};
use crate::{samples::Samples, tables::now, tenants};

/// Longer than any measuring: nobody renews it.
const LEASE: Duration = Duration::from_secs(86_400);
const ACCOUNTS_A_WORKER: usize = 8;

pub struct Ours {
    workers: Vec<Worker>,
}

#[derive(Clone)]
struct Worker {
    database: Database,
    host: Uuid,
    holdings: Vec<Holding>,
    accounts: Vec<AccountId>,
    number: u8,
}

impl Ours {
    pub async fn start(database_url: &str) -> anyhow::Result<Self> {
        let database = tenants::open(database_url).await?;
        database.migrate().await?;
        let host = Uuid::new_v4();
        database.register_host(host, LEASE).await?;
        let holdings = database.take_shards(host, &[], i64::from(SHARD_COUNT)).await?;
        let mut workers = Vec::with_capacity(WORKERS);
        for number in 0..WORKERS {
            let mut accounts = Vec::with_capacity(ACCOUNTS_A_WORKER);
            for account in 0..ACCOUNTS_A_WORKER {
                accounts.push(database.ensure_account(&format!("account-{number}-{account}")).await?);
            }
            let (database, holdings, number) = (database.clone(), holdings.clone(), u8::try_from(number)?);
            workers.push(Worker { database, host, holdings, accounts, number });
        }
        Ok(Self { workers })
    }

    /// How long it takes to commit the end of one run by itself, this many times over.
    pub async fn commits_of_one(&self, count: usize) -> anyhow::Result<Samples> {
        let worker = &self.workers[0];
        worker.enqueue(count).await?;
        let mut commits = Samples::default();
        let wanted: Vec<FetchLane> = worker.accounts.iter().map(|account| from_the_start(*account)).collect();
        for job in worker.database.fetch_jobs(worker.terms(), &wanted).await? {
            let began = Instant::now();
            worker.finish(&[job], &[]).await?;
            commits.push(began.elapsed());
        }
        Ok(commits)
    }

    pub async fn turn(&mut self, jobs: u32) -> anyhow::Result<Turn> {
        let began = Instant::now();
        let mut enqueuing = JoinSet::new();
        for (number, worker) in self.workers.iter().cloned().enumerate() {
            enqueuing.spawn(async move { worker.enqueue(part(jobs, number)).await });
        }
        for enqueued in enqueuing.join_all().await {
            enqueued?;
        }
        let enqueue = began.elapsed();
        let began = Instant::now();
        let mut draining = JoinSet::new();
        for worker in self.workers.clone() {
            draining.spawn(async move { worker.drain().await });
        }
        let mut drained = 0;
        for part in draining.join_all().await {
            drained += part?;
        }
        ensure!(drained == jobs as usize, "{jobs} jobs were enqueued and {drained} drained");
        Ok(Turn { enqueue, drain: began.elapsed() })
    }
}

impl Worker {
    fn terms(&self) -> FetchTerms<'_> {
        FetchTerms { holdings: &self.holdings, in_flight: &[], bytes_max: i64::MAX }
    }

    async fn enqueue(&self, jobs: usize) -> anyhow::Result<()> {
        let mut ids = RunIdSequence::new(self.number);
        for batch in batches(jobs) {
            let now_ms = i64::try_from(now().as_millis())?;
            let job = |account: &AccountId| NewJob {
                shard: Shard::of(*account),
                place: Place::default(),
                account: *account,
                run: ids.next(now_ms),
                project: ProjectId(1),
                revision: RevisionId(1),
                grid: "main".into(),
                payload: Vec::new(),
            };
            let batch: Vec<NewJob> = self.accounts.iter().cycle().take(batch).map(job).collect();
            self.database.insert_jobs(&batch).await?;
        }
        Ok(())
    }

    /// Until nothing is left; returns how many there were.
    async fn drain(&self) -> anyhow::Result<usize> {
        let (mut drained, mut settled) = (0, Vec::new());
        let mut wanted: Vec<FetchLane> = self.accounts.iter().map(|account| from_the_start(*account)).collect();
        loop {
            let jobs = self.database.fetch_jobs(self.terms(), &wanted).await?;
            if jobs.is_empty() {
                self.database.commit(self.host, &[], &settled).await?;
                return Ok(drained);
            }
            for wanted in &mut wanted {
                let last = jobs.iter().filter(|job| job.account == wanted.queue.account).map(|job| job.run).max();
                wanted.cursor = last.unwrap_or(wanted.cursor);
            }
            drained += jobs.len();
            self.finish(&jobs, &settled).await?;
            settled = jobs.iter().map(|job| (job.shard, job.claim)).collect::<Vec<(Shard, ClaimId)>>();
            settled.sort_unstable_by_key(|(shard, claim)| (shard.0, claim.0));
            settled.dedup();
        }
    }

    /// Ends the runs, and with them the claims that are settled, as a host does: with the next flush.
    async fn finish(&self, jobs: &[FetchedJob], settled: &[(Shard, ClaimId)]) -> anyhow::Result<()> {
        let commits: Vec<RunCommit> = jobs.iter().map(finished).collect();
        let outcomes = self.database.commit(self.host, &commits, settled).await?;
        let refused = outcomes.iter().filter(|outcome| **outcome != CommitOutcome::Committed).count();
        ensure!(refused == 0, "{refused} of {} runs were not committed", commits.len());
        Ok(())
    }
}

fn from_the_start(account: AccountId) -> FetchLane {
    let count = i64::try_from(BATCH_JOBS / ACCOUNTS_A_WORKER).expect("a small number");
    FetchLane { queue: Queue::home(account), lane: Lane::Normal, cursor: RunId(0), count }
}

fn finished(job: &FetchedJob) -> RunCommit {
    RunCommit {
        holding: Holding { shard: job.shard, epoch: job.epoch },
        account: job.account,
        project: job.project,
        run: job.run,
        lane: job.place.lane,
        effects: Effects::default(),
        conclusion: Conclusion::Finished(Finished {
            state: RunState::Succeeded,
            started_at_ms: job.run.accepted_at_ms(),
            error: None,
            nodes: b"[]".to_vec(),
            has_checkpoint: false,
        }),
    }
}
