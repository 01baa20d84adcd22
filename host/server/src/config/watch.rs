//! Who waits for runs and who watches them: how many, and how long.

use std::time::Duration;

use super::Section;

/// Limits of requests that wait for a run's outcome, and of streams of a run's events.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// How long a request may wait for the outcome of a run, whatever its trigger or its `Prefer` says. Default 30 s: the wall
    /// time of a call. A second before `http.request_timeout` it is told 202 in any case.
    pub wait_max: Duration,
    /// Requests that wait at the same time; more are told 202 at once. Default 512: half of the requests that a host answers
    /// at the same time, so that those who wait leave room for those who do not.
    pub waits_max: u32,
    /// The same for one account. Default 128: a quarter.
    pub account_waits_max: u32,
    /// Streams of events at the same time. Default 1,024: a connection and some ten KiB each, a quarter of all connections.
    pub streams_max: u32,
    /// The same for one account. Default 64: every person who looks, and their dashboards.
    pub account_streams_max: u32,
    /// Between two signs of life in a stream in which nothing happens. Default 15 s: under the idle time of any proxy.
    pub heartbeat: Duration,
    /// How long a stream lasts; its reader goes on with another, perhaps through another host. Default 10 min.
    pub stream_max: Duration,
}

impl WatchConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            wait_max: section.setting_in("wait_max", 30 * second, second..=3_600 * second),
            waits_max: section.setting_in("waits_max", 512, 0..=1_000_000),
            account_waits_max: section.setting_in("account_waits_max", 128, 0..=1_000_000),
            streams_max: section.setting_in("streams_max", 1_024, 0..=1_000_000),
            account_streams_max: section.setting_in("account_streams_max", 64, 0..=1_000_000),
            heartbeat: section.setting_in("heartbeat", 15 * second, second..=300 * second),
            stream_max: section.setting_in("stream_max", 600 * second, second..=86_400 * second),
        }
    }
}
