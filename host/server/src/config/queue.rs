//! The queue: how long a shard is leased, how much is moved at a time.

use std::time::Duration;

use super::Section;

/// Sizes and times of the leased-shard queue.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// For how long a host owns a shard without renewing. Default 10 s: a killed host's work resumes after at most
    /// that, and a renewal every fourth of it survives a hiccup of the database. The same on all hosts of a database.
    pub lease: Duration,
    /// Runs that this host works on at the same time, those included that wait for an answer from outside. Default 1,000:
    /// calls in parallel are bounded by `sandbox.instances_max`, this bounds the memory of all runs.
    pub runs_max: u32,
}

impl QueueConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            lease: section.setting_in("lease", 10 * second, 2 * second..=300 * second),
            runs_max: section.setting_in("runs_max", 1_000, 1..=100_000),
        }
    }
}
