//! A host as a process: started with settings, asked to stop, killed.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use reqwest::Method;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::oneshot,
};

use super::{Api, Outside, eventually, guests, janitor, scratch};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_trellis-host");

/// Compiled components are shared by all hosts, those of earlier runs included: where a database is given, nothing else
/// is kept there. A setting of the plan's own comes later and wins.
const SHARED_DATA: &str = concat!("data_dir=", env!("CARGO_TARGET_TMPDIR"), "/hosts");

const START_LONGEST: Duration = Duration::from_secs(60);
const PAUSED_POLL: Duration = Duration::from_millis(20);
const STOP_LONGEST: Duration = Duration::from_secs(60);
/// How much of a host's log is shown with a failure, in lines.
const LOG_TAIL_LINES: usize = 60;

/// How to start a host; each start is a new process.
#[derive(Clone)]
pub struct HostPlan {
    listen: String,
    arguments: Vec<String>,
    /// What the host is to fail at, as the program under test reads it.
    faults: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// A running host. Dropped, it is killed.
pub struct Host {
    pub url: String,
    /// It came as far as being ready, whatever became of it since.
    pub is_ready: bool,
    operator_token: Option<String>,
    child: Child,
    process: u32,
    log: PathBuf,
}

impl HostPlan {
    /// A host on this database. Leases are short, so that what a killed host did goes on soon.
    pub fn on(database_url: &str) -> Self {
        Self::empty()
            .set("database.url", database_url)
            // Many hosts share one server here.
            .set("database.connections_max", "5")
            .set("queue.lease", "2s")
    }

    /// A host that starts a Postgres of its own.
    pub fn with_own_postgres(data_dir: &str) -> Self {
        Self::empty().set("data_dir", data_dir)
    }

    fn empty() -> Self {
        Self { listen: "127.0.0.1:0".to_owned(), arguments: Vec::new(), faults: Vec::new(), environment: Vec::new() }
    }

    /// Makes the host die or stop at one of its fail points (`commit-before-fence=kill@3`), or switches a guard off
    /// (`fence-off=off`).
    #[must_use]
    pub fn fault(mut self, fault: impl Into<String>) -> Self {
        self.faults.push(fault.into());
        self
    }

    /// Puts something into the host's environment.
    #[must_use]
    pub fn with_variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Serves at this address, and not at one that is free.
    #[must_use]
    pub fn listen(self, address: &str) -> Self {
        Self { listen: address.to_owned(), ..self }
    }

    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        self
    }

    /// Lets guests reach the world outside of a test, which lies on this machine.
    #[must_use]
    pub fn allow(self, outside: &Outside) -> Self {
        self.set("egress.allow_private", &outside.address.to_string())
    }

    /// Starts a host and waits until it is ready.
    pub async fn start(&self) -> Host {
        self.start_as(Command::new(PROGRAM)).await
    }

    /// Starts a host by a command that is or becomes the program.
    pub async fn start_as(&self, command: Command) -> Host {
        let host = self.launch_as(command).await;
        assert!(host.is_ready, "the host does not start");
        host
    }

    /// Starts a host that may die of its faults at any moment, perhaps before it is ready.
    pub async fn launch(&self) -> Host {
        self.launch_as(Command::new(PROGRAM)).await
    }

    /// The same by a command that is or becomes the program.
    pub async fn launch_as(&self, mut command: Command) -> Host {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        guests::build();
        let log = scratch().join(format!("host-{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let errors = std::fs::File::create(&log).expect("the scratch folder is ours");
        without_settings(&mut command);
        command.args(["serve", "--listen", &self.listen, "--set", SHARED_DATA]);
        command.args(&self.arguments);
        command.env("HOST_FAULTS", self.faults.join(";")).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let process = child.id().expect("it was just started");
        janitor::host_started(process);
        let output = child.stdout.take().expect("stdout is piped");
        let mut host = Host { url: String::new(), is_ready: false, operator_token: None, child, process, log };
        tokio::select! {
            is_ready = host.greet_and_get_ready(output) => host.is_ready = is_ready,
            // A fault has made it sleep before it was ready.
            () = paused(process) => {}
        }
        host
    }
}

/// Takes away what the environment of the test says to a host.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("TRELLIS_") || name == "DATABASE_URL" {
            command.env_remove(&*name);
        }
    }
}

impl Host {
    /// The token that this host made at the first start on its database.
    pub fn operator_token(&self) -> &str {
        self.operator_token.as_deref().expect("this host was the first on its database")
    }

    /// With that token.
    pub fn operator(&self) -> Api {
        Api::new(&self.url, Some(self.operator_token()))
    }

    /// SIGKILL: nothing of the host's own runs any more.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is our child");
    }

    /// SIGTERM: asks for a graceful stop.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// SIGSTOP: nothing of it runs, until it is woken up.
    pub async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub async fn wake(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let mut command = Command::new("kill");
        let status =
            command.args([&format!("-{name}"), &self.process.to_string()]).status().await.expect("`kill` runs");
        assert!(status.success(), "the host is gone");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits for the end of a host that was asked to stop.
    pub async fn ended(mut self) -> ExitStatus {
        match tokio::time::timeout(STOP_LONGEST, self.child.wait()).await {
            Ok(status) => status.expect("it is our child"),
            Err(_) => panic!("the host did not stop within {} s", STOP_LONGEST.as_secs()),
        }
    }

    /// Its id in the database, as it said when it registered; none before that.
    pub fn id(&self) -> Option<String> {
        let log = self.log();
        let (_, rest) = log.rsplit_once("registered host=")?;
        rest.split_whitespace().next().map(str::to_owned)
    }

    /// Waits until it has ended by itself; false: it has not within this long.
    pub async fn has_died_within(&mut self, longest: Duration) -> bool {
        tokio::time::timeout(longest, self.child.wait()).await.is_ok()
    }

    /// Waits until it sleeps at a fail point; false: it does not within this long, or has ended.
    pub async fn has_paused_within(&mut self, longest: Duration) -> bool {
        tokio::select! {
            () = paused(self.process) => true,
            _ = tokio::time::timeout(longest, self.child.wait()) => false,
        }
    }

    /// Whether it has stopped at a fail point, and does nothing until it is woken up.
    pub fn is_paused(&self) -> bool {
        has_state(self.process, 'T')
    }

    /// Whether its process has ended.
    pub fn is_gone(&self) -> bool {
        has_state(self.process, 'Z')
    }

    /// Memory that it has in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the host is running");
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number of KiB")
    }

    /// How many files it may have open.
    pub fn open_files_max(&self) -> u64 {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.process)).expect("the host is running");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("it is listed");
        line.split_whitespace().next().and_then(|soft| soft.parse().ok()).expect("a number of files")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// False: it ended before that.
    async fn greet_and_get_ready(&mut self, output: ChildStdout) -> bool {
        let greeting = tokio::time::timeout(START_LONGEST, greeting(output)).await;
        match greeting.expect("the host does not start") {
            Ok(greeting) => (self.url, self.operator_token) = (greeting.url, greeting.operator_token),
            Err(_) => return false,
        }
        self.until_ready().await
    }

    /// False: it ended before it was.
    async fn until_ready(&mut self) -> bool {
        let api = Api::new(&self.url, None);
        eventually("the host is ready, or has ended", async || {
            let answer = api.try_send(Method::GET, "/readyz", "", Bytes::new()).await;
            match answer {
                Ok(answer) if answer.status == 200 => Some(true),
                _ => (!self.is_running()).then_some(false),
            }
        })
        .await
    }
}

/// What a host says when it serves: its address and, on a new database, an operator token.
struct Greeting {
    url: String,
    operator_token: Option<String>,
}

/// The greeting, when it comes. An error: the host has ended without one.
fn greeting(output: ChildStdout) -> oneshot::Receiver<Greeting> {
    let (sender, greeting) = oneshot::channel();
    tokio::spawn(async move {
        let (mut lines, mut sender, mut operator_token) = (BufReader::new(output).lines(), Some(sender), None);
        // To the end: it must never wait for somebody who reads.
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some((_, token)) = line.split_once("operator token, shown this one time: ") {
                operator_token = Some(token.to_owned());
            } else if let Some(url) = line.strip_prefix("trellis serves ")
                && let Some(sender) = sender.take()
            {
                // A test that has given up needs no greeting.
                let _ = sender.send(Greeting { url: url.to_owned(), operator_token: operator_token.take() });
            }
        }
    });
    greeting
}

/// Whether a process is in a state, as one letter: `T` for stopped, `Z` for ended.
fn has_state(process: u32, state: char) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state comes behind the name, which is in brackets. What is not there any more has ended as well.
    status.rsplit_once(") ").map_or(state == 'Z', |(_, rest)| rest.starts_with(state))
}

async fn paused(process: u32) {
    while !has_state(process, 'T') {
        tokio::time::sleep(PAUSED_POLL).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        janitor::host_ended(self.process);
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
            eprintln!("the end of the log of {}:\n{tail}", self.url);
        }
    }
}
