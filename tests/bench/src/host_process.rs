//! A host in a process of its own: for what it costs, and for hosts that are killed. It is this same program.
//!
//! Says on its standard output where it serves, and then, many times a second, how many permits the accounts it was asked
//! to watch have taken. Stops in order when its standard input ends, and so with whoever started it.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{interval, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use trellis::{
    client::Client,
    config::{Config, ConfigArgs},
    server::Server,
};
use trellis_model::AccountId;

use crate::{
    rig::Rig,
    subject::{permits_taken, settings},
};

/// What makes this program a host.
pub const COMMAND: &str = "host-process";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The process, seen from the one that measures. Ends with this value at the latest.
pub struct HostProcess {
    child: Child,
    pub address: SocketAddr,
    pub base_url: String,
    /// From the process's start until it said where it serves and that it is ready.
    pub ready_after: Duration,
    started: Arc<AtomicU64>,
    _reader: AbortOnDropHandle<()>,
}

impl HostProcess {
    /// Starts a host on a database. `folder` holds its files.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(rig: &Rig, database_url: &str, folder: &str, watched: &[AccountId]) -> anyhow::Result<Self> {
        let began = Instant::now();
        let settings = settings(database_url, &rig.folder(folder).display().to_string());
        let mut command = Command::new(std::env::current_exe().context("this program does not know where it lies")?);
        command.arg(COMMAND).args(arguments(&settings));
        command.args(watched.iter().map(|account| format!("--watch={account}")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start a host's process")?;
        let output = child.stdout.take().context("a host without its output")?;
        let mut lines = BufReader::new(output).lines();
        let first = timeout(START_TIMEOUT, lines.next_line()).await.context("a host did not start in time")??;
        let address: SocketAddr = first.context("a host ended at its start; see above")?.parse()?;
        let base_url = format!("http://{address}");
        wait_until_ready(&base_url).await?;
        let ready_after = began.elapsed();
        let started = Arc::new(AtomicU64::new(0));
        let reader = AbortOnDropHandle::new(tokio::spawn(read(lines, Arc::clone(&started))));
        Ok(Self { child, address, base_url, ready_after, started, _reader: reader })
    }

    /// Counts the runs of the watched accounts that this host has started.
    pub fn started(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.started)
    }

    /// # Errors
    /// It has ended.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the host's process has ended")
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It has ended already.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill a host's process")
    }

    /// Lets it stop in order.
    ///
    /// # Errors
    /// It does not, or not well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = timeout(STOP_TIMEOUT, self.child.wait()).await.context("a host did not stop in time")??;
        ensure!(status.success(), "a host ended with {status}");
        Ok(())
    }
}

/// The same settings on a command line.
fn arguments(settings: &ConfigArgs) -> Vec<String> {
    let named = [
        ("--listen", &settings.listen),
        ("--data-dir", &settings.data_dir),
        ("--database-url", &settings.database_url),
    ];
    let named = named.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
    named.chain(settings.set.iter().map(|setting| format!("--set={setting}"))).collect()
}

async fn wait_until_ready(base_url: &str) -> anyhow::Result<()> {
    let client = Client::new(base_url, "", None)?;
    let until = Instant::now() + START_TIMEOUT;
    loop {
        match client.get::<Value>(&["readyz"], &[]).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => bail!("a host is not ready after {START_TIMEOUT:?}: {error}"),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

async fn read(mut lines: Lines<BufReader<ChildStdout>>, started: Arc<AtomicU64>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(count) = line.parse() {
            started.store(count, Relaxed);
        }
    }
}

#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Accounts whose permits are counted
    #[arg(long)]
    watch: Vec<AccountId>,
}

/// Is the host, until its standard input ends.
///
/// # Errors
/// It does not start or stop.
pub async fn run() -> anyhow::Result<()> {
    let args = Args::parse_from(std::env::args().skip(1));
    let config = Config::load(&args.config, [])?.config;
    let server = Server::start(&config).await?;
    say(&server.address.to_string())?;
    let mut input = tokio::io::stdin();
    let mut nothing = [0];
    let mut ticks = interval(POLL);
    loop {
        tokio::select! {
            _ = input.read(&mut nothing) => break,
            _ = ticks.tick(), if !args.watch.is_empty() => say(&taken(&server, &args.watch).to_string())?,
        }
    }
    server.shutdown().await
}

fn say(line: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

fn taken(server: &Server, watched: &[AccountId]) -> u64 {
    watched.iter().map(|account| permits_taken(&server.host.limiter, *account)).sum()
}
