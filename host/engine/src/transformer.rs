//! A component that is ready to be called: compiled, linked, and known by its description.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use trellis_model::{AccountId, call_limits::CallLimits, description::Description, grant::Grants};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::{
    bindings::PluginPre,
    call::{self, Call},
    digest::Digest,
    guest_state::GuestState,
    redaction::redaction_bytes,
    report::CallReport,
    room,
    sandbox::Sandbox,
};

/// What a component is called by.
pub(crate) enum Exports {
    Transformer(PluginPre<GuestState>),
    /// It answers requests, and has no transformer: written for any host of `wasi:http`.
    Handler(ProxyPre<GuestState>),
}

/// Can be called by any number of tasks at once; each call gets an instance of its own.
pub struct Transformer {
    pub(crate) digest: Digest,
    pub(crate) description: Arc<Description>,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Exports,
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

    /// Waits, for as long as it takes, until there is room for a call of the account within `limits`. What may not grow old
    /// meanwhile, such as open secrets, is fetched after this.
    pub async fn enter(&self, account: AccountId, limits: &CallLimits, grants: &Grants) -> Place {
        let asked = Instant::now();
        let bytes = limits.memory_bytes.saturating_add(redaction_bytes(grants));
        let room = self.sandbox.room.enter(account, bytes).await;
        Place { _room: room, queued: asked.elapsed() }
    }

    /// Calls the transformer once, in a fresh instance, and waits for nothing: `place` is one that was entered with the
    /// call's account and limits. Never fails as such: whatever goes wrong is in the report. Dropping the future ends the
    /// guest.
    pub async fn call_in(&self, place: Place, call: Call) -> CallReport {
        call::run(self, place, call).await
    }

    /// [`Transformer::enter`] and [`Transformer::call_in`], for a call that is ready before it waits.
    pub async fn call(&self, call: Call) -> CallReport {
        let place = self.enter(call.account, &call.limits, &call.grants).await;
        self.call_in(place, call).await
    }
}

/// Room for one call: an instance, and memory for as much as it may use. Dropped, it is given to the next in turn.
pub struct Place {
    _room: room::Place,
    /// How long it was waited for.
    pub(crate) queued: Duration,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("queued", &self.queued).finish_non_exhaustive()
    }
}

impl fmt::Debug for Transformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transformer").field("digest", &self.digest).finish_non_exhaustive()
    }
}
