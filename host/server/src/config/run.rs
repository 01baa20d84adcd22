//! What one run may hold back in this host's memory.

use trellis_model::run_limits::RunLimits;

use super::{ByteSize, Section};

/// Effects of finished nodes that wait for the run's next commit: a run that holds more is committed in the middle. The
/// defaults, and the reasons for them, are those of [`RunLimits`].
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Keys read and keys written, together.
    pub pending_keys: u32,
    /// Written values and emitted events.
    pub pending_max: ByteSize,
    /// Emitted events.
    pub pending_events: u32,
}

impl RunConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let standard = RunLimits::default();
        Self {
            pending_keys: section.setting_in("pending_keys", standard.pending_keys, 1..=1_000_000),
            pending_max: section.setting_in(
                "pending_max",
                ByteSize(standard.pending_bytes),
                ByteSize::kib(1)..=ByteSize::mib(256),
            ),
            pending_events: section.setting_in("pending_events", standard.pending_events, 1..=100_000),
        }
    }

    pub fn run_limits(&self) -> RunLimits {
        RunLimits {
            pending_keys: self.pending_keys,
            pending_bytes: self.pending_max.0,
            pending_events: self.pending_events,
        }
    }
}
