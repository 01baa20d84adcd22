//! The load: many kept connections over loopback that post the same event again and again.
//!
//! Bounded by its connections, by its pace and by [`Load::stop`]. Anything but a 202 ends a connection and fails the
//! measurement. Deliberately does not know what answers.

mod connection;
mod pace;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use self::pace::Pacer;
pub use self::{connection::Connection, pace::Pace};
use crate::{
    samples::Samples,
    starts::{AcceptedRuns, run_of},
    tables::now,
};

/// Far more than a running host takes for an answer, so that a stuck one ends the measurement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What is posted, and where to.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub path: String,
    /// None: nobody asks who is posting.
    pub token: Option<String>,
    pub body: Bytes,
}

/// How a load is made up.
pub struct LoadPlan<'t> {
    /// Taken by the connections in turn, so at most as many as there are of these.
    pub targets: &'t [Target],
    pub connections: usize,
    pub pace: Pace,
    /// Remember each run and when it was accepted.
    pub keeps_runs: bool,
}

/// A running load.
pub struct Load {
    accepted: Arc<AtomicU64>,
    pacer: Arc<Pacer>,
    connections: JoinSet<anyhow::Result<Loaded>>,
}

/// What a load came to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Events that were answered with 202.
    pub accepted: u64,
    /// From the moment when an event was due to its 202.
    pub latencies: Samples,
    /// Empty unless they were kept.
    pub runs: AcceptedRuns,
}

impl Loaded {
    fn append(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.latencies.append(other.latencies);
        self.runs.append(other.runs);
    }
}

impl Load {
    /// Opens the connections on the load's own threads and begins.
    pub fn start(runtime: &Handle, plan: LoadPlan<'_>) -> Self {
        let (accepted, pacer) = (Arc::new(AtomicU64::new(0)), Arc::new(Pacer::new(plan.pace)));
        let mut load = Self { accepted, pacer: Arc::clone(&pacer), connections: JoinSet::new() };
        for target in plan.targets.iter().cycle().take(plan.connections) {
            let sender = Sender {
                target: target.clone(),
                pacer: Arc::clone(&load.pacer),
                accepted: Arc::clone(&load.accepted),
                keeps_runs: plan.keeps_runs,
            };
            load.connections.spawn_on(sender.run(), runtime);
        }
        runtime.spawn(async move { pacer.run().await });
        load
    }

    /// Events that were answered with 202 so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Stops sending, and waits for the answers that are still due.
    ///
    /// # Errors
    /// The first answer that was no 202, or a connection that broke.
    pub async fn stop(mut self) -> anyhow::Result<Loaded> {
        self.pacer.stop();
        let mut loaded = Loaded::default();
        while let Some(joined) = self.connections.join_next().await {
            loaded.append(joined.context("a connection of the load panicked")??);
        }
        Ok(loaded)
    }

    /// One connection by itself, for a measurement that sends its events one by one.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(runtime: &Handle, target: &Target) -> anyhow::Result<Connection> {
        let target = target.clone();
        runtime.spawn(async move { Connection::open(target).await }).await.context("the load's thread panicked")?
    }
}

struct Sender {
    target: Target,
    pacer: Arc<Pacer>,
    accepted: Arc<AtomicU64>,
    keeps_runs: bool,
}

impl Sender {
    async fn run(self) -> anyhow::Result<Loaded> {
        let mut connection = Connection::open(self.target).await?;
        let mut loaded = Loaded::default();
        while let Some(due) = self.pacer.next().await {
            let answer = timeout(ANSWER_TIMEOUT, connection.post()).await.context("no answer to an event")??;
            loaded.latencies.push(due.elapsed());
            loaded.accepted += 1;
            self.accepted.fetch_add(1, Relaxed);
            if self.keeps_runs {
                loaded.runs.insert(run_of(&answer)?, now());
            }
        }
        Ok(loaded)
    }
}
