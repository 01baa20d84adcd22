//! The server's settings: what is tuned, what may be changed, what may not.
//!
//! All of them go on the command line, which wins over `postgresql.conf` and `ALTER SYSTEM`: what is written here is
//! what runs, whatever an earlier version left in the data folder.

use std::path::Path;

use super::{EmbeddedPostgresError, socket::PORT};

/// The settings of a private server. Modest, as it shares the machine with the host; durable, as a 2xx means committed.
pub const TUNED: &[(&str, &str)] = &[
    // Promised to callers: an accepted event has been written and flushed.
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    // A host needs some tens; the rest is room for a second host and a person with psql.
    ("max_connections", "100"),
    // The hot tables are small: jobs come and go. What a larger share would hold, the system's page cache holds too.
    ("shared_buffers", "128MB"),
    // Fewer checkpoints, so fewer full page images on the insert-once, delete-once tables.
    ("max_wal_size", "2GB"),
    ("checkpoint_timeout", "15min"),
    // Run history compresses well, and the log is what a commit waits for.
    ("wal_compression", "on"),
    // Every statement is short: compiling one would cost more than it saves.
    ("jit", "off"),
    // The queue's tables turn over within seconds; per-table thresholds are set where the tables are made.
    ("autovacuum_naptime", "10s"),
    // The same clock in all logs, and no dependency on the machine's zone files.
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] "),
    // A line per checkpoint says nothing to someone who looks for the reason of a failure.
    ("log_checkpoints", "off"),
];

const PRIVATE: &str = "the private server listens on its own socket only";
const PLACE: &str = "trellis decides where the data lies";

/// Settings that keep the server private and its data in place.
const FIXED: [(&str, &str); 9] = [
    ("listen_addresses", PRIVATE),
    ("port", PRIVATE),
    ("unix_socket_directories", PRIVATE),
    ("unix_socket_permissions", PRIVATE),
    ("hba_file", PRIVATE),
    ("ident_file", PRIVATE),
    ("data_directory", PLACE),
    ("config_file", PLACE),
    ("external_pid_file", PLACE),
];

/// The server's command line, without the program and the data folder.
pub(super) fn arguments(socket: &Path, extra: &[(String, String)]) -> Result<Vec<String>, EmbeddedPostgresError> {
    let socket = socket.to_string_lossy();
    let port = PORT.to_string();
    let fixed = [
        ("listen_addresses", ""),
        ("port", port.as_str()),
        ("unix_socket_directories", socket.as_ref()),
        ("unix_socket_permissions", "0700"),
    ];
    extra.iter().try_for_each(|(name, _)| check_setting(name))?;
    let extra = extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = TUNED.iter().copied().chain(extra).chain(fixed);
    Ok(all.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect())
}

fn check_setting(name: &str) -> Result<(), EmbeddedPostgresError> {
    let refused = |reason| Err(EmbeddedPostgresError::Setting { name: name.to_owned(), reason });
    // Postgres takes setting names in any case.
    if let Some((_, reason)) = FIXED.iter().find(|(fixed, _)| fixed.eq_ignore_ascii_case(name)) {
        return refused(reason);
    }
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
    if is_name { Ok(()) } else { refused("it is no setting's name") }
}

/// The name goes into a URL and to `createdb`: nothing that would need quoting.
pub(super) fn check_database_name(name: &str) -> Result<(), EmbeddedPostgresError> {
    let first_fits = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest_fits = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match first_fits && rest_fits && name.len() <= 63 {
        true => Ok(()),
        false => Err(EmbeddedPostgresError::DatabaseName(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(name: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), "x".to_owned())]
    }

    #[test]
    fn extra_settings_come_after_the_tuned_and_before_the_fixed_ones() {
        let arguments = arguments(Path::new("/s"), &extra("shared_buffers")).expect("it may be changed");
        let at = |text: &str| arguments.iter().position(|argument| argument == text).expect(text);
        assert!(at("shared_buffers=128MB") < at("shared_buffers=x"));
        assert!(at("shared_buffers=x") < at("listen_addresses="));
    }

    #[test]
    fn settings_that_keep_the_server_private_are_refused() {
        for name in ["listen_addresses", "Listen_Addresses", "port", "hba_file", "data_directory", "", "a b", "a=b"] {
            assert!(arguments(Path::new("/s"), &extra(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_database_name_needs_no_quoting() {
        for name in ["trellis", "_a1", &"a".repeat(63)] {
            check_database_name(name).expect(name);
        }
        for name in ["", "1a", "A", "a-b", "a b", "a\"", &"a".repeat(64)] {
            assert!(check_database_name(name).is_err(), "{name:?}");
        }
    }
}
