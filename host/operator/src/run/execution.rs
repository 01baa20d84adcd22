//! The execution of one run on this host: which nodes are being called, what the others have come to, and what of it is
//! not committed yet.

mod begin;
mod cancel;
mod commits;
mod suspension;
mod telling;
mod waiting;

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use trellis_engine::{CallReport, FailureKind, Outcome};
use trellis_model::{
    plan::GridPlan,
    run::{ElementLimits, Event, Inputs, Metering, NodeResult, NodeState, Outputs, Progress, Reason, ReasonKind, Step},
};
use trellis_store::{jobs::FetchedJob, shards::Holding};

use super::{
    FAILED_PAUSE, LEASE_PAUSE, RunEnd,
    call::{self, CallEnd, NodeCall},
    conflicts::ConflictTurn,
    context::RunContext,
    first_permit::FirstPermit,
    outbox::emitted_jobs,
    records::CallRecords,
    storage::{CallStorage, Pending},
};
use crate::{cancellations::Flight, catalog::LoadedRevision, starts::Start};

pub use begin::{GivenBack, NotBegun};
use suspension::Suspension;
pub use telling::CallVoice;

/// Conflicts after which a run makes room for others before it tries again.
const CONFLICTS_MAX: u32 = 50;
/// How long a run waits when the database was away.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// How long it makes room.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// A shorter wait for a node is not worth the writes of putting the run aside.
const WAIT_IN_PLACE_MAX: Duration = Duration::from_millis(20);

type CallFuture = Pin<Box<dyn Future<Output = (NodeCall, CallEnd)> + Send>>;

pub struct Execution<'c> {
    context: &'c Arc<RunContext>,
    job: FetchedJob,
    first_permit: Arc<FirstPermit>,
    holding: Holding,
    revision: Arc<LoadedRevision>,
    grid: Arc<GridPlan>,
    event: Event,
    attributes: Arc<Vec<(String, String)>>,
    progress: Progress,
    pending: Pending,
    saved: Saved,
    calls: FuturesUnordered<CallFuture>,
    busy: HashSet<Step>,
    suspension: Option<Suspension>,
    /// Somebody wants the run to end.
    cancellation: CancellationToken,
    /// By which the run is spoken to.
    flight: Arc<Flight>,
    /// How far the calls under way have come.
    progress_of: HashMap<Step, Arc<CallVoice>>,
    /// Raised by every roll-back: what a call of an older generation comes to is void.
    generation: u32,
    conflicts: u32,
    /// Held from the first conflict to the end.
    turn: Option<ConflictTurn>,
    started_at_ms: i64,
    /// When the nodes that are ready were last looked for, Unix milliseconds.
    looked_at_ms: i64,
}

/// The last commit point.
#[derive(Clone)]
struct Saved {
    progress: Progress,
    /// 0: there is no checkpoint.
    sequence: i32,
}

/// What a run waits for.
enum Next {
    /// A call has ended.
    Ended(Box<(NodeCall, CallEnd)>),
    /// The time of a pending node has come.
    Due,
    /// Somebody wants to know where the run stands.
    Asked,
    /// The run is to end now.
    Cancelled,
    /// Nothing is being called, and nothing can be for some time.
    Idle,
}

impl<'c> Execution<'c> {
    /// Calls every node that can be called, until the run is complete, fails or must wait. The first call is made with the
    /// run's `start`.
    pub async fn run(mut self, mut start: Option<Start>) -> RunEnd {
        self.tell_begun();
        loop {
            self.start_ready(start.take());
            match self.next().await {
                Next::Ended(ended) => {
                    let (call, end) = *ended;
                    self.busy.remove(&call.step);
                    self.progress_of.remove(&call.step);
                    self.settle(&call, end).await;
                }
                Next::Due => {}
                Next::Asked => self.tell_all(),
                Next::Cancelled => self.cancel(),
                Next::Idle => match self.conclude().await {
                    Some(end) => return end,
                    None => self.make_room().await,
                },
            }
        }
    }

    async fn next(&mut self) -> Next {
        if self.must_cancel() {
            return Next::Cancelled;
        }
        let due = self.due_after();
        if self.calls.is_empty() && due.is_none_or(|after| after > WAIT_IN_PLACE_MAX) {
            return Next::Idle;
        }
        tokio::select! {
            () = self.cancellation.cancelled(), if !self.cancellation.is_cancelled() => Next::Cancelled,
            Some(ended) = self.calls.next() => Next::Ended(Box::new(ended)),
            () = self.flight.asked() => Next::Asked,
            () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() => Next::Due,
        }
    }

    /// How long until the next pending node can be called; none when there is none, or the run must wait for something else.
    fn due_after(&self) -> Option<Duration> {
        let (due_at_ms, _) = self.progress.next_due(self.looked_at_ms).filter(|_| self.suspension.is_none())?;
        let wait_ms = due_at_ms.saturating_sub(self.context.clock.now_ms()).max(0);
        Some(Duration::from_millis(wait_ms.cast_unsigned()))
    }

    /// A conflict: everything since the last commit point is run again, when it is this run's turn, and after a while if that
    /// happens again and again.
    async fn make_room(&mut self) {
        self.conflicts += 1;
        if self.turn.is_none() {
            self.turn = self.context.conflicts.turn(self.job.project).await;
        }
        if self.conflicts > CONFLICTS_MAX {
            tokio::time::sleep(CONFLICT_PAUSE).await;
        }
    }

    fn start_ready(&mut self, mut start: Option<Start>) {
        if self.suspension.is_none() && !self.context.lease.may_start() {
            // A paused host that wakes up late starts nothing: somebody else may have begun already.
            self.suspend(Suspension::Throttled(LEASE_PAUSE));
        }
        if self.suspension.is_some() || self.must_cancel() {
            return;
        }
        self.looked_at_ms = self.context.clock.now_ms();
        let limits = ElementLimits::from(self.context.run_limits);
        let ready = self.progress.ready(&self.grid, &self.event.data, self.looked_at_ms, limits, &self.busy);
        if self.progress.failed().is_some() {
            // What it should be mapped over is no array, or too long a one.
            return self.suspend(Suspension::Failed);
        }
        if !ready.is_empty() && self.context.lease.gives_up(self.job.shard) {
            // The next owner begins them, as soon as those that are running have ended.
            return self.suspend(Suspension::Throttled(Duration::ZERO));
        }
        // One node runs on this task; more run on tasks of their own, so that branches use all cores.
        let is_alone = ready.len() == 1 && self.calls.is_empty();
        for (step, inputs) in ready {
            let call = self.node_call(step, inputs);
            self.busy.insert(step);
            self.tell_called(&call);
            self.calls.push(begin_call(Arc::clone(self.context), call, is_alone, start.take()));
        }
    }

    fn node_call(&self, step: Step, inputs: Inputs) -> NodeCall {
        let before = self.progress.result(step);
        let voice = self.voice(step);
        let (database, account, project) = (&self.context.database, self.job.account, self.job.project);
        let storage = Arc::new(CallStorage::new(database.clone(), account, project, self.pending.snapshot()));
        let snapshot = self.pending.records_snapshot();
        let records = CallRecords::new(database.clone(), account, project, snapshot, Arc::clone(&storage));
        NodeCall {
            generation: self.generation,
            queue: self.job.queue(),
            run: self.job.run,
            first_permit: Arc::clone(&self.first_permit),
            revision: Arc::clone(&self.revision),
            grid: Arc::clone(&self.grid),
            step,
            attempt: self.progress.attempts(step) + 1,
            inputs,
            attributes: Arc::clone(&self.attributes),
            storage,
            records: Arc::new(records),
            waiting: before.and_then(|result| result.waiting.clone()),
            held_up: before.map_or(0, |result| result.held_up),
            uncompiled: before.map_or(0, |result| result.uncompiled),
            voice: Arc::clone(&voice),
        }
    }

    /// Notes what came of a call.
    async fn settle(&mut self, call: &NodeCall, end: CallEnd) {
        if call.generation != self.generation {
            // What it was called with never happened. What it did to the outside world did: that is a failed attempt.
            if let CallEnd::Called(report) = end
                && report.outside_effect
            {
                let (log, metering) = (call::log_lines(report.log), call::metering(&report.metering));
                self.fail(call, conflict(), None, log, metering);
            }
            return;
        }
        match end {
            CallEnd::Called(report) => self.settle_report(call, *report).await,
            CallEnd::Throttled(wait) => self.suspend(Suspension::Throttled(wait)),
            CallEnd::NotLoaded(_) if call.storage.is_database_away() => {
                self.suspend(Suspension::Throttled(DATABASE_PAUSE));
            }
            CallEnd::NotLoaded(reason) if reason.kind == ReasonKind::Host => self.hold_up(call, &reason.message),
            CallEnd::Uncompilable(message) => self.hold_up_uncompiled(call, &message),
            CallEnd::NotLoaded(reason) | CallEnd::Broken(reason) => {
                self.fail(call, reason, None, Vec::new(), Metering::default());
            }
        }
    }

    async fn settle_report(&mut self, call: &NodeCall, report: CallReport) {
        if call.storage.is_database_away() && !report.outside_effect {
            // Whatever the guest made of that: it is called again when the database is back, and no attempt is counted.
            return self.suspend(Suspension::Throttled(DATABASE_PAUSE));
        }
        let (log, metering) = (call::log_lines(report.log), call::metering(&report.metering));
        let effects = match report.outcome {
            Outcome::Emitted(effects) => effects,
            Outcome::Failed(failure) if failure.kind == FailureKind::Unavailable => {
                // The host was short of something, which is not the guest's fault: no attempt is counted.
                let due_at_ms = self.context.clock.now_ms().saturating_add(host_pause_ms(call));
                return self.note(call, waiting::for_host(call, &failure.message, due_at_ms, log, metering));
            }
            Outcome::Failed(failure) => {
                let asked = failure.after_ms.map(Duration::from_millis);
                return self.fail(call, Reason::from(&failure), asked, log, metering);
            }
            Outcome::Suspended(full) => {
                let targets = self.context.catalog.targets(&self.revision);
                return self.note(call, waiting::result(call, full, &targets, log, metering));
            }
        };
        if let Some(reason) = self.too_much_of_elements(call, &effects) {
            return self.fail(call, reason, None, log, metering);
        }
        if self.pending.merge_all(&call.storage, &call.records, &effects).is_err() {
            if report.outside_effect {
                self.fail(call, conflict(), None, log, metering);
            }
            // Otherwise nothing has happened: the node stays unsettled and is called again with a fresh view.
            return;
        }
        self.pending.emit(emitted_jobs(call, &self.event, effects.events));
        let outputs: Outputs = effects.emissions.into_iter().map(|emission| (emission.port, emission.json)).collect();
        let result = NodeResult { attempts: call.attempt, outputs, log, metering, ..call.result(NodeState::Succeeded) };
        self.note(call, result);
        if report.outside_effect {
            self.commit_point(Some(call)).await;
        } else if self.context.run_limits.is_reached(self.pending.effects().size()) {
            self.commit_point(None).await;
        }
    }

    /// A node could not be called for want of something that is the host's to have: it is called again, each time after a
    /// longer wait, and no attempt is counted.
    fn hold_up(&mut self, call: &NodeCall, message: &str) {
        let held_up = self.held_up(call, message);
        self.note(call, held_up);
    }

    fn held_up(&self, call: &NodeCall, message: &str) -> NodeResult {
        let due_at_ms = self.context.clock.now_ms().saturating_add(waiting::held_up_ms(call.held_up, jitter(call)));
        waiting::for_host(call, message, due_at_ms, Vec::new(), Metering::default())
    }

    /// A node's plugin could not be compiled: that is tried again, as the machine may have been too busy, but not for ever.
    fn hold_up_uncompiled(&mut self, call: &NodeCall, message: &str) {
        match waiting::uncompiled(call.uncompiled, message) {
            Ok(uncompiled) => {
                let held_up = self.held_up(call, message);
                self.note(call, NodeResult { uncompiled, ..held_up });
            }
            Err(reason) => self.fail(call, reason, None, Vec::new(), Metering::default()),
        }
    }

    /// A node failed: for now, if its retry policy has attempts left, or for good.
    fn fail(
        &mut self,
        call: &NodeCall,
        reason: Reason,
        asked: Option<Duration>,
        log: Vec<trellis_model::run::LogLine>,
        metering: Metering,
    ) {
        let node = call.planned();
        let wait =
            if reason.kind.is_retryable() { node.retry.wait_after(call.attempt, jitter(call), asked) } else { None };
        let now_ms = self.context.clock.now_ms();
        let result = NodeResult {
            attempts: call.attempt,
            due_at_ms: wait.map(|wait| now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))),
            reason: Some(reason),
            log,
            metering,
            ..call.result(if wait.is_some() { NodeState::Pending } else { NodeState::Failed })
        };
        self.note(call, result);
        if wait.is_none() {
            self.suspend(Suspension::Failed);
        }
    }

    /// What a call has come to.
    fn note(&mut self, call: &NodeCall, result: NodeResult) {
        self.progress.set(&self.grid, call.step, result.at(self.context.clock.now_ms()));
        self.tell_node(call.step.node);
    }

    /// Why an element cannot succeed that would have its node keep more than a node may.
    fn too_much_of_elements(&self, call: &NodeCall, effects: &trellis_engine::Effects) -> Option<Reason> {
        call.step.element?;
        let most = self.context.run_limits.elements_output_bytes;
        let before = self.progress.result(Step::of(call.step.node)).map_or(0, NodeResult::elements_output_bytes);
        let own: u64 = effects.emissions.iter().map(|emission| emission.json.get().len() as u64).sum();
        (before + own > most).then(|| Reason {
            kind: ReasonKind::Permanent,
            message: format!("the outputs of all elements come to more than {most} bytes, which is as much as a node with `each` may keep; emit less, or emit the elements to another grid"),
        })
    }

    /// The stronger of two suspensions stays.
    fn suspend(&mut self, suspension: Suspension) {
        if self.suspension.as_ref().is_none_or(|present| suspension.is_stronger_than(present)) {
            self.suspension = Some(suspension);
        }
    }
}

fn begin_call(context: Arc<RunContext>, call: NodeCall, is_alone: bool, start: Option<Start>) -> CallFuture {
    if is_alone {
        return Box::pin(async move {
            let running = AssertUnwindSafe(call.run(&context, start)).catch_unwind();
            let end = running.await.unwrap_or_else(|_| failed_call());
            (call, end)
        });
    }
    let call = Arc::new(call);
    let spawned = {
        let call = Arc::clone(&call);
        AbortOnDropHandle::new(tokio::spawn(async move { call.run(&context, start).await }))
    };
    Box::pin(async move {
        let end = spawned.await.unwrap_or_else(|_| failed_call());
        let call = Arc::into_inner(call).expect("the task that shared the call has ended");
        (call, end)
    })
}

/// A call at which the host itself has failed.
fn failed_call() -> CallEnd {
    CallEnd::Broken(Reason { kind: ReasonKind::Host, message: "the host failed while it ran this node".to_owned() })
}

/// How long a node waits after its host was short of something, in milliseconds: long enough that those who have it make
/// some room, and not the same for all who were refused at once.
fn host_pause_ms(call: &NodeCall) -> i64 {
    const LEAST_MS: i64 = 500;
    const SPREAD_MS: f64 = 1_000.0;
    LEAST_MS + (jitter(call) * SPREAD_MS) as i64
}

fn conflict() -> Reason {
    let message = "what this node had read was changed by another run before its effects were committed".to_owned();
    Reason { kind: ReasonKind::Conflict, message }
}

/// A number in 0..1 that differs between runs, nodes and attempts; no randomness is needed to keep retries apart.
fn jitter(call: &NodeCall) -> f64 {
    let element = call.step.element.map_or(0, |element| u64::from(element) + 1);
    let seed = call.run.0.cast_unsigned() ^ (call.step.node as u64) << 32 ^ element << 48 ^ u64::from(call.attempt);
    let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}
