//! What one call of a transformer may use at most, and how many there may be at once.

use std::time::Duration;

use trellis_model::call_limits::CallLimits;

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
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().expect("bounded by a day when it was read")
}
