//! What one call of a transformer may use. Each limit has a name, a unit, a default and a reason.

use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;

/// The budget of one call. Effective limits are the smallest of the operator's, the account's and the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallLimits {
    /// Linear memory over all memories of the component, in bytes. 64 MiB: interpreted languages need 16, with room for data.
    pub memory_bytes: u64,
    /// Time the guest runs on a CPU, in milliseconds. 2 s: real work, but a spinning guest is soon gone.
    pub cpu_ms: u64,
    /// Time from call to answer, in milliseconds, waiting included. 30 s: longer than any sane HTTP deadline.
    pub wall_ms: u64,
    /// Outgoing HTTP requests. 50: paging through an API, not crawling it.
    pub requests: u32,
    /// Outgoing HTTP requests at the same time. 6: what browsers allow themselves per host.
    pub requests_at_once: u32,
    /// One decoded HTTP response body, in bytes. 8 MiB.
    pub response_bytes: u64,
    /// Log messages, standard output and standard error together, in bytes. 256 KiB: what a person could still read.
    pub log_bytes: u64,
    /// All emissions together, in bytes. 1 MiB: outputs are stored with the run.
    pub output_bytes: u64,
    /// Storage operations. 1,000: bounds one commit.
    pub storage_operations: u32,
    /// Bytes of storage writes that wait for their commit. 4 MiB: bounds one commit.
    pub storage_write_bytes: u64,
    /// Keys written. 1,000: bounds one commit.
    pub storage_writes: u32,
    /// Keys read, those of lists included: the versions that the commit has to compare. 10,000: ten full pages.
    pub storage_reads: u32,
    /// One key, or the prefix of a list, in bytes. 512: fits an index page of the database several times over.
    pub storage_key_bytes: u32,
    /// Keys in one page of a list. 1,000: half a mebibyte of the longest ones.
    pub storage_page_keys: u32,
    /// Values that one request for many of them answers with, in bytes. 8 MiB: the host's memory holds them all at once.
    pub storage_batch_bytes: u64,
    /// The longest time to live of a key, in milliseconds. 3,650 days: longer than an entry with an end is good for, and a
    /// time that the database can still tell.
    pub storage_ttl_ms: u64,
    /// Events emitted to grids of the project. 100: fanning out a page of results, not a table.
    pub outbox_events: u32,
    /// Emitted events together, in bytes. 1 MiB: as much as one event from outside may have.
    pub outbox_bytes: u64,
    /// How many emissions may lie between an event from outside and an emitted one. 16: more than a sane project chains,
    /// and an end for grids that emit to each other for ever.
    pub outbox_hops: u32,
}

/// The longest key that any host can be set to accept, in bytes: with its store's name it must fit the index of the
/// database, which takes 2,704.
pub const STORAGE_KEY_BYTES_HIGHEST: u32 = 2_048;

/// The longest time to live that any host can be set to accept, in milliseconds: 3,650 days.
pub const STORAGE_TTL_MS_HIGHEST: u64 = 3_650 * 86_400_000;

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * MIB,
            cpu_ms: 2_000,
            wall_ms: 30_000,
            requests: 50,
            requests_at_once: 6,
            response_bytes: 8 * MIB,
            log_bytes: 256 * 1024,
            output_bytes: MIB,
            storage_operations: 1_000,
            storage_write_bytes: 4 * MIB,
            storage_writes: 1_000,
            storage_reads: 10_000,
            storage_key_bytes: 512,
            storage_page_keys: 1_000,
            storage_batch_bytes: 8 * MIB,
            storage_ttl_ms: STORAGE_TTL_MS_HIGHEST,
            outbox_events: 100,
            outbox_bytes: MIB,
            outbox_hops: 16,
        }
    }
}

impl CallLimits {
    /// The budget of `describe` at upload: no I/O is linked to anything, and a description is small.
    pub fn for_describe() -> Self {
        Self { cpu_ms: 1_000, wall_ms: 5_000, requests: 0, storage_operations: 0, outbox_events: 0, ..Self::default() }
    }

    /// The smaller of two budgets, limit by limit.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            cpu_ms: self.cpu_ms.min(other.cpu_ms),
            wall_ms: self.wall_ms.min(other.wall_ms),
            requests: self.requests.min(other.requests),
            requests_at_once: self.requests_at_once.min(other.requests_at_once),
            response_bytes: self.response_bytes.min(other.response_bytes),
            log_bytes: self.log_bytes.min(other.log_bytes),
            output_bytes: self.output_bytes.min(other.output_bytes),
            storage_operations: self.storage_operations.min(other.storage_operations),
            storage_write_bytes: self.storage_write_bytes.min(other.storage_write_bytes),
            storage_writes: self.storage_writes.min(other.storage_writes),
            storage_reads: self.storage_reads.min(other.storage_reads),
            storage_key_bytes: self.storage_key_bytes.min(other.storage_key_bytes),
            storage_page_keys: self.storage_page_keys.min(other.storage_page_keys),
            storage_batch_bytes: self.storage_batch_bytes.min(other.storage_batch_bytes),
            storage_ttl_ms: self.storage_ttl_ms.min(other.storage_ttl_ms),
            outbox_events: self.outbox_events.min(other.outbox_events),
            outbox_bytes: self.outbox_bytes.min(other.outbox_bytes),
            outbox_hops: self.outbox_hops.min(other.outbox_hops),
        }
    }
}
