//! P13: empty jobs are enqueued and drained, with nothing around the queue; against other queues on the same Postgres, in
//! turns.
//!
//! Ours are the store's own statements as a host sends them, history and fence included. The others are fetched from their
//! registries when asked for (`--peers`), at fixed versions, into the temporary folder; without them, ours is measured
//! beside a plain table that is drained with `for update skip locked`.

mod graphile;
pub mod ours;
mod pgmq;
mod skip_locked;

mod peer_install;

use std::time::{Duration, Instant};

use crate::{goal::least, measurement::Measurement, rig::Rig};

/// Enough for many batches; few enough that each side has several turns.
const JOBS_A_TURN: u32 = 20_000;
/// The same for all sides.
pub const BATCH_JOBS: usize = 500;
/// Connections that enqueue or drain at the same time; the same for all sides.
const WORKERS: usize = 4;

pub async fn measure(rig: &Rig, seconds: Duration, peers: bool) -> anyhow::Result<Measurement> {
    let mut ours = Side::new("ours", Queue::Ours(ours::Ours::start(&rig.database("queue_ours").await?).await?));
    let mut others = if peers {
        vec![
            Side::new("graphile-worker", Queue::Graphile(graphile::Graphile::install(rig, "queue_graphile").await?)),
            Side::new("pgmq", Queue::Pgmq(pgmq::Pgmq::install(rig, "queue_pgmq").await?)),
        ]
    } else {
        let table = skip_locked::SkipLocked::start(&rig.database("queue_plain").await?).await?;
        vec![Side::new("skip-locked", Queue::SkipLocked(table))]
    };
    // The first turn of a side is for warming up.
    for side in std::iter::once(&mut ours).chain(&mut others) {
        side.queue.turn(JOBS_A_TURN).await?;
    }
    let until = Instant::now() + seconds * u32::try_from(1 + others.len())?;
    while ours.jobs == 0 || Instant::now() < until {
        for side in std::iter::once(&mut ours).chain(&mut others) {
            side.take_turn().await?;
            eprintln!("queue {}: {:.0} jobs/s so far", side.name, side.rate());
        }
    }
    report(&ours, &others, peers)
}

fn report(ours: &Side, others: &[Side], has_peers: bool) -> anyhow::Result<Measurement> {
    let jobs = usize::try_from(ours.jobs)?;
    let span = ours.enqueue + ours.drain;
    let other_is = if has_peers {
        ("graphile-worker, batched", others[0].rate())
    } else {
        ("a plain table, drained with skip locked, batched", others[0].rate())
    };
    let mut measurement = Measurement::new("P13", "jobs/s", ours.rate(), other_is)
        .taken(span, jobs)
        .with("enqueue_per_second", ours.jobs as f64 / ours.enqueue.as_secs_f64())
        .with("drain_per_second", ours.jobs as f64 / ours.drain.as_secs_f64())
        .with("other_enqueue_per_second", others[0].jobs as f64 / others[0].enqueue.as_secs_f64())
        .with("other_drain_per_second", others[0].jobs as f64 / others[0].drain.as_secs_f64());
    if let [_, pgmq] = others {
        measurement = measurement
            .with("pgmq", pgmq.rate())
            .with("pgmq_ratio", ours.rate() / pgmq.rate())
            .with("pgmq_enqueue_per_second", pgmq.jobs as f64 / pgmq.enqueue.as_secs_f64())
            .with("pgmq_drain_per_second", pgmq.jobs as f64 / pgmq.drain.as_secs_f64())
            .aiming_at(&[least("ratio", 2.0), least("pgmq_ratio", 1.0)]);
    }
    Ok(measurement)
}

/// How long a turn took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    enqueue: Duration,
    drain: Duration,
}

enum Queue {
    Ours(ours::Ours),
    SkipLocked(skip_locked::SkipLocked),
    Graphile(graphile::Graphile),
    Pgmq(pgmq::Pgmq),
}

impl Queue {
    /// Enqueues this many jobs, and drains them when all are there.
    async fn turn(&mut self, jobs: u32) -> anyhow::Result<Turn> {
        match self {
            Self::Ours(queue) => queue.turn(jobs).await,
            Self::SkipLocked(queue) => queue.turn(jobs).await,
            Self::Graphile(queue) => queue.turn(jobs).await,
            Self::Pgmq(queue) => queue.turn(jobs).await,
        }
    }
}

struct Side {
    name: &'static str,
    queue: Queue,
    jobs: u64,
    enqueue: Duration,
    drain: Duration,
}

impl Side {
    fn new(name: &'static str, queue: Queue) -> Self {
        Self { name, queue, jobs: 0, enqueue: Duration::ZERO, drain: Duration::ZERO }
    }

    async fn take_turn(&mut self) -> anyhow::Result<()> {
        let turn = self.queue.turn(JOBS_A_TURN).await?;
        self.jobs += u64::from(JOBS_A_TURN);
        self.enqueue += turn.enqueue;
        self.drain += turn.drain;
        Ok(())
    }

    /// Enqueued and drained.
    fn rate(&self) -> f64 {
        self.jobs as f64 / (self.enqueue + self.drain).as_secs_f64()
    }
}

/// Even parts of the jobs of a turn, one for each worker.
fn part(jobs: u32, worker: usize) -> usize {
    let jobs = jobs as usize;
    jobs / WORKERS + usize::from(worker < jobs % WORKERS)
}

/// Sizes of the batches that some jobs make.
fn batches(jobs: usize) -> impl Iterator<Item = usize> {
    (0..jobs.div_ceil(BATCH_JOBS)).map(move |batch| BATCH_JOBS.min(jobs - batch * BATCH_JOBS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_and_batches_make_up_all_jobs() {
        for jobs in [0, 3, 501, 20_000] {
            let parts: Vec<usize> = (0..WORKERS).map(|worker| part(jobs, worker)).collect();
            assert_eq!(parts.iter().sum::<usize>(), jobs as usize);
            assert!(parts.iter().all(|part| batches(*part).sum::<usize>() == *part), "{parts:?}");
            assert!(parts.iter().all(|part| batches(*part).all(|batch| (1..=BATCH_JOBS).contains(&batch))));
        }
    }

    #[test]
    fn a_rate_is_of_jobs_that_went_both_ways() {
        let queue = Queue::Graphile(graphile::Graphile::for_tests());
        let side =
            Side { jobs: 600, enqueue: Duration::from_secs(1), drain: Duration::from_secs(2), ..Side::new("x", queue) };
        assert!((side.rate() - 200.0).abs() < 1e-9);
    }
}
