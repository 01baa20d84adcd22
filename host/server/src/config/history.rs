//! History: how often a host looks for what has had its time. What is kept, and for how long, is set per account.

use std::time::Duration;

use super::Section;

/// Housekeeping of history.
#[derive(Clone, Debug)]
pub struct HistoryConfig {
    /// How often old runs and expired entries are looked for. Default 1 h: whole days are dropped, so that a look finds
    /// little, and a change of an account's days is heeded within the hour.
    pub housekeeping: Duration,
}

impl HistoryConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        Self { housekeeping: section.setting_in("housekeeping", 3_600 * second, second..=86_400 * second) }
    }
}
