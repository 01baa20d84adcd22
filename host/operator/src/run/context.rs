//! What every run of this host shares.

use std::sync::Arc;

use trellis_engine::Engine;
use trellis_model::{call_limits::CallLimits, run_limits::RunLimits};
use trellis_store::Database;

use super::Callee;
use crate::{
    cancellations::Cancellations, catalog::Catalog, claims::Claims, clock::Clock, committer::Committer, lease::Lease,
    limiter::Limiter,
};

pub struct RunContext {
    pub database: Database,
    pub engine: Engine,
    pub callee: Callee,
    pub catalog: Arc<Catalog>,
    pub limiter: Limiter,
    pub committer: Committer,
    pub claims: Arc<Claims>,
    pub cancellations: Arc<Cancellations>,
    pub lease: Arc<Lease>,
    pub clock: Clock,
    /// The operator's limits of one call; a node can lower them.
    pub call_limits: CallLimits,
    /// What a run may hold back before it is committed in the middle.
    pub run_limits: RunLimits,
}
