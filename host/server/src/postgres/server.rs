//! The server process and the watchdog above it.
//!
//! ```text
//! host ──pipe──► sh (own process group) ──► postgres
//!                └─ reader: end of file on the pipe → SIGINT (fast shutdown) → after a grace SIGQUIT
//! ```
//!
//! The pipe's end is closed by the kernel however the host ends, so the server never outlives it; the process group of
//! its own keeps a Ctrl-C in the terminal from ending the server while the host still drains.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, ChildStdin},
    time::{sleep, timeout},
};

use super::{
    EmbeddedPostgresError, ROLE,
    binaries::Binaries,
    folder::Folder,
    former::{FORMER_SERVER_WAIT, FormerServer},
    log::Log,
    socket::{PORT, SocketDirectory},
};

/// Runs as `sh -c WATCHDOG sh GRACE_SECONDS postgres ARGUMENTS…` and ends when, and as, postgres ends.
const WATCHDOG: &str = r#"
grace=$1
shift
"$@" </dev/null &
server=$!
exec 3<&0 </dev/null
(
    while read -r line; do :; done
    kill -INT "$server"
    sleep "$grace" &
    nap=$!
    trap 'kill "$nap"; wait "$nap"; exit' TERM
    wait "$nap"
    kill -QUIT "$server"
) <&3 2>/dev/null &
reader=$!
exec 3<&-
wait "$server"
status=$?
kill "$reader" 2>/dev/null
wait "$reader" 2>/dev/null
exit "$status"
"#;

/// What an immediate shutdown may take on top of the grace: Postgres itself kills its last processes after 5 s.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(15);
const READY_POLL: Duration = Duration::from_millis(20);
const REMNANTS_PAUSE: Duration = Duration::from_millis(200);
/// What a server says that found the processes of a killed one still at work; they end within moments.
const REMNANTS: [&str; 2] = ["pre-existing shared memory block", "lock file \"postmaster.pid\" already exists"];

/// How long the server may take to come and to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub ready: Duration,
    pub shutdown: Duration,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    watchdog: Child,
    /// Closing it is the one and only way to end the server.
    lifeline: ChildStdin,
    shutdown_grace: Duration,
    log: Log,
}

impl Server {
    /// Starts a server and waits until it accepts connections. One that stumbles over what is left of a former server
    /// is started again until that is gone.
    pub async fn start(
        folder: &Folder,
        binaries: &Binaries,
        socket: &SocketDirectory,
        settings: &[String],
        patience: Patience,
    ) -> Result<Self, EmbeddedPostgresError> {
        let former_deadline = Instant::now() + FORMER_SERVER_WAIT;
        loop {
            let former = FormerServer::wait(&folder.data(), former_deadline).await?;
            let mut server = Self::launch(folder, binaries, settings, patience.shutdown, former)?;
            match server.wait_until_ready(folder, binaries, socket, patience.ready).await {
                Err(EmbeddedPostgresError::Ended { tail, .. })
                    if REMNANTS.iter().any(|remnant| tail.contains(remnant)) && Instant::now() < former_deadline =>
                {
                    sleep(REMNANTS_PAUSE).await;
                }
                other => return other.map(|()| server),
            }
        }
    }

    fn launch(
        folder: &Folder,
        binaries: &Binaries,
        settings: &[String],
        shutdown_grace: Duration,
        former: FormerServer,
    ) -> Result<Self, EmbeddedPostgresError> {
        let (log, file) = Log::open(folder)?;
        let errors = file.try_clone().map_err(EmbeddedPostgresError::folder("open", log.path()))?;
        let mut command = folder.run_as.command("/bin/sh");
        command.args(["-c", WATCHDOG, "sh"]).arg(shutdown_grace.as_secs().to_string());
        command.arg(binaries.program("postgres")).arg("-D").arg(folder.data()).args(settings);
        command.stdin(Stdio::piped()).stdout(file).stderr(errors).process_group(0);
        if let FormerServer::PidReused(process) = former {
            // Postgres takes a live process id in postmaster.pid for a running server. This variable, made for
            // pg_ctl's sake, names one that it is not to mind; its check of shared memory stays in force.
            command.env("PG_GRANDPARENT_PID", process.to_string());
        }
        let spawned = command.spawn();
        let program = Path::new("/bin/sh").to_owned();
        let mut watchdog = spawned.map_err(|source| EmbeddedPostgresError::Program { program, source })?;
        let lifeline = watchdog.stdin.take().expect("stdin is piped");
        Ok(Self { watchdog, lifeline, shutdown_grace, log })
    }

    async fn wait_until_ready(
        &mut self,
        folder: &Folder,
        binaries: &Binaries,
        socket: &SocketDirectory,
        ready_timeout: Duration,
    ) -> Result<(), EmbeddedPostgresError> {
        let deadline = Instant::now() + ready_timeout;
        loop {
            if let Some(status) = self.watchdog.try_wait().map_err(watchdog_lost)? {
                return Err(self.ended_with(status));
            }
            if socket.has_socket() && client(folder, binaries, socket, "pg_isready", &[]).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (log, tail) = (self.log.path().to_owned(), self.log.tail());
                return Err(EmbeddedPostgresError::NotReady { waited_secs: ready_timeout.as_secs(), log, tail });
            }
            sleep(READY_POLL).await;
        }
    }

    /// Waits until the server ends by itself.
    pub async fn ended(&mut self) -> EmbeddedPostgresError {
        match self.watchdog.wait().await {
            Ok(status) => self.ended_with(status),
            Err(error) => watchdog_lost(error),
        }
    }

    /// Ends the server and waits until it is gone.
    pub async fn stop(self) -> Result<(), EmbeddedPostgresError> {
        let Self { mut watchdog, lifeline, shutdown_grace, log } = self;
        let deadline = shutdown_grace + IMMEDIATE_SHUTDOWN;
        drop(lifeline);
        let Ok(waited) = timeout(deadline, watchdog.wait()).await else {
            let (tail, log) = (log.tail(), log.path().to_owned());
            return Err(EmbeddedPostgresError::StopTimeout { waited_secs: deadline.as_secs(), log, tail });
        };
        let status = waited.map_err(watchdog_lost)?;
        if status.success() { Ok(()) } else { Err(ended(status, &log)) }
    }

    fn ended_with(&self, status: ExitStatus) -> EmbeddedPostgresError {
        ended(status, &self.log)
    }
}

fn ended(status: ExitStatus, log: &Log) -> EmbeddedPostgresError {
    EmbeddedPostgresError::Ended { status: status.to_string(), log: log.path().to_owned(), tail: log.tail() }
}

fn watchdog_lost(source: std::io::Error) -> EmbeddedPostgresError {
    EmbeddedPostgresError::Program { program: "/bin/sh".into(), source }
}

/// Creates the database unless it is there.
pub(super) async fn ensure_database(
    folder: &Folder,
    binaries: &Binaries,
    socket: &SocketDirectory,
    database: &str,
) -> Result<(), EmbeddedPostgresError> {
    // A connection that is opened and quit again.
    let connects = ["--no-psqlrc", "--command", r"\q", "--dbname", database];
    if client(folder, binaries, socket, "psql", &connects).await? {
        return Ok(());
    }
    let output = run_client(folder, binaries, socket, "createdb", &[database]).await?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(EmbeddedPostgresError::ProgramFailed { program: "createdb", output })
}

async fn client(
    folder: &Folder,
    binaries: &Binaries,
    socket: &SocketDirectory,
    program: &'static str,
    arguments: &[&str],
) -> Result<bool, EmbeddedPostgresError> {
    Ok(run_client(folder, binaries, socket, program, arguments).await?.status.success())
}

async fn run_client(
    folder: &Folder,
    binaries: &Binaries,
    socket: &SocketDirectory,
    program: &'static str,
    arguments: &[&str],
) -> Result<std::process::Output, EmbeddedPostgresError> {
    let path = binaries.program(program);
    let mut command = folder.run_as.command(&path);
    command.arg("--host").arg(socket.path()).args(["--port", &PORT.to_string(), "--username", ROLE]).args(arguments);
    command.output().await.map_err(|source| EmbeddedPostgresError::Program { program: path, source })
}
