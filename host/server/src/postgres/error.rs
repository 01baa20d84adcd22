//! Why there is no private Postgres, and what to do about it.

use std::{io, path::PathBuf};

/// Variants are named for what the person in front of it does next: install, choose another folder, wait, read the log.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    #[error(
        "no PostgreSQL {minimum} or newer found{found}; install it with `{install}`, name its directory of programs in \
         TRELLIS_POSTGRES_BIN, or give the address of a running server in DATABASE_URL"
    )]
    NotInstalled { minimum: u32, found: String, install: String },
    #[error("TRELLIS_POSTGRES_BIN: {} {problem}", .dir.display())]
    UnusableBinaries { dir: PathBuf, problem: String },
    #[error(
        "{} was made by PostgreSQL {made_by}, but only {found} is installed; install PostgreSQL {made_by}, move the \
         data with pg_upgrade, or choose another data folder",
        .folder.display()
    )]
    OtherVersion { folder: PathBuf, made_by: String, found: String },
    #[error("{} is in use by another trellis host{holder}; stop that one or choose another data folder", .folder.display())]
    InUse { folder: PathBuf, holder: String },
    #[error("{} holds files that are not from trellis; choose an empty or a new folder for the data", .0.display())]
    NotOurs(PathBuf),
    #[error(
        "the system user `{user}`, whom PostgreSQL runs as, cannot get into {}; let it pass (chmod o+x on the folders \
         above) or choose another data folder",
        .folder.display()
    )]
    Unreachable { folder: PathBuf, user: String },
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a system user `postgres` nor `nobody` to run it as"
    )]
    NoUnprivilegedUser,
    #[error("failed to {action} {}: {source}", .path.display())]
    Folder { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the PostgreSQL server of a former host (process {process}) still runs in {} after {waited_secs} s; it may be \
         finishing a large checkpoint: try again later, or end it with `kill -INT {process}`",
        .folder.display()
    )]
    FormerServer { folder: PathBuf, process: u32, waited_secs: u64 },
    #[error("server setting `{name}` cannot be changed here: {reason}")]
    Setting { name: String, reason: &'static str },
    #[error(
        "`{0}` cannot be the database's name; use lower-case letters, digits and `_`, not beginning with a digit, at \
         most 63"
    )]
    DatabaseName(String),
    #[error("failed to run {}: {source}", .program.display())]
    Program { program: PathBuf, source: io::Error },
    #[error("{program} failed:\n{output}")]
    ProgramFailed { program: &'static str, output: String },
    #[error("PostgreSQL did not accept connections within {waited_secs} s; the end of {}:\n{tail}", .log.display())]
    NotReady { waited_secs: u64, log: PathBuf, tail: String },
    #[error("PostgreSQL ended ({status}); the end of {}:\n{tail}", .log.display())]
    Ended { status: String, log: PathBuf, tail: String },
    #[error("PostgreSQL did not end within {waited_secs} s; the end of {}:\n{tail}", .log.display())]
    StopTimeout { waited_secs: u64, log: PathBuf, tail: String },
}

impl EmbeddedPostgresError {
    /// An adapter for `map_err` on what is done to files.
    pub(super) fn folder(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Folder { action, path, source }
    }
}
