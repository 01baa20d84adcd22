//! A component that is ready to be called: compiled, linked, and known by its description.

use std::{fmt, sync::Arc, time::Duration};

use trellis_model::description::Description;

use crate::{
    bindings::PluginPre,
    call::{self, Call},
    digest::Digest,
    guest_state::GuestState,
    report::CallReport,
    sandbox::Sandbox,
};

/// Can be called by any number of tasks at once; each call gets an instance of its own.
pub struct Transformer {
    pub(crate) digest: Digest,
    pub(crate) description: Arc<Description>,
    pub(crate) imports: Vec<String>,
    pub(crate) plugin: PluginPre<GuestState>,
    pub(crate) sandbox: Arc<Sandbox>,
    /// Machine code, in bytes.
    pub(crate) code_bytes: u64,
    /// How long it took to compile and describe it, whenever that was.
    pub(crate) build_time: Duration,
}

impl Transformer {
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// Interfaces that the component imports: the most that it may need.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Calls the transformer once, in a fresh instance. Waits while all slots of the engine are taken; the call's time
    /// begins when it has one. Never fails as such: whatever goes wrong is in the report. Dropping the future ends the
    /// guest.
    pub async fn call(&self, call: Call) -> CallReport {
        call::run(self, call).await
    }
}

impl fmt::Debug for Transformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformer").field("digest", &self.digest).finish_non_exhaustive()
    }
}
