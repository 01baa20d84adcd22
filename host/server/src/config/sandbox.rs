//! What one call of a transformer may use, and how many there may be at once.

use std::time::Duration;

use trellis_model::call_limits::{CALL_LIMITS, CallLimit, CallLimits, Unit};

use super::{
    ByteSize, machine,
    reader::{Reader, Section},
};

/// Limits of the sandbox. The sections `sandbox` and `ceiling` have the same keys, those of [`CallLimits`] with the defaults
/// and reasons that are told there: what an account has unless something else was set for it, and the most that an operator
/// can set for one.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Of accounts that have no limits of their own. They and their nodes can have lower ones.
    pub limits: CallLimits,
    /// The most that any account can have.
    pub ceilings: CallLimits,
    /// Calls at the same time on this host. Default 256: what a machine with some cores keeps busy while most of the calls
    /// wait for answers; a call that finds no free place waits.
    pub instances_max: u32,
    /// Memory of all calls together. Each reserves as much as it may use, so that none is refused what it was promised; a
    /// call that finds too little left waits. Default: half of what the machine has, from 1 GiB to 16 GiB (which is 256 calls
    /// of 64 MiB): the other half is for the host itself and its neighbours.
    pub memory_total: ByteSize,
    /// Calls that compute for longer than 10 ms, at the same time. Default: one less than the machine has cores, so that
    /// however many guests spin, one core is there for the API and for calls that are soon over.
    pub computing_max: u32,
    /// The most of both that one account may hold, in percent. Default 75: a busy account alone on a host loses little, and
    /// for all others there is room at once.
    pub account_percent: u32,
}

impl SandboxConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("sandbox");
        let limits = read_limits(&mut section, &CallLimits::default());
        if limits.cpu_ms > limits.wall_ms {
            section.conflict("cpu", "it is more than the wall time", "lower it, or raise `sandbox.wall`");
        }
        let instances_max = section.setting_in("instances_max", 256, 1..=10_000);
        let account_percent = section.setting_in("account_percent", 75, 1..=100);
        let computing_max = section.setting_in("computing_max", trellis_engine::one_core_less(), 1..=10_000);
        let (least, most) = (ByteSize::mib(1), ByteSize(1 << 44));
        let memory_total = section.setting_in("memory_total", memory_total_default(), least..=most);
        // What every account has is no more than what can be given.
        let mut standard = CallLimits::ceilings();
        for limit in CALL_LIMITS {
            let ceiling = limit.of(&standard).max(limit.of(&limits));
            limit.set(&mut standard, ceiling);
        }
        standard.memory_bytes = standard.memory_bytes.min(memory_total.0).max(limits.memory_bytes);
        let mut section = reader.section("ceiling");
        let ceilings = read_limits(&mut section, &standard);
        for limit in CALL_LIMITS.iter().filter(|limit| limit.of(&ceilings) < limit.of(&limits)) {
            let fix = format!("raise it, or lower `sandbox.{}`", limit.key);
            section.conflict(limit.key, "it is less than what every account has", fix);
        }
        if ceilings.memory_bytes > memory_total.0 {
            let mut section = reader.section("sandbox");
            let problem = "it is less than a single call may use";
            section.conflict("memory_total", problem, "raise it, or lower `sandbox.memory` and `ceiling.memory`");
        }
        Self { limits, ceilings, instances_max, computing_max, memory_total, account_percent }
    }
}

fn memory_total_default() -> ByteSize {
    /// Where the machine does not tell.
    const UNKNOWN: u64 = 8 << 30;
    let half = machine::memory_bytes().unwrap_or(UNKNOWN) / 2;
    const MIB: u64 = 1 << 20;
    ByteSize((half / MIB * MIB).clamp(ByteSize::gib(1).0, ByteSize::gib(16).0))
}

fn read_limits(section: &mut Section<'_>, standard: &CallLimits) -> CallLimits {
    let mut limits = *standard;
    for limit in CALL_LIMITS {
        limit.set(&mut limits, read_limit(section, limit, limit.of(standard)));
    }
    limits
}

fn read_limit(section: &mut Section<'_>, limit: &CallLimit, standard: u64) -> u64 {
    let (least, highest) = (limit.least, limit.highest);
    match limit.unit {
        Unit::Bytes => section.setting_in(limit.key, ByteSize(standard), ByteSize(least)..=ByteSize(highest)).0,
        Unit::Milliseconds => {
            let [standard, least, highest] = [standard, least, highest].map(Duration::from_millis);
            whole_ms(section.setting_in(limit.key, standard, least..=highest))
        }
        Unit::Count => {
            let [standard, least, highest] =
                [standard, least, highest].map(|count| u32::try_from(count).expect("counts have 32 bits"));
            section.setting_in(limit.key, standard, least..=highest).into()
        }
    }
}

fn whole_ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().expect("bounded when it was read")
}
