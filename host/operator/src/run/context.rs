//! What every run of this host shares.

use std::sync::Arc;

use tokio::sync::Semaphore;
use trellis_engine::Engine;
use trellis_model::{Queue, run_limits::RunLimits, window::AccountLimits};
use trellis_store::Database;

use super::{Callee, Conflicts};
use crate::{
    call_budgets::CallBudgets, cancellations::Cancellations, catalog::Catalog, claims::Claims, clock::Clock,
    committer::Committer, lease::Lease, limiter::Limiter, slots::Slots, spreads::Spreads, targets::Targets,
    vault::Vault,
};

pub struct RunContext {
    pub database: Database,
    pub engine: Engine,
    pub callee: Callee,
    pub catalog: Arc<Catalog>,
    pub limiter: Limiter,
    pub spreads: Arc<Spreads>,
    pub slots: Slots,
    pub targets: Targets,
    pub vault: Vault,
    pub committer: Committer,
    pub conflicts: Conflicts,
    pub claims: Arc<Claims>,
    /// Held by the suspect that is running; see [`trellis_model::run::LOST_HOSTS_SUSPECT`].
    pub suspects: Semaphore,
    pub cancellations: Arc<Cancellations>,
    pub lease: Arc<Lease>,
    pub clock: Clock,
    /// What one call of each account may use; a node can lower it.
    pub budgets: Arc<CallBudgets>,
    /// What a run may hold back before it is committed in the middle.
    pub run_limits: RunLimits,
}

impl RunContext {
    /// What an operator has set for an account.
    pub fn limits(&self, queue: Queue) -> AccountLimits {
        self.limiter.limits(queue.account)
    }

    /// How many modules a queue may have running at once; none: as many as there is room for.
    pub fn running_max(&self, queue: Queue) -> Option<u32> {
        self.limits(queue).running_max.map(|most| queue.share_of(most, self.spreads.of(queue.account)))
    }
}
