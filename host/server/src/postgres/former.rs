//! The server of a former host: after that host was killed it needs a moment to shut down, and until then the data are
//! its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::Command;

use super::EmbeddedPostgresError;

/// How long a former server is waited for: a fast shutdown writes one checkpoint, which seldom takes seconds.
pub(super) const FORMER_SERVER_WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// What `postmaster.pid` says, held against the processes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormerServer {
    /// No such file, or no such process: the server is gone, perhaps without having cleaned up.
    Gone,
    /// Another program has that process id by now, as happens after a reboot or in a new container.
    PidReused(u32),
    Running(u32),
}

impl FormerServer {
    pub async fn look(data: &Path) -> Self {
        let Some(process) = recorded_process(data) else { return Self::Gone };
        match Path::new("/proc/self/cwd").exists() {
            true => Self::look_in_proc(data, process),
            false => Self::ask_ps(process).await,
        }
    }

    /// Linux: a postmaster's working directory is its data folder. Where it cannot be read, the process is another
    /// user's, and so not one that could have been started on these data.
    fn look_in_proc(data: &Path, process: u32) -> Self {
        let entry = PathBuf::from(format!("/proc/{process}"));
        if !entry.exists() {
            return Self::Gone;
        }
        match (fs::read_link(entry.join("cwd")), data.canonicalize()) {
            (Ok(directory), Ok(data)) if directory == data => Self::Running(process),
            _ => Self::PidReused(process),
        }
    }

    async fn ask_ps(process: u32) -> Self {
        let mut command = Command::new("ps");
        command.args(["-o", "comm=", "-p", &process.to_string()]).stdin(Stdio::null());
        match command.output().await {
            Ok(output) if !output.status.success() => Self::Gone,
            Ok(output) if !String::from_utf8_lossy(&output.stdout).contains("postgres") => Self::PidReused(process),
            // Without `ps` the careful answer: wait for the file to vanish.
            _ => Self::Running(process),
        }
    }

    /// Waits until no former server runs on `data`, at most until `deadline`. Never answers [`FormerServer::Running`].
    pub async fn wait(data: &Path, deadline: Instant) -> Result<Self, EmbeddedPostgresError> {
        let mut told = false;
        loop {
            let process = match Self::look(data).await {
                Self::Running(process) => process,
                other => return Ok(other),
            };
            if Instant::now() >= deadline {
                let folder = data.to_owned();
                let waited_secs = FORMER_SERVER_WAIT.as_secs();
                return Err(EmbeddedPostgresError::FormerServer { folder, process, waited_secs });
            }
            if !told {
                tracing::info!(process, "waiting for the PostgreSQL of a former host to end");
                told = true;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn recorded_process(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    async fn look_with(pid_file: Option<String>) -> FormerServer {
        let data = TempDir::new().expect("a temporary directory");
        if let Some(text) = pid_file {
            fs::write(data.path().join("postmaster.pid"), text).expect("a file");
        }
        FormerServer::look(data.path()).await
    }

    #[tokio::test]
    async fn a_process_that_is_no_postgres_on_these_data_is_not_waited_for() {
        let ours = std::process::id();
        assert_eq!(look_with(Some(format!("{ours}\n/data\n"))).await, FormerServer::PidReused(ours));
        assert_eq!(look_with(Some("2147483646\n".to_owned())).await, FormerServer::Gone);
        assert_eq!(look_with(None).await, FormerServer::Gone);
    }
}
