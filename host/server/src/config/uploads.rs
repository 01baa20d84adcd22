//! Uploads of plugins: how many are received at a time, and what compiling one may cost.

use std::time::Duration;

use trellis_engine::UploadLimits;
use trellis_model::call_limits::CallLimits;

use super::{ByteSize, Section};

/// Limits of uploads. What a component may be and what compiling it may take has its defaults, and the reasons for them, in
/// [`UploadLimits`]; how large the body may be is `http.upload_max`, how slow it may be `http.body_timeout` and
/// `http.body_rate_min`.
#[derive(Clone, Debug)]
pub struct UploadsConfig {
    /// Uploads that are received, compiled and stored at the same time. Default 8: at the largest size that is half a
    /// gibibyte of memory.
    pub at_once: u32,
    /// Those among them that are one account's. Default 2: four accounts that send a byte a second, or one bomb after
    /// another, take up no more than their own part.
    pub account_at_once: u32,
    /// Uploads that wait for their turn, of all accounts. Default 64: each holds a connection; more are told 503 at once.
    pub waiting_max: u32,
    /// How long an upload waits for its turn before it is told 503. Default 10 s: what is left of the minute that a request
    /// may take is for receiving and compiling.
    pub wait: Duration,
    /// Projects of one account. Default 1,000: one for each customer of a fair business, and a list that a host still loads
    /// at its start in no time.
    pub account_projects_max: u32,
    /// Functions in one component.
    pub functions_max: u32,
    /// The body of one function.
    pub function_max: ByteSize,
    /// Modules and components in one component.
    pub parts_max: u32,
    /// How deep they may lie in one another.
    pub parts_depth: u32,
    /// Imports of a component, and exports.
    pub names_max: u32,
    /// Uploads that are compiled at the same time.
    pub compiles_at_once: u32,
    /// Data that compiling one component may take.
    pub compile_memory: ByteSize,
    /// Time on all CPUs together that compiling one component may take, in seconds resolution.
    pub compile_cpu: Duration,
    /// Time that compiling one component may take from beginning to end.
    pub compile_wall: Duration,
    /// Machine code of one component.
    pub code_max: ByteSize,
    /// Linear memory of a component while it describes itself.
    pub describe_memory: ByteSize,
    /// Its time on a CPU, in milliseconds resolution.
    pub describe_cpu: Duration,
    /// Its time from call to answer, in milliseconds resolution.
    pub describe_wall: Duration,
}

impl UploadsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let standard = UploadLimits::default();
        let (ms, second, hour) = (Duration::from_millis(1), Duration::from_secs(1), Duration::from_secs(3_600));
        let (kib, mib) = (ByteSize::kib(1), ByteSize::mib(1));
        let describe = standard.describe;
        let config = Self {
            at_once: section.setting_in("at_once", 8, 1..=1_000),
            account_at_once: section.setting_in("account_at_once", 2, 1..=1_000),
            account_projects_max: section.setting_in("account_projects_max", 1_000, 1..=1_000_000),
            waiting_max: section.setting_in("waiting_max", 64, 0..=100_000),
            wait: section.setting_in("wait", 10 * second, Duration::ZERO..=hour),
            functions_max: section.setting_in("functions_max", standard.functions, 1..=1_000_000),
            function_max: section.setting_in(
                "function_max",
                ByteSize(standard.function_bytes),
                kib..=ByteSize::mib(64),
            ),
            parts_max: section.setting_in("parts_max", standard.parts, 1..=1_000),
            parts_depth: section.setting_in("parts_depth", standard.parts_depth, 1..=100),
            names_max: section.setting_in("names_max", standard.names, 1..=100_000),
            compiles_at_once: section.setting_in("compiles_at_once", standard.compiles_at_once, 1..=64),
            // With less the compiler itself does not start.
            compile_memory: section.setting_in(
                "compile_memory",
                ByteSize(standard.compile_memory_bytes),
                ByteSize::mib(64)..=ByteSize::gib(64),
            ),
            compile_cpu: section.setting_in("compile_cpu", standard.compile_cpu, second..=hour),
            compile_wall: section.setting_in("compile_wall", standard.compile_wall, second..=hour),
            code_max: section.setting_in("code_max", ByteSize(standard.code_bytes), mib..=ByteSize::gib(4)),
            describe_memory: section.setting_in(
                "describe_memory",
                ByteSize(describe.memory_bytes),
                mib..=ByteSize::gib(4),
            ),
            describe_cpu: section.setting_in("describe_cpu", Duration::from_millis(describe.cpu_ms), ms..=60 * second),
            describe_wall: section.setting_in(
                "describe_wall",
                Duration::from_millis(describe.wall_ms),
                10 * ms..=60 * second,
            ),
        };
        if config.describe_cpu > config.describe_wall {
            section.conflict(
                "describe_cpu",
                "it is more than the wall time",
                "lower it, or raise `uploads.describe_wall`",
            );
        }
        config
    }

    /// The same as the engine's limits.
    pub fn upload_limits(&self) -> UploadLimits {
        let whole_ms = |time: Duration| u64::try_from(time.as_millis()).expect("bounded when it was read");
        UploadLimits {
            functions: self.functions_max,
            function_bytes: self.function_max.0,
            parts: self.parts_max,
            parts_depth: self.parts_depth,
            names: self.names_max,
            compile_memory_bytes: self.compile_memory.0,
            compile_cpu: self.compile_cpu,
            compile_wall: self.compile_wall,
            code_bytes: self.code_max.0,
            compiles_at_once: self.compiles_at_once,
            describe: CallLimits {
                memory_bytes: self.describe_memory.0,
                cpu_ms: whole_ms(self.describe_cpu),
                wall_ms: whole_ms(self.describe_wall),
                ..CallLimits::for_describe()
            },
        }
    }
}
