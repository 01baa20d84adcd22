//! One call of one node: load the transformer, take a permit, instantiate and call.

use std::{borrow::Cow, sync::Arc, time::Duration};

use trellis_engine::{Call, CallReport, Event, LoadError, LogLevel, ManagedData, RunLog, Secrets, UploadError};
use trellis_model::{
    Queue, RunId,
    call_limits::CallLimits,
    plan::PlannedNode,
    run::{
        Inputs, LogLine, Metering, NodeResult, NodeState, Reason, ReasonKind, Step, TargetWait, call_attributes,
        idempotency_key,
    },
};
use trellis_store::fail_point;

use super::{
    LEASE_PAUSE, context::RunContext, execution::CallVoice, first_permit::FirstPermit, records::CallRecords,
    storage::CallStorage,
};
use crate::{
    catalog::LoadedRevision,
    limiter::Permit,
    slots::{Slot, SlotsOf},
    starts::{Start, giving_up},
    targets::Caller,
};

/// What a call needs to know.
pub struct NodeCall {
    /// Of the execution's state that the inputs were taken from.
    pub generation: u32,
    pub queue: Queue,
    pub run: RunId,
    /// Of the run, whichever of its calls takes it.
    pub first_permit: Arc<FirstPermit>,
    pub revision: Arc<LoadedRevision>,
    pub grid: Arc<trellis_model::plan::GridPlan>,
    /// The node, or the element of one, that is called.
    pub step: Step,
    pub attempt: u32,
    pub inputs: Inputs,
    pub attributes: Arc<Vec<(String, String)>>,
    pub storage: Arc<CallStorage>,
    pub records: Arc<CallRecords>,
    /// The node's place in the line before a target, if it has one.
    pub waiting: Option<TargetWait>,
    /// Calls in a row before this one that the host could not make.
    pub held_up: u32,
    /// How many of them because its plugin could not be compiled.
    pub uncompiled: u32,
    /// Is told how far the call has come.
    pub voice: Arc<CallVoice>,
}

/// What came of a call.
pub enum CallEnd {
    Called(Box<CallReport>),
    /// The account is over its limits.
    Throttled(Duration),
    /// The plugin cannot be loaded, or its secrets cannot be had; the reason says whether it may be another time.
    NotLoaded(Reason),
    /// Compiling the plugin, which was accepted once, took more than it may: why, and how to mend it.
    Uncompilable(String),
    /// The host has failed in the middle of it: how far it came nobody knows.
    Broken(Reason),
}

impl NodeCall {
    pub fn planned(&self) -> &PlannedNode {
        &self.grid.nodes[self.step.node]
    }

    /// A result of this call without anything in it.
    pub fn result(&self, state: NodeState) -> NodeResult {
        NodeResult { element: self.step.element, ..NodeResult::new(&self.planned().name, state) }
    }

    /// The first call of a run is made with the run's `start`, which it keeps until it waits.
    pub async fn run(&self, context: &RunContext, mut start: Option<Start>) -> CallEnd {
        let transformer = match giving_up(&mut start, self.load(context)).await {
            Ok(transformer) => transformer,
            Err(end) => return end,
        };
        // Before the permit: it is taken right before the module is instantiated.
        let _slots = giving_up(&mut start, self.enter(context)).await;
        let limits = self.planned().limits.lower(context.budgets.of(self.queue.account));
        // This may take as long as other guests run. What must not grow old is looked at behind it: the lease, the account's
        // permits, and the secrets, which would lie open in memory that nobody has reserved.
        let place = giving_up(
            &mut start,
            context.callee.enter(&transformer, self.queue.account, &limits, &self.planned().grants),
        )
        .await;
        let secrets = match giving_up(&mut start, self.secrets(context)).await {
            Ok(secrets) => Arc::new(secrets),
            Err(reason) => return CallEnd::NotLoaded(reason),
        };
        if let Err(pause) = giving_up(&mut start, context.limiter.prepare(self.queue)).await {
            return CallEnd::Throttled(pause);
        }
        if !context.lease.may_start() {
            // It has waited, and the lease may have run out meanwhile.
            return CallEnd::Throttled(LEASE_PAUSE);
        }
        if let Permit::Wait(wait) = context.limiter.take(self.queue).await {
            return CallEnd::Throttled(wait);
        }
        self.first_permit.taken();
        fail_point!("call-before");
        fail_point!(
            "call-host-short",
            CallEnd::Called(Box::new(CallReport {
                outcome: trellis_engine::Outcome::Failed(trellis_engine::Failure {
                    kind: trellis_engine::FailureKind::Unavailable,
                    message: "asked for memory when all memory of the host for guests was in use".to_owned(),
                    after_ms: None,
                }),
                log: RunLog::default(),
                outside_effect: false,
                metering: trellis_engine::Metering::default(),
            }))
        );
        // By itself: the call's future is the largest part of the run's, which would be moved with it.
        let called = Box::pin(context.callee.call(&transformer, place, self.call(context, limits, secrets)));
        let report = giving_up(&mut start, called).await;
        fail_point!("call-after");
        CallEnd::Called(Box::new(report))
    }

    /// Waits until the grid and the account have fewer modules running than they may. The grid first: who waits for a slot
    /// of one grid must not keep another one from running.
    async fn enter(&self, context: &RunContext) -> [Option<Slot>; 2] {
        let grid = SlotsOf::Grid(self.revision.project, self.grid.name.clone());
        let of_grid = context.slots.enter(grid, || self.grid.order.running_max).await;
        let of_account = context.slots.enter(SlotsOf::Queue(self.queue), || context.running_max(self.queue)).await;
        [of_grid, of_account]
    }

    async fn load(&self, context: &RunContext) -> Result<Arc<trellis_engine::Transformer>, CallEnd> {
        fail_point!("plugin-uncompilable", Err(CallEnd::Uncompilable("compiling it took too long".to_owned())));
        fail_point!("plugin-not-loaded", {
            let message = "cannot read the component".to_owned();
            Err(CallEnd::NotLoaded(Reason { kind: ReasonKind::Host, message }))
        });
        let plugin = self.planned().plugin;
        let digest = self.revision.digest(plugin).ok_or_else(|| {
            let message = format!("plugin {plugin} of this revision does not exist any more");
            CallEnd::NotLoaded(Reason { kind: ReasonKind::Permanent, message })
        })?;
        let (database, storage) = (context.database.clone(), Arc::clone(&self.storage));
        let bytes = || async move {
            let found = database.component(&digest.0).await.map_err(|error| {
                storage.note_failure(&error);
                error.to_string()
            })?;
            found.map(Into::into).ok_or_else(|| "its bytes are not in the database".to_owned())
        };
        context.engine.load_for(self.queue.account, digest, bytes).await.map_err(|error| not_loaded(&error))
    }

    fn caller(&self, context: &RunContext) -> Caller {
        let parts = u32::from(context.limiter.parts(self.queue));
        Caller { queue: self.queue, project: self.revision.project, parts }
    }

    fn call(&self, context: &RunContext, limits: CallLimits, secrets: Arc<Secrets>) -> Call {
        let node = self.planned();
        let event = Event {
            run: self.run.to_string(),
            node: node.name.clone(),
            attempt: self.attempt,
            idempotency_key: idempotency_key(self.run, &node.name, self.step.element),
            attributes: call_attributes(&self.attributes, self.step.element),
            inputs: self.inputs.clone(),
        };
        Call {
            account: self.queue.account,
            event,
            config: Arc::clone(&node.config),
            limits,
            grants: Arc::clone(&node.grants),
            secrets,
            storage: Arc::clone(&self.storage) as Arc<dyn trellis_engine::Storage>,
            records: ManagedData {
                collections: Arc::clone(&self.revision.collections),
                records: Arc::clone(&self.records) as Arc<dyn trellis_engine::Records>,
            },
            outbound: context.engine.outbound(self.queue.account),
            targets: context.targets.gate(
                self.caller(context),
                context.catalog.targets(&self.revision),
                self.waiting.clone(),
            ),
            progress: Some(Arc::clone(&self.voice) as Arc<dyn trellis_engine::ProgressSink>),
            clock: None,
        }
    }
}

fn not_loaded(error: &LoadError) -> CallEnd {
    let kind = match error {
        // It was compiled once: that it takes too much now may be for want of time on this machine, or may be for good.
        LoadError::Upload(UploadError::Uncompilable(_)) => return CallEnd::Uncompilable(error.to_string()),
        LoadError::Bytes { .. } | LoadError::Upload(UploadError::Unavailable(_)) => ReasonKind::Host,
        LoadError::WrongDigest { .. } | LoadError::Upload(UploadError::Faults(_)) => ReasonKind::Permanent,
    };
    CallEnd::NotLoaded(Reason { kind, message: error.to_string() })
}

pub fn log_lines(log: RunLog) -> Vec<LogLine> {
    let mut lines: Vec<LogLine> = log.lines.into_iter().map(log_line).collect();
    if log.dropped_bytes > 0 {
        lines.push(LogLine {
            at_ms: lines.last().map_or(0, |line| line.at_ms),
            level: Cow::Borrowed("warn"),
            context: "trellis".to_owned(),
            message: format!("{} more bytes were logged and dropped", log.dropped_bytes),
        });
    }
    lines
}

fn log_line(line: trellis_engine::LogLine) -> LogLine {
    let level = match line.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Critical => "critical",
    };
    LogLine { at_ms: line.at_ms, level: Cow::Borrowed(level), context: line.context, message: line.message }
}

pub fn metering(metering: &trellis_engine::Metering) -> Metering {
    Metering {
        queued_us: metering.queued_us,
        wall_us: metering.wall_us,
        cpu_us: metering.cpu_us,
        memory_bytes_max: metering.memory_bytes_max,
        requests: metering.requests,
        request_bytes: metering.request_bytes,
        response_bytes: metering.response_bytes,
        target_wait_us: metering.target_wait_us,
        storage_operations: metering.storage_operations,
        record_operations: metering.record_operations,
        events_emitted: metering.events_emitted,
        log_bytes: metering.log_bytes,
    }
}
