//! The load program: measures a host beside something else, in turns, and prints one line of JSON per measurement.
//!
//! What counts is the ratio of two sides that ran in one process on one machine; the figures themselves are only hints.
//! Knows how to drive a host and how to read its tables, and nothing of how it works inside.

mod measure;

mod backlog;
mod call_overhead;
mod cold;
mod durable_echo;
mod fairness;
mod graph;
mod idle;
mod ingest;
mod queue;
mod spinning;
mod start_latency;
mod storage;
mod throttled;
mod two_hosts;

mod bare_call;
mod bare_ingest;

mod host_process;
mod project;
mod rig;
mod subject;
mod tables;
mod tenants;

mod load;
mod waiting_jobs;

mod footprint;
mod starts;

mod all;
mod goal;
mod measurement;
mod samples;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{measure::Measure, rig::Rig};

/// Measures Trellis beside something else, in turns, and prints one line of JSON per measurement
#[derive(Debug, Parser)]
struct Args {
    /// What to measure
    measure: Measure,
    /// Seconds of measuring per side; each measurement has its own default
    #[arg(long)]
    seconds: Option<u64>,
    /// Let `queue` fetch other queues from their registries (npm, crates) at fixed versions, and measure them too
    #[arg(long)]
    peers: bool,
    /// Set an option of the private Postgres, such as synchronous_commit=off; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    postgres: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Nothing but complaints. Loading a million rows is slow, and meant to be.
const LOGGED: &str = "warn,sqlx::query=error";

fn main() -> anyhow::Result<()> {
    // A host that complains (of a lost lease, say) spoils a measurement; one that does not writes nothing.
    tracing_subscriber::fmt().with_env_filter(LOGGED).with_writer(std::io::stderr).init();
    // A runtime of its own for the load, so that a profile tells the two apart by the names of their threads.
    let host = runtime("host", None).context("cannot start the host's threads")?;
    if std::env::args().nth(1).is_some_and(|first| first == host_process::COMMAND) {
        return host.block_on(host_process::run());
    }
    let args = Args::parse();
    if args.measure == Measure::All {
        return host.block_on(all::run(&all::Passed {
            seconds: args.seconds,
            peers: args.peers,
            postgres: &args.postgres,
        }));
    }
    let load = runtime("load", Some(1)).context("cannot start the load's thread")?;
    host.block_on(run(args, load.handle().clone()))
}

fn runtime(name: &str, threads: Option<usize>) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.thread_name(name).enable_all().build()
}

async fn run(args: Args, load: Handle) -> anyhow::Result<()> {
    let Args { measure, seconds, peers, mut postgres } = args;
    postgres.extend(measure.postgres_settings());
    let rig = Rig::start(load, postgres).await.with_context(|| measure.needs())?;
    let seconds = Duration::from_secs(seconds.unwrap_or(measure.seconds_default()).max(1));
    let measurement = measure.take(&rig, seconds, peers).await?;
    println!("{}", measurement.to_json()?);
    rig.stop().await
}
