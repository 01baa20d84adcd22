//! Waiting for something to become true, for a bounded time, with a message that says what was waited for.

use std::time::{Duration, Instant};

/// Longer than anything takes on a slow and busy machine.
const LONGEST: Duration = Duration::from_secs(90);
const POLL_FIRST: Duration = Duration::from_millis(10);
const POLL_LONGEST: Duration = Duration::from_millis(250);

/// Looks again and again until there is something to be seen.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(LONGEST, what, look).await
}

pub async fn eventually_within<T>(longest: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let (begun, mut pause) = (Instant::now(), POLL_FIRST);
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < longest, "waited {} s in vain: {what}", longest.as_secs());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(POLL_LONGEST);
    }
}
