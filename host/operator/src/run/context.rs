//! What every run of this host shares.

use std::sync::Arc;

use trellis_engine::Engine;
use trellis_model::{Queue, run_limits::RunLimits, window::AccountLimits};
use trellis_store::Database;

use super::{Callee, Conflicts, FirstPermits, Suspects};
use crate::{
    call_budgets::CallBudgets, cancellations::Cancellations, catalog::Catalog, claims::Claims, clock::Clock,
    committer::Committer, lease::Lease, limiter::Limiter, slots::Slots, targets::Targets, vault::Vault, watch::Watches,
};

pub struct RunContext {
    pub database: Database,
    pub engine: Engine,
    pub callee: Callee,
    pub catalog: Arc<Catalog>,
    pub limiter: Limiter,
    /// What of the permits that are left is spoken for.
    pub first_permits: Arc<FirstPermits>,
    pub slots: Slots,
    pub targets: Targets,
    pub vault: Vault,
    pub committer: Committer,
    pub conflicts: Conflicts,
    pub claims: Arc<Claims>,
    pub suspects: Suspects,
    pub cancellations: Arc<Cancellations>,
    pub watches: Arc<Watches>,
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
        self.limits(queue).running_max.map(|most| queue.share_of(most, self.limiter.parts(queue)))
    }
}
