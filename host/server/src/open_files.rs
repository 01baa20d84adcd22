//! How many files this process may have open: raised as far as it goes, and a host that could run out of them does not
//! start. A host without files left could not even accept the connection that it would refuse.
//!
//! Counts what the configuration allows at the same time; does not know who opens what.

use crate::config::Config;

/// Files, logs, artefacts, the runtime's own, and room for what is being closed.
const OTHERS: u64 = 256;

/// The process may open too few.
#[derive(Debug, thiserror::Error)]
#[error(
    "this process may open {allowed} files, and this configuration can need {needed}; raise the limit (`ulimit -Hn {needed}`, `LimitNOFILE={needed}` in a systemd unit), or lower `http.connections_max`"
)]
pub struct TooFewFiles {
    pub allowed: u64,
    pub needed: u64,
}

/// What a host of this configuration can have open at once: connections of clients, to the database and of guests.
pub fn needed(config: &Config) -> u64 {
    // A guest that waits holds one connection; more are within what others leave unused.
    let connections = [config.http.connections_max, config.database.connections_max, config.sandbox.instances_max];
    connections.into_iter().map(u64::from).sum::<u64>() + OTHERS
}

/// Raises the limit of open files to the most that this process is allowed.
///
/// # Errors
/// That is not enough.
#[cfg(unix)]
pub fn raise(needed: u64) -> Result<(), TooFewFiles> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None: there is no limit. macOS takes none for an answer only within the kernel's own.
    const UNLIMITED: u64 = 1 << 20;
    let wanted = maximum.unwrap_or(UNLIMITED);
    if current.is_some_and(|current| current < wanted) {
        // Not being allowed to is only bad if what there is does not do.
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        if let Err(error) = raised {
            tracing::debug!(%error, wanted, "the limit of open files was not raised");
        }
    }
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < needed => Err(TooFewFiles { allowed, needed }),
        _ => Ok(()),
    }
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
pub fn raise(_needed: u64) -> Result<(), TooFewFiles> {
    Ok(())
}
