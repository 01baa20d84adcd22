//! A private Postgres for a host that was given no database: found among the installed binaries, started in a data
//! folder, reachable through a Unix socket that only its own user can open, gone when the host is gone.
//!
//! Deliberately does not know what is stored in it, and speaks no SQL: it hands out a connection URL.
//!
//! ```text
//! wanted folder/                    or /var/lib/trellis/<name>-<hash>/ when root's choice of user cannot get there
//!   host.lock        held while a host uses the folder, with its process id
//!   data/            what initdb made (PGDATA); appears whole or not at all
//!   socket/          0700; or a short directory below /tmp, named in `socket-directory`
//!   postgres.log     what the server said; the last file is kept as postgres.log.1
//! ```

mod error;
mod settings;

mod binaries;
mod folder;
mod former;
mod log;
mod run_as;
mod server;
mod socket;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use error::EmbeddedPostgresError;
pub use settings::TUNED;

use self::{
    binaries::{Binaries, SearchPlaces},
    folder::Folder,
    server::{Patience, Server},
    socket::SocketDirectory,
};

/// The role that owns everything. Trust in the socket's directory stands in for a password.
const ROLE: &str = "trellis";

/// How to start a private Postgres.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The folder for the data and everything around it. Made when missing; an existing one must be empty or ours.
    pub data_dir: PathBuf,
    /// The database to connect to, created when missing: a lower-case letter or `_`, then also digits, 63 at most.
    pub database: String,
    /// Server settings laid over [`TUNED`]; those that keep the server private cannot be changed.
    pub extra_settings: Vec<(String, String)>,
    /// Use the programs in this directory and look nowhere else (`TRELLIS_POSTGRES_BIN`).
    pub binaries_dir: Option<PathBuf>,
    /// How long the server may take until it answers. Default 60 s: replaying the log after a crash takes its time.
    pub ready_timeout: Duration,
    /// How long a shutdown may take before it is made an immediate one, which loses nothing but makes the next start
    /// replay the log. In whole seconds; default 30 s.
    pub shutdown_grace: Duration,
}

impl StartOptions {
    /// The usual options: a database called `trellis`, no extra settings, binaries as installed.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            database: "trellis".to_owned(),
            extra_settings: Vec::new(),
            binaries_dir: None,
            ready_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// A running private Postgres. [`EmbeddedPostgres::stop`] it when the host has drained; dropping it also makes the
/// server end (as does the host's death in any form), but nobody waits for that then.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    url: String,
    version: String,
    server: Server,
    socket: SocketDirectory,
    // Last, so that the folder is free only when all else is let go.
    folder: Folder,
}

impl EmbeddedPostgres {
    /// Starts the server and waits until it accepts connections. Makes the data folder on first use.
    ///
    /// When a former host was killed, its server may still be shutting down: that is waited for, up to 30 s.
    ///
    /// # Errors
    /// [`EmbeddedPostgresError`]: no usable binaries, a folder that is in use or not usable, or a server that does not
    /// come up, with the end of its log.
    pub async fn start(options: StartOptions) -> Result<Self, EmbeddedPostgresError> {
        settings::check_database_name(&options.database)?;
        let folder = Folder::open(&options.data_dir).await?;
        let places = SearchPlaces::of_this_machine(options.binaries_dir.clone());
        let binaries = Binaries::find(&places, &folder).await?;
        folder.initialise(&binaries).await?;
        let socket = SocketDirectory::prepare(&folder)?;
        let settings = settings::arguments(socket.path(), &options.extra_settings)?;
        let patience = Patience { ready: options.ready_timeout, shutdown: options.shutdown_grace };
        let server = Server::start(&folder, &binaries, &socket, &settings, patience).await?;
        server::ensure_database(&folder, &binaries, &socket, &options.database).await?;
        let url = socket.url(&options.database, ROLE);
        tracing::info!(folder = %folder.root().display(), version = %binaries.version, "private Postgres started");
        Ok(Self { url, version: binaries.version, server, socket, folder })
    }

    /// Where to connect: `postgres:///trellis?host=…&port=…&user=trellis&sslmode=disable`, without any secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder that is really used: not the wanted one if that cannot be reached by the server's user.
    pub fn folder(&self) -> &Path {
        self.folder.root()
    }

    /// The server's version, such as `15.14`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Waits until the server ends by itself, which it should not; answers with the reason as far as its log tells.
    /// Cancel safe: of use in a `select!` beside the host's own work.
    pub async fn ended(&mut self) -> EmbeddedPostgresError {
        self.server.ended().await
    }

    /// Ends the server: open transactions are rolled back, everything committed is on disk. Waits until it is gone.
    ///
    /// # Errors
    /// [`EmbeddedPostgresError::StopTimeout`] if it does not go, [`EmbeddedPostgresError::Ended`] if it went badly.
    pub async fn stop(self) -> Result<(), EmbeddedPostgresError> {
        self.server.stop().await?;
        self.socket.remove();
        tracing::info!(folder = %self.folder.root().display(), "private Postgres stopped");
        Ok(())
    }
}
