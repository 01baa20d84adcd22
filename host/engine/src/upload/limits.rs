//! What taking in one component may cost this host, from the first look to the description.
//!
//! Knows nothing of how many bytes may be sent or who sends them: that is said where uploads are received.

use std::time::Duration;

use trellis_model::call_limits::CallLimits;

const MIB: u64 = 1024 * 1024;

/// Limits of checking, compiling and describing one component.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Functions in one component, in all its parts. 300,000: the largest interpreters have about 40,000.
    pub functions: u32,
    /// The body of one function, in bytes. 4 MiB: the largest in interpreters have about 300 KiB, and compiling takes more
    /// than linear time.
    pub function_bytes: u64,
    /// Modules and components in one component. 256: a component of many languages has some dozen.
    pub parts: u32,
    /// How deep modules and components may lie in one another. 32: each round of composing adds one or two.
    pub parts_depth: u32,
    /// Imports of a component, and exports. 1,000: interpreted languages have about thirty.
    pub names: u32,
    /// Data that the compiler may hold while it works on one component, in bytes. 2 GiB: the largest interpreters take
    /// less than one.
    pub compile_memory_bytes: u64,
    /// Time that compiling one component may take on all CPUs together, in whole seconds. 60 s: four times what the largest
    /// interpreters take.
    pub compile_cpu: Duration,
    /// Time that compiling one component may take from beginning to end. 30 s: its uploader is told within the minute that
    /// a request may take.
    pub compile_wall: Duration,
    /// Machine code of one component, in bytes. 256 MiB: three times what the largest interpreters come to.
    pub code_bytes: u64,
    /// Uploads that are compiled at the same time. 2: one that takes all the time it may holds up no other. What runs need
    /// is compiled besides, one at a time.
    pub compiles_at_once: u32,
    /// What `describe` may use.
    pub describe: CallLimits,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            functions: 300_000,
            function_bytes: 4 * MIB,
            parts: 256,
            parts_depth: 32,
            names: 1_000,
            compile_memory_bytes: 2_048 * MIB,
            compile_cpu: Duration::from_secs(60),
            compile_wall: Duration::from_secs(30),
            code_bytes: 256 * MIB,
            compiles_at_once: 2,
            describe: CallLimits::for_describe(),
        }
    }
}
