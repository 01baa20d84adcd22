//! What one call of a transformer may use at most, and how many there may be at once.

use std::time::Duration;

use trellis_model::call_limits::{CallLimits, STORAGE_KEY_BYTES_HIGHEST, STORAGE_TTL_MS_HIGHEST};

use super::{ByteSize, Section};

/// Limits of the sandbox. Accounts and nodes can have lower ones, never higher. The defaults, and the reasons for them,
/// are those of [`CallLimits`].
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Linear memory of all of a component's memories together.
    pub memory: ByteSize,
    /// Time on a CPU, in milliseconds resolution.
    pub cpu: Duration,
    /// Time from call to answer, in milliseconds resolution.
    pub wall: Duration,
    /// Outgoing HTTP requests.
    pub requests: u32,
    /// Outgoing HTTP requests at the same time.
    pub requests_at_once: u32,
    /// One decoded HTTP response body.
    pub response_max: ByteSize,
    /// Logs, standard output and standard error together.
    pub log_max: ByteSize,
    /// All emissions together.
    pub output_max: ByteSize,
    /// Storage operations.
    pub storage_operations: u32,
    /// Storage writes that wait for their commit.
    pub storage_write_max: ByteSize,
    /// Keys written.
    pub storage_writes: u32,
    /// Keys read, those of lists included.
    pub storage_reads: u32,
    /// One key, or the prefix of a list.
    pub storage_key_max: ByteSize,
    /// Keys in one page of a list.
    pub storage_page_keys: u32,
    /// Values that one request for many of them answers with.
    pub storage_batch_max: ByteSize,
    /// The longest time to live of a key, in milliseconds resolution.
    pub storage_ttl_max: Duration,
    /// Events emitted to grids of the project.
    pub outbox_events: u32,
    /// Emitted events together.
    pub outbox_max: ByteSize,
    /// How many emissions may lie between an event from outside and an emitted one.
    pub outbox_hops: u32,
    /// Calls at the same time on this host. Default 256: at the full memory limit that is 16 GiB in the worst case, in
    /// practice a few hundred MiB; a call that finds no free place waits.
    pub instances_max: u32,
}

impl SandboxConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let standard = CallLimits::default();
        let (ms, hour) = (Duration::from_millis(1), Duration::from_secs(3_600));
        let (kib, mib, gib) = (ByteSize::kib(1), ByteSize::mib(1), ByteSize::gib(1));
        let config = Self {
            // 4 GiB is all that a 32-bit memory can address.
            memory: section.setting_in("memory", ByteSize(standard.memory_bytes), mib..=ByteSize::gib(4)),
            cpu: section.setting_in("cpu", Duration::from_millis(standard.cpu_ms), ms..=hour),
            wall: section.setting_in("wall", Duration::from_millis(standard.wall_ms), 10 * ms..=24 * hour),
            requests: section.setting_in("requests", standard.requests, 0..=100_000),
            requests_at_once: section.setting_in("requests_at_once", standard.requests_at_once, 1..=1_000),
            response_max: section.setting_in("response_max", ByteSize(standard.response_bytes), kib..=gib),
            log_max: section.setting_in("log_max", ByteSize(standard.log_bytes), ByteSize(0)..=ByteSize::mib(64)),
            output_max: section.setting_in("output_max", ByteSize(standard.output_bytes), kib..=ByteSize::mib(256)),
            storage_operations: section.setting_in("storage_operations", standard.storage_operations, 0..=1_000_000),
            storage_write_max: section.setting_in(
                "storage_write_max",
                ByteSize(standard.storage_write_bytes),
                kib..=ByteSize::mib(256),
            ),
            storage_writes: section.setting_in("storage_writes", standard.storage_writes, 0..=100_000),
            storage_reads: section.setting_in("storage_reads", standard.storage_reads, 0..=100_000),
            storage_key_max: section.setting_in(
                "storage_key_max",
                ByteSize(standard.storage_key_bytes.into()),
                ByteSize(1)..=ByteSize(STORAGE_KEY_BYTES_HIGHEST.into()),
            ),
            storage_page_keys: section.setting_in("storage_page_keys", standard.storage_page_keys, 1..=100_000),
            storage_batch_max: section.setting_in(
                "storage_batch_max",
                ByteSize(standard.storage_batch_bytes),
                kib..=ByteSize::mib(256),
            ),
            storage_ttl_max: section.setting_in(
                "storage_ttl_max",
                Duration::from_millis(standard.storage_ttl_ms),
                ms..=Duration::from_millis(STORAGE_TTL_MS_HIGHEST),
            ),
            outbox_events: section.setting_in("outbox_events", standard.outbox_events, 0..=10_000),
            outbox_max: section.setting_in("outbox_max", ByteSize(standard.outbox_bytes), kib..=ByteSize::mib(64)),
            outbox_hops: section.setting_in("outbox_hops", standard.outbox_hops, 0..=1_000),
            instances_max: section.setting_in("instances_max", 256, 1..=10_000),
        };
        if config.cpu > config.wall {
            section.conflict("cpu", "it is more than the wall time", "lower it, or raise `sandbox.wall`");
        }
        config
    }

    /// The same as the budget of one call.
    pub fn call_limits(&self) -> CallLimits {
        CallLimits {
            memory_bytes: self.memory.0,
            cpu_ms: whole_ms(self.cpu),
            wall_ms: whole_ms(self.wall),
            requests: self.requests,
            requests_at_once: self.requests_at_once,
            response_bytes: self.response_max.0,
            log_bytes: self.log_max.0,
            output_bytes: self.output_max.0,
            storage_operations: self.storage_operations,
            storage_write_bytes: self.storage_write_max.0,
            storage_writes: self.storage_writes,
            storage_reads: self.storage_reads,
            storage_key_bytes: self.storage_key_max.0.try_into().expect("bounded when it was read"),
            storage_page_keys: self.storage_page_keys,
            storage_batch_bytes: self.storage_batch_max.0,
            storage_ttl_ms: whole_ms(self.storage_ttl_max),
            outbox_events: self.outbox_events,
            outbox_bytes: self.outbox_max.0,
            outbox_hops: self.outbox_hops,
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().expect("bounded when it was read")
}
