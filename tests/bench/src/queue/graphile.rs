//! graphile-worker: its own bulk function enqueues, and its worker drains, with its local queue and batched completion. Runs
//! in a Node.js process for each turn, which times itself: starting it is not counted.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::process::Command;

use super::{BATCH_JOBS, Turn, WORKERS, peer_install};
use crate::rig::Rig;

const PACKAGE: (&str, &str) = ("graphile-worker", "0.17.3");
const PROGRAM: &str = include_str!("../../peers/graphile.mjs");

pub struct Graphile {
    program: PathBuf,
    database_url: String,
}

impl Graphile {
    pub async fn install(rig: &Rig, database: &str) -> anyhow::Result<Self> {
        let folder = rig.folder("graphile");
        peer_install::npm_package(&folder, PACKAGE).await?;
        let program = folder.join("graphile.mjs");
        tokio::fs::write(&program, PROGRAM).await.context("cannot write the program that drives graphile-worker")?;
        Ok(Self { program, database_url: rig.database(database).await? })
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self { program: PathBuf::new(), database_url: String::new() }
    }

    pub async fn turn(&mut self, jobs: u32) -> anyhow::Result<Turn> {
        #[derive(Deserialize)]
        struct Took {
            enqueue_ms: f64,
            drain_ms: f64,
        }
        let mut node = Command::new("node");
        node.arg(&self.program).args([self.database_url.as_str(), &jobs.to_string()]);
        node.args([BATCH_JOBS.to_string(), WORKERS.to_string()]);
        node.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let output = node.output().await.context("cannot run node")?;
        if !output.status.success() {
            bail!("graphile-worker failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let took: Took = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("not a turn: {}", String::from_utf8_lossy(&output.stdout)))?;
        let duration = |ms: f64| Duration::from_secs_f64(ms / 1_000.0);
        Ok(Turn { enqueue: duration(took.enqueue_ms), drain: duration(took.drain_ms) })
    }
}
