//! The seam towards whoever counts a target's requests: asked before each request, told of each answer.
//!
//! Implemented by the operator, which holds all calls of an account to its targets' limits, and by the test harness, where
//! a target is full for as long as a test says. Knows neither rates nor windows.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use url::Url;

/// Lets requests to targets go when there is room.
#[async_trait::async_trait]
pub trait TargetGate: Send + Sync {
    /// Waits until a request to `url`, which grants and policy allow, may go; but no longer than the patience allows.
    /// None: no target's limit counts for this request. Dropping the future gives up the wait.
    ///
    /// # Errors
    /// There will be no room for longer than that. Told at once, not when patience has run out.
    async fn pass(&self, url: &Url, patience: Patience) -> Result<Option<Box<dyn Passage>>, TargetFull>;
}

/// How long a request can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// What is left of the call's time.
    pub longest: Duration,
    /// Whether the call can be broken off and made again later as if it had never been. Otherwise it can only wait.
    pub can_suspend: bool,
}

/// One request that was let go. Dropped when its answer was read, or never will be: its place is free then.
pub trait Passage: Send + Sync {
    /// The head of the answer is there; it may say when the next request is welcome.
    fn answered(&self, status: StatusCode, headers: &HeaderMap);
}

/// A target has no room for longer than a request can wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target `{target}` takes no request for another {} ms", wait.as_millis())]
pub struct TargetFull {
    /// The target's name.
    pub target: String,
    /// Which of its hosts; empty where all of them share one limit.
    pub host: String,
    pub wait: Duration,
    /// When that is over, Unix milliseconds, by the clock of whoever counts.
    pub until_ms: i64,
}
