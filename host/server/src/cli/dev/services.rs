//! Programs that stand in for the outside world while a project is developed.

use std::{
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::Instant,
};

use trellis_model::manifest::dev::DevService;

use crate::cli::{failure::Failure, output::Exit, progress::Progress};

/// A service may have to be compiled first.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
const READY_POLL: Duration = Duration::from_millis(50);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The running services of a project.
#[derive(Debug, Default)]
pub struct Services(Vec<Service>);

#[derive(Debug)]
struct Service {
    variable: String,
    address: SocketAddr,
    child: Child,
}

impl Services {
    /// Starts all of them, each on a free port, and waits until they accept connections.
    ///
    /// # Errors
    /// One of them cannot be started, ends, or does not listen in time.
    pub async fn start(services: &[DevService], dir: &Path, progress: &Progress) -> Result<Self, Failure> {
        let mut started = Self::default();
        for service in services {
            let task = progress.task(&format!("starting the service {}", service.name));
            started.0.push(Service::start(service, dir).await?);
            task.done("listens");
        }
        Ok(started)
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().map(|service| service.address)
    }

    /// `NAME_URL` of one of the services.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.0.iter().find(|service| service.variable == name).map(|service| format!("http://{}", service.address))
    }

    pub async fn stop(self) {
        for service in self.0 {
            service.stop().await;
        }
    }
}

impl Service {
    async fn start(service: &DevService, dir: &Path) -> Result<Self, Failure> {
        let failure = |message: String| Failure::new(Exit::Failed, format!("service `{}`: {message}", service.name));
        let address = free_address().map_err(|error| failure(format!("no free port: {error}")))?;
        let [program, arguments @ ..] = service.command.as_slice() else {
            return Err(failure("its command is empty".to_owned()));
        };
        let inherited = std::env::vars_os().map(|(name, _)| name);
        let mut child = command(program, arguments, dir, address, inherited)
            .spawn()
            .map_err(|error| failure(format!("cannot run `{program}`: {error}")))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        while TcpStream::connect(address).await.is_err() {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(failure(format!("it ended with {status} before it listened on port {}", address.port())));
            }
            if Instant::now() > deadline {
                return Err(failure(format!("it does not listen on PORT={}", address.port())));
            }
            tokio::time::sleep(READY_POLL).await;
        }
        let variable = format!("{}_URL", service.name.to_uppercase().replace('-', "_"));
        Ok(Self { variable, address, child })
    }

    /// Closes its standard input, and kills it if that does not end it.
    async fn stop(mut self) {
        drop(self.child.stdin.take());
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            drop(self.child.kill().await);
        }
    }
}

/// How a service is run. It gets this process's environment without what is the host's own there, such as master keys,
/// tokens and the database's password: a service is any program that a project names.
fn command(
    program: &str,
    arguments: &[String],
    dir: &Path,
    address: SocketAddr,
    inherited: impl Iterator<Item = OsString>,
) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(dir)
        .env("PORT", address.port().to_string())
        // Ends with this process, however that ends: the other end of this pipe closes.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        // A Ctrl-C is for the host first, which still needs the service while it drains.
        .process_group(0);
    for name in inherited.filter(|name| is_the_hosts(name)) {
        command.env_remove(name);
    }
    command
}

fn is_the_hosts(variable: &OsStr) -> bool {
    variable == "DATABASE_URL" || variable.as_encoded_bytes().starts_with(b"TRELLIS_")
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_nothing_of_the_hosts_own_environment() {
        let inherited = ["DATABASE_URL", "TRELLIS_CREDENTIALS_MASTER_KEY", "TRELLIS_TOKEN", "PATH", "MY_TRELLIS_NAME"];
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000));
        let command = command("true", &[], Path::new("."), address, inherited.into_iter().map(OsString::from));
        let changed: Vec<(&OsStr, Option<&OsStr>)> = command.as_std().get_envs().collect();
        let expected = [
            (OsStr::new("DATABASE_URL"), None),
            (OsStr::new("PORT"), Some(OsStr::new("4000"))),
            (OsStr::new("TRELLIS_CREDENTIALS_MASTER_KEY"), None),
            (OsStr::new("TRELLIS_TOKEN"), None),
        ];
        assert_eq!(changed, expected);
    }
}
