//! What can go wrong between the host and Postgres, sorted by who must act.

use std::fmt::Write as _;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres cannot be reached, is starting or stopping, or has no connection left: try again later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The lease ran out or the shards went to another host: drop the work, somebody else does it.
    #[error("this host no longer holds its lease")]
    Fenced,
    /// The statement was refused: a bug, or a schema that does not fit.
    #[error("the database refused a statement: {}", chain(.0))]
    Refused(#[source] sqlx::Error),
    /// Something stored cannot be read back.
    #[error("stored {what} is not readable: {reason}")]
    Unreadable { what: &'static str, reason: String },
    #[error("the schema could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The server may lose acknowledged events.
    #[error(
        "the database runs with {setting} = off and could lose acknowledged events; turn it on, or start with --allow-unsafe-durability"
    )]
    UnsafeDurability { setting: &'static str },
    #[error("the database is PostgreSQL {found}; {least} or newer is needed")]
    TooOld { found: String, least: u32 },
    #[error("all {0} host numbers are taken by live hosts")]
    NoHostNumber(u16),
}

impl StoreError {
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether what was to be stored is at fault, and would be again: a value out of range, a key that exists, too much.
    pub fn is_of_the_data(&self) -> bool {
        self.has_class(&["22", "23", "54"])
    }

    /// Whether a key exists already.
    pub fn is_duplicate(&self) -> bool {
        self.has_class(&["23505"])
    }

    fn has_class(&self, classes: &[&str]) -> bool {
        let Self::Refused(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
    }

    pub(crate) fn unreadable(what: &'static str, error: impl std::fmt::Display) -> Self {
        Self::Unreadable { what, reason: error.to_string() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_transient(&error) { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

/// SQLSTATE classes: 08 connection, 53 out of resources, 57 operator intervention (a cancelled statement too), 40 rolled
/// back by the server, 55P03 a lock that was not to be had, 25 a transaction's state (timed out, or read-only on a standby
/// before its promotion).
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["08", "25", "40", "53", "55P03", "57"].iter().any(|class| code.starts_with(class))),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // The server went away in the middle of a message.
        sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}

fn chain(error: &sqlx::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        source = error.source();
    }
    text
}
