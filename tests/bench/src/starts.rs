//! Start latencies: from the moment when a client has its 202 to the first instruction in the guest.
//!
//! The guest stamps its clock on entry, and that is read from history. Both clocks are this machine's.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use trellis_model::RunId;

use crate::{load::Connection, samples::Samples, tables::EndedRun, tables::now};

/// Between two events. Not a multiple of anything that the host does regularly.
pub const PAUSES_MS: [u64; 4] = [19, 41, 27, 33];

/// When the client had the 202 of each run, since 1970.
#[derive(Debug, Default)]
pub struct AcceptedRuns(HashMap<RunId, Duration>);

impl AcceptedRuns {
    pub fn insert(&mut self, run: RunId, at: Duration) {
        self.0.insert(run, at);
    }

    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// # Errors
    /// Nobody has asked for this run.
    pub fn accepted_at(&self, run: RunId) -> anyhow::Result<Duration> {
        self.0.get(&run).copied().with_context(|| format!("run {run} was never accepted"))
    }

    /// Of runs that have ended: how long each waited for its start at this node.
    ///
    /// # Errors
    /// A run that nobody asked for, or without the guest's time.
    pub fn start_latencies(&self, runs: &[EndedRun], node: &str) -> anyhow::Result<Samples> {
        let mut latencies = Samples::default();
        for ended in runs {
            // A guest that was started before the client had its answer kept nobody waiting.
            latencies.push(ended.stamp(node)?.saturating_sub(self.accepted_at(ended.run)?));
        }
        Ok(latencies)
    }
}

/// Reads the run from the body of a 202.
///
/// # Errors
/// It names none.
pub fn run_of(answer: &Bytes) -> anyhow::Result<RunId> {
    #[derive(Deserialize)]
    struct Accepted {
        run: RunId,
    }
    let accepted: Accepted = serde_json::from_slice(answer).context("a 202 without its run")?;
    Ok(accepted.run)
}

/// What one sender saw.
#[derive(Default)]
pub struct Sent {
    pub runs: AcceptedRuns,
    /// From sending to the 202.
    pub accept: Samples,
}

/// Sends one event at a time for a while, and at least this many, to a host that has nothing else to do.
///
/// # Errors
/// An answer that is no 202.
pub async fn send_one_by_one(mut connection: Connection, span: Duration, least: usize) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    let until = Instant::now() + span;
    for pause_ms in PAUSES_MS.into_iter().cycle() {
        if Instant::now() > until && sent.runs.len() >= least {
            break;
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let began = Instant::now();
        let answer = connection.post().await?;
        let at = now();
        sent.accept.push(began.elapsed());
        sent.runs.insert(run_of(&answer)?, at);
    }
    Ok(sent)
}
