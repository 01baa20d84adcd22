//! Shadow runs and fixtures: how much of looking at old runs once more there may be.

use std::time::Duration;

use trellis_operator::run::shadow::ShadowLimits;

use super::{ByteSize, Section};

/// Limits of shadow runs and fixtures. The defaults of the former, and the reasons for them, are those of [`ShadowLimits`].
#[derive(Clone, Debug)]
pub struct ShadowConfig {
    /// Shadow runs at the same time.
    pub at_once: u32,
    /// Of one account.
    pub account_at_once: u32,
    /// Calls of one.
    pub calls_max: u32,
    /// How long one may take. Less than `http.request_timeout`, or its answer comes to nobody.
    pub wall: Duration,
    /// What one fixture may hold. Default 16 MiB: a run with the largest event through a dozen nodes, and still a file that
    /// somebody keeps with the tests.
    pub fixture_max: ByteSize,
}

impl ShadowConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let (standard, second) = (ShadowLimits::default(), Duration::from_secs(1));
        Self {
            at_once: section.setting_in("at_once", standard.at_once, 0..=1_000),
            account_at_once: section.setting_in("account_at_once", standard.account_at_once, 1..=100),
            calls_max: section.setting_in("calls_max", standard.calls_max, 1..=10_000),
            wall: section.setting_in("wall", standard.wall, second..=3_600 * second),
            fixture_max: section.setting_in("fixture_max", ByteSize::mib(16), ByteSize::kib(1)..=ByteSize::gib(1)),
        }
    }

    pub fn limits(&self) -> ShadowLimits {
        ShadowLimits {
            at_once: self.at_once,
            account_at_once: self.account_at_once,
            calls_max: self.calls_max,
            wall: self.wall,
        }
    }
}
