//! Fake targets: they have no room for as long as a test says. No time passes for that.

use std::time::Duration;

use trellis_engine::{Passage, Patience, TargetFull, TargetGate};
use trellis_model::manifest::TargetHosts;
use url::Url;

/// A target that has no room.
#[derive(Clone, Debug)]
pub(crate) struct FullTarget {
    pub hosts: TargetHosts,
    pub wait: Duration,
}

/// The targets of one call.
pub(crate) struct FakeTargets(pub Vec<FullTarget>);

#[async_trait::async_trait]
impl TargetGate for FakeTargets {
    /// A call that can be suspended is; one that has changed something waits, if it has the time.
    async fn pass(&self, url: &Url, patience: Patience) -> Result<Option<Box<dyn Passage>>, TargetFull> {
        let Some(target) = self.0.iter().find(|target| target.hosts.matches(url)) else { return Ok(None) };
        if !patience.can_suspend && target.wait <= patience.longest {
            return Ok(None);
        }
        Err(TargetFull {
            target: target.hosts.to_string(),
            host: url.host_str().unwrap_or_default().to_owned(),
            wait: target.wait,
            until_ms: i64::try_from(target.wait.as_millis()).unwrap_or(i64::MAX),
        })
    }
}
