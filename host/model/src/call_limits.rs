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
}

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
        }
    }
}

impl CallLimits {
    /// The budget of `describe` at upload: no I/O is linked to anything, and a description is small.
    pub fn for_describe() -> Self {
        Self { cpu_ms: 1_000, wall_ms: 5_000, requests: 0, storage_operations: 0, ..Self::default() }
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
        }
    }
}
