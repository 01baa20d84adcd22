//! The load program: measures a host beside something else, in turns, and prints one line of JSON per measurement.
//!
//! What counts is the ratio of two sides that ran in one process on one machine; the figures themselves are only hints.
//! Knows how to drive a host and how to read its tables, and nothing of how it works inside.

mod call_overhead;
mod durable_echo;
mod ingest;
mod start_latency;

mod bare_call;
mod bare_ingest;

mod rig;
mod subject;

mod load;

mod measurement;
mod samples;

use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{measurement::Measurement, rig::Rig};

/// Measures Trellis beside something else, in turns, and prints one line of JSON per measurement
#[derive(Debug, Parser)]
struct Args {
    /// What to measure
    measure: Measure,
    /// Seconds of measuring per side; each measurement has its own default
    #[arg(long)]
    seconds: Option<u64>,
    /// Set an option of the private Postgres, such as shared_preload_libraries=pg_stat_statements; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    postgres: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// P1: HTTP event → 202 → Wasm → history, against a native function instead of Wasm
    DurableEcho,
    /// P2: 202s a second, against a bare handler with one INSERT a request
    Ingest,
    /// P3: from the 202 to the first instruction in the guest, host idle
    StartLatency,
    /// P4: one call with all limits on, against bare wasmtime
    CallOverhead,
    /// All of them, in under ten minutes
    All,
}

impl Measure {
    const EACH: [Self; 4] = [Self::DurableEcho, Self::Ingest, Self::StartLatency, Self::CallOverhead];

    /// Seconds of measuring per side: enough to see several turns of autovacuum and of a slow disk, and all in ten minutes.
    fn seconds_default(self) -> u64 {
        match self {
            Self::DurableEcho => 60,
            Self::Ingest => 30,
            Self::StartLatency => 30,
            Self::CallOverhead | Self::All => 10,
        }
    }

    async fn take(self, rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
        match self {
            Self::DurableEcho => Box::pin(durable_echo::measure(rig, seconds)).await,
            Self::Ingest => Box::pin(ingest::measure(rig, seconds)).await,
            Self::StartLatency => Box::pin(start_latency::measure(rig, seconds)).await,
            Self::CallOverhead => Box::pin(call_overhead::measure(rig, seconds)).await,
            Self::All => anyhow::bail!("each measurement is taken by itself"),
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // A host that complains (of a lost lease, say) spoils a measurement; one that does not writes nothing.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    // A runtime of its own for the load, so that a profile tells the two apart by the names of their threads.
    let host = runtime("host", None).context("cannot start the host's threads")?;
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
    let rig = Rig::start(load, args.postgres).await?;
    let wanted = if args.measure == Measure::All { Measure::EACH.to_vec() } else { vec![args.measure] };
    for measure in wanted {
        let seconds = Duration::from_secs(args.seconds.unwrap_or(measure.seconds_default()).max(1));
        let measurement = measure.take(&rig, seconds).await?;
        println!("{}", measurement.to_json()?);
    }
    rig.stop().await
}
