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
    /// How long the database may take to commit events before their senders are told 503. Default 10 s: well below the
    /// time after which most senders give up by themselves.
    pub ingest_timeout: Duration,
    /// For how long the keys of events are remembered, by which repeats are recognised. Default 24 h: longer than senders
    /// of webhooks try again.
    pub dedupe_retention: Duration,
}

impl QueueConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        Self {
            lease: section.setting_in("lease", 10 * second, 2 * second..=300 * second),
            runs_max: section.setting_in("runs_max", 1_000, 1..=100_000),
            ingest_timeout: section.setting_in("ingest_timeout", 10 * second, second..=300 * second),
            dedupe_retention: section.setting_in("dedupe_retention", 24 * hour, 60 * second..=30 * 24 * hour),
        }
    }
}
