//! Shadow runs: the calls of a run that is over, made once more on a candidate, to see what would come of it. Nothing of it
//! takes effect.
//!
//! ```text
//!   call ──► reads of storage     answered, from what is stored now
//!        ──► writes, events       counted, and dropped with the call
//!        ──► requests             refused, GET as well, and told by where they would have gone
//! ```
//!
//! A call is held to the same limits, grants and secrets as in a run, waits for the same room, and takes a permit of the
//! account: what is tried costs what it costs in earnest. It sees the time at which the event was accepted. Does not know
//! which runs and candidates there are, nor who may try them.

mod gate;
mod withheld;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use trellis_engine::{Call, CallReport, Digest, Engine, Event, ManagedData, Outcome, Secrets, WallClock};
use trellis_model::{
    AccountId, Queue, RunId,
    call_limits::CallLimits,
    description::Description,
    fixture::{self, Comparison},
    plan::{GridPlan, PlannedNode},
    run::{
        LogLine, Reason, ReasonKind, RecordedCall, RecordedRun, Uncalled, call_attributes, event_attributes,
        idempotency_key,
    },
};
use trellis_store::{Database, StoreError, notices::Notice};

use self::{gate::ShadowGate, withheld::NoRequests};
pub use self::{gate::ShadowTurn, withheld::Withheld};
use super::{
    call::log_lines,
    records::{CallRecords, RecordsSnapshot},
    storage::{CallStorage, Pending},
};
use crate::{
    call_budgets::CallBudgets,
    catalog::LoadedRevision,
    lease::Lease,
    limiter::{Limiter, Permit},
    slots::{Slots, SlotsOf},
    vault::Vault,
};

/// How much of it there may be.
#[derive(Clone, Copy, Debug)]
pub struct ShadowLimits {
    /// Shadow runs of one host at the same time.
    pub at_once: u32,
    /// Of one account.
    pub account_at_once: u32,
    /// Calls of one shadow run.
    pub calls_max: u32,
    /// How long one may take: what is not called by then is not called.
    pub wall: Duration,
}

impl Default for ShadowLimits {
    /// 4 and 1 at a time: somebody looks at each. 100 calls: more nodes than a grid has that anybody reads. 30 s: half of what
    /// a request may take.
    fn default() -> Self {
        Self { at_once: 4, account_at_once: 1, calls_max: 100, wall: Duration::from_secs(30) }
    }
}

/// Lines of a log that are told of one call. 50: the end of it is what is looked at.
const LOG_LINES_MAX: usize = 50;

/// Makes shadow runs. Cheap to clone.
#[derive(Clone)]
pub struct Shadows {
    pub(crate) database: Database,
    pub(crate) engine: Engine,
    pub(crate) limiter: Limiter,
    pub(crate) lease: Arc<Lease>,
    pub(crate) slots: Slots,
    pub(crate) vault: Vault,
    pub(crate) budgets: Arc<CallBudgets>,
    pub(crate) limits: ShadowLimits,
    pub(crate) gate: ShadowGate,
}

/// What is called in place of what was called then.
pub struct Candidate {
    pub revision: Arc<LoadedRevision>,
    pub grid: Arc<GridPlan>,
    /// Components in place of those of the revision, by the node's name.
    pub replaced: HashMap<String, ReplacedPlugin>,
}

/// A component that no revision has.
#[derive(Clone, Debug)]
pub struct ReplacedPlugin {
    pub digest: Digest,
    pub description: Arc<Description>,
}

/// What came of one node.
#[derive(Debug)]
pub struct ShadowNode {
    pub node: String,
    /// The place in the array, of a node with `each`.
    pub element: Option<u32>,
    pub comparison: Comparison,
    /// What the candidate would have done.
    pub withheld: Withheld,
    /// The end of it.
    pub log: Vec<LogLine>,
}

/// What came of a shadow run.
#[derive(Debug, Default)]
pub struct ShadowReport {
    pub called: Vec<ShadowNode>,
    pub uncalled: Vec<Uncalled>,
}

/// Why there was no shadow run.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// Over the account's limit, before the first call.
    #[error("the account is over its rate limit for another {} ms", .0.as_millis())]
    Throttled(Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why one node was not called.
enum NotCalled {
    Throttled(Duration),
    Reason(String),
}

/// Inputs of all calls of one shadow run, in bytes: they are held at once. 64 MiB: as many as sixty nodes have of the largest event.
const INPUTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One shadow run, as its calls see it.
struct Shadow<'s> {
    shadows: &'s Shadows,
    account: AccountId,
    run: RunId,
    recorded: &'s RecordedRun,
    candidate: &'s Candidate,
}

impl Shadows {
    pub(crate) fn gate(limits: ShadowLimits) -> ShadowGate {
        ShadowGate::new(limits.at_once, limits.account_at_once)
    }

    /// A turn for one shadow run; none: there are enough already.
    pub fn enter(&self, account: AccountId) -> Option<ShadowTurn> {
        self.gate.enter(account)
    }

    /// Calls the nodes of a run on a candidate, one after the other, and compares. For as long as that takes the caller
    /// holds a turn.
    ///
    /// # Errors
    /// See [`ShadowError`].
    pub async fn run(
        &self,
        account: AccountId,
        run: RunId,
        recorded: &RecordedRun,
        candidate: &Candidate,
    ) -> Result<ShadowReport, ShadowError> {
        let (calls, uncalled) = recorded.calls(&candidate.grid, INPUTS_BYTES_MAX);
        let mut report = ShadowReport { called: Vec::new(), uncalled };
        let shadow = Shadow { shadows: self, account, run, recorded, candidate };
        let end = Instant::now() + self.limits.wall;
        for (number, call) in calls.iter().enumerate() {
            let node = &candidate.grid.nodes[call.step.node];
            let left = end.saturating_duration_since(Instant::now());
            let ended = if number >= self.limits.calls_max as usize {
                Err(NotCalled::Reason(format!("a shadow run makes at most {} calls", self.limits.calls_max)))
            } else {
                let out_of_time = || NotCalled::Reason(format!("the shadow run has taken its {:?}", self.limits.wall));
                tokio::time::timeout(left, shadow.call(node, call)).await.unwrap_or_else(|_| Err(out_of_time()))
            };
            let reason = match ended {
                Ok(node) => {
                    report.called.push(node);
                    continue;
                }
                Err(NotCalled::Throttled(wait)) if report.called.is_empty() => {
                    return Err(ShadowError::Throttled(wait));
                }
                Err(NotCalled::Throttled(_)) => "the account is over its rate limit".to_owned(),
                Err(NotCalled::Reason(reason)) => reason,
            };
            report.uncalled.push(Uncalled { node: fixture::place(&node.name, call.step.element), reason });
        }
        Ok(report)
    }

    /// One instantiation of a module, counted by the owner of the account's queue: here, or told to it.
    async fn take_permit(&self, account: AccountId) -> Result<(), NotCalled> {
        let queue = Queue::home(account);
        if self.lease.epoch(queue.shard).is_some() {
            return match self.limiter.take(queue).await {
                Permit::Granted => Ok(()),
                Permit::Wait(wait) => Err(NotCalled::Throttled(wait)),
            };
        }
        let unknown =
            |error: StoreError| NotCalled::Reason(format!("the account's limits were not to be had: {error}"));
        let standing = self.limiter.standing(account).await.map_err(unknown)?;
        if !standing.wait.is_zero() {
            return Err(NotCalled::Throttled(standing.wait));
        }
        self.database.notify(&[Notice::Taken(account, queue.shard)]).await.map_err(unknown)
    }
}

impl Shadow<'_> {
    async fn call(&self, node: &PlannedNode, recorded: &RecordedCall) -> Result<ShadowNode, NotCalled> {
        let shadows = self.shadows;
        let transformer = self.transformer(node).await?;
        check_inputs(transformer.description(), recorded)?;
        let queue = Queue::home(self.account);
        let of_account = || {
            let most = shadows.limiter.limits(self.account).running_max;
            most.map(|most| queue.share_of(most, shadows.limiter.parts(queue)))
        };
        let of_grid = SlotsOf::Grid(self.candidate.revision.project, self.candidate.grid.name.clone());
        let _grid = shadows.slots.enter(of_grid, || self.candidate.grid.order.running_max).await;
        let _account = shadows.slots.enter(SlotsOf::Queue(queue), of_account).await;
        let limits = node.limits.lower(shadows.budgets.of(self.account));
        let place = transformer.enter(self.account, &limits, &node.grants).await;
        let secrets = self.secrets(node).await?;
        shadows.take_permit(self.account).await?;
        let outbound = Arc::new(NoRequests::default());
        let storage = self.storage();
        let call = self.prepare(node, recorded, limits, secrets, &outbound, &storage);
        let report = transformer.call_in(place, call).await;
        if storage.is_database_away() {
            return Err(NotCalled::Reason("the database did not answer while it was called".to_owned()));
        }
        Ok(compared(node, recorded, report, &outbound))
    }

    async fn transformer(&self, node: &PlannedNode) -> Result<Arc<trellis_engine::Transformer>, NotCalled> {
        let replaced = self.candidate.replaced.get(&node.name).map(|replaced| replaced.digest);
        let digest = replaced.or_else(|| self.candidate.revision.digest(node.plugin));
        let digest = digest.ok_or_else(|| NotCalled::Reason("its plugin does not exist any more".to_owned()))?;
        let database = self.shadows.database.clone();
        let bytes = || async move {
            let found = database.component(&digest.0).await.map_err(|error| error.to_string())?;
            found.map(bytes::Bytes::from).ok_or_else(|| "its bytes are not in the database".to_owned())
        };
        let loaded = self.shadows.engine.load_for(self.account, digest, bytes).await;
        loaded.map_err(|error| NotCalled::Reason(format!("its plugin was not loaded: {error}")))
    }

    async fn secrets(&self, node: &PlannedNode) -> Result<Arc<Secrets>, NotCalled> {
        let names = node.grants.credential_names();
        if names.is_empty() {
            return Ok(Arc::default());
        }
        let opened = self.shadows.vault.secrets(self.account, self.candidate.revision.project, &names).await;
        opened.map(|secrets| Arc::new(Secrets::new(secrets))).map_err(|error| NotCalled::Reason(error.to_string()))
    }

    /// What is stored now, for one call.
    fn storage(&self) -> Arc<CallStorage> {
        let (database, project) = (self.shadows.database.clone(), self.candidate.revision.project);
        Arc::new(CallStorage::new(database, self.account, project, Pending::default().snapshot()))
    }

    fn prepare(
        &self,
        node: &PlannedNode,
        recorded: &RecordedCall,
        limits: CallLimits,
        secrets: Arc<Secrets>,
        outbound: &Arc<NoRequests>,
        storage: &Arc<CallStorage>,
    ) -> Call {
        let (database, project) = (self.shadows.database.clone(), self.candidate.revision.project);
        let written = RecordsSnapshot::default();
        let records = CallRecords::new(database, self.account, project, written, Arc::clone(storage));
        Call {
            account: self.account,
            event: Event {
                run: self.run.to_string(),
                node: node.name.clone(),
                attempt: recorded.attempt,
                idempotency_key: idempotency_key(self.run, &node.name, recorded.step.element),
                attributes: call_attributes(&event_attributes(&self.recorded.event, self.run), recorded.step.element),
                inputs: recorded.inputs.clone(),
            },
            config: Arc::clone(&node.config),
            limits,
            grants: Arc::clone(&node.grants),
            secrets,
            storage: Arc::clone(storage) as Arc<dyn trellis_engine::Storage>,
            records: ManagedData {
                collections: Arc::clone(&self.candidate.revision.collections),
                records: Arc::new(records),
            },
            outbound: Arc::clone(outbound) as Arc<dyn trellis_engine::Outbound>,
            targets: None,
            progress: None,
            clock: Some(Arc::new(TimeOf(self.run))),
        }
    }
}

/// The time of day at which the event of a run was accepted, standing still.
struct TimeOf(RunId);

impl WallClock for TimeOf {
    fn now(&self) -> SystemTime {
        let since_epoch = u64::try_from(self.0.accepted_at_ms()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_millis(since_epoch)
    }
}

/// Whether a component takes what the node is given: another one than that which the node was deployed with may not.
fn check_inputs(description: &Description, recorded: &RecordedCall) -> Result<(), NotCalled> {
    for (port, _) in &recorded.inputs {
        if !description.inputs.contains_key(port) {
            return Err(NotCalled::Reason(format!("the candidate has no input port `{port}`")));
        }
    }
    for (port, input) in &description.inputs {
        if input.required && recorded.inputs.iter().all(|(given, _)| given != port) {
            return Err(NotCalled::Reason(format!("the candidate needs an input `{port}`, which the node has not")));
        }
    }
    Ok(())
}

fn compared(node: &PlannedNode, recorded: &RecordedCall, report: CallReport, outbound: &NoRequests) -> ShadowNode {
    let mut withheld = outbound.withheld();
    let outcome = match report.outcome {
        Outcome::Emitted(effects) => {
            withheld.writes = effects.writes.len() + effects.record_writes.len();
            withheld.events = effects.events.len();
            let ports = effects.emissions.into_iter().map(|emission| {
                let value = serde_json::from_str(emission.json.get()).expect("the engine emits only JSON");
                (emission.port, value)
            });
            fixture::Outcome::Emitted(ports.collect())
        }
        Outcome::Failed(failure) => fixture::Outcome::Failed(Reason::from(&failure)),
        // There are no targets; whatever else may suspend a call some day is no failure of the plugin.
        Outcome::Suspended(full) => {
            fixture::Outcome::Failed(Reason { kind: ReasonKind::Waiting, message: full.to_string() })
        }
    };
    let mut log = log_lines(report.log);
    log.drain(..log.len().saturating_sub(LOG_LINES_MAX));
    let comparison = Comparison::of(&recorded.outcome, &outcome);
    ShadowNode { node: node.name.clone(), element: recorded.step.element, comparison, withheld, log }
}
