//! What one run may hold in this host's memory.

use trellis_model::{manifest::ELEMENTS_HIGHEST, run_limits::RunLimits};

use super::{ByteSize, Section};

/// Effects of finished nodes that wait for the run's next commit: a run that holds more is committed in the middle. And how
/// much the elements of one node with `each` may come to. The
/// defaults, and the reasons for them, are those of [`RunLimits`].
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Keys read and keys written, together.
    pub pending_keys: u32,
    /// Written values and emitted events.
    pub pending_max: ByteSize,
    /// Emitted events.
    pub pending_events: u32,
    /// Elements of one node with `each`.
    pub elements_max: u32,
    /// Outputs of all elements of one node with `each`.
    pub elements_output_max: ByteSize,
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
            elements_max: section.setting_in("elements_max", standard.elements, 1..=ELEMENTS_HIGHEST),
            elements_output_max: section.setting_in(
                "elements_output_max",
                ByteSize(standard.elements_output_bytes),
                ByteSize::kib(1)..=ByteSize::mib(64),
            ),
        }
    }

    pub fn run_limits(&self) -> RunLimits {
        RunLimits {
            pending_keys: self.pending_keys,
            pending_bytes: self.pending_max.0,
            pending_events: self.pending_events,
            elements: self.elements_max,
            elements_output_bytes: self.elements_output_max.0,
        }
    }
}
