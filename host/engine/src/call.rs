//! One call of a transformer, from a free slot to the report: a fresh store, a fresh instance, the guest under all its
//! limits, and both dropped.
//!
//! Nothing of a call outlives it but the report. Knows nothing of runs, retries or commits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use trellis_model::{AccountId, call_limits::CallLimits, grant::Grants, outbox::hops};
use wasmtime::Store;

use crate::{
    bindings::{PluginPre, trellis::plugin::events},
    budget::CpuBudget,
    capabilities::{
        Capabilities,
        config::Config,
        http::Http,
        log::Log,
        outbox::{EmittedEvent, Outbox},
        progress::{Progress, ProgressSink},
        secrets::ReadableSecrets,
        storage::{Entry, ListedKey, Storage, StorageAccess, StorageUnavailable},
        wasi::{WallClock, Wasi},
        web::Web,
    },
    egress::{
        departure::BrokenOff,
        guard::EgressGuard,
        injection::Injection,
        outbound::{Outbound, OutboundRequest, OutboundResponse, SendError},
        targets::{TargetFull, TargetGate},
    },
    failure::{Failure, FailureKind, bounded, explain},
    guest_state::GuestState,
    redaction::Redactor,
    report::{CallReport, Effects, Metering, Outcome, check_emissions, check_size},
    sandbox::Sandbox,
    secrets::Secrets,
    transformer::{Place, Transformer},
    turns::NOBODY,
};

/// What a transformer is called with. See `trellis:plugin/events.event`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Such as `run_01hzx5v9k3qaf`.
    pub run: String,
    pub node: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The same for every attempt of this node in this run, such as `run_01hzx5v9k3qaf-total`. Requests that change
    /// something carry it with a running number behind it, so it must be fit for an HTTP header.
    pub idempotency_key: String,
    pub attributes: Vec<(String, String)>,
    /// Input port and JSON text.
    pub inputs: Vec<(String, String)>,
}

/// One call of a transformer: its inputs, what it may use, and what it may reach.
#[derive(Clone)]
pub struct Call {
    /// Whose call it is: accounts take turns where there is not room for all.
    pub account: AccountId,
    pub event: Event,
    /// The node's config, JSON text.
    pub config: Arc<str>,
    pub limits: CallLimits,
    pub grants: Arc<Grants>,
    /// Those that the grants name. They are kept out of the report, whatever the guest does with them.
    pub secrets: Arc<Secrets>,
    pub storage: Arc<dyn Storage>,
    pub outbound: Arc<dyn Outbound>,
    /// Holds requests to the limits of their targets; none: there are no targets.
    pub targets: Option<Arc<dyn TargetGate>>,
    /// Is told how far the call has come; none: nobody wants to know.
    pub progress: Option<Arc<dyn ProgressSink>>,
    /// The time of day that the guest sees; none: the machine's.
    pub clock: Option<Arc<dyn WallClock>>,
}

/// Why a call has no emissions.
enum Ended {
    Failed(Failure),
    /// As if it had never been made.
    Suspended(TargetFull),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<BrokenOff> for Ended {
    fn from(broken_off: BrokenOff) -> Self {
        match broken_off {
            BrokenOff::Suspended(full) => Self::Suspended(full),
            BrokenOff::Stuck(full) => Self::Failed(stuck(&full)),
        }
    }
}

/// A call that cannot be made again as if it had never been, and cannot wait as long as it would have to.
fn stuck(full: &TargetFull) -> Failure {
    let message = format!(
        "{full}, longer than this call may take; it had sent a request before that changes something or that its target counts, so it could not be made again as if it had not; send less in one call, or give it a longer wall time"
    );
    let after_ms = u64::try_from(full.wait.as_millis()).unwrap_or(u64::MAX);
    Failure { after_ms: Some(after_ms), ..Failure::new(FailureKind::TimedOut, message) }
}

/// What a call emitted, without secrets.
struct Emitted {
    emissions: Vec<crate::Emission>,
    events: Vec<EmittedEvent>,
}

/// A store with a guest's capabilities, and what is needed to account for it.
struct Guest {
    store: Store<GuestState>,
    cpu: Arc<CpuBudget>,
    log: Log,
    egress: Arc<EgressGuard>,
    redactor: Arc<Redactor>,
    limits: CallLimits,
}

impl Guest {
    fn new(sandbox: &Sandbox, call: Call) -> (Self, events::Event, events::Json) {
        let Call { account, event, config, limits, grants, secrets, storage, outbound, targets, progress, clock } =
            call;
        let redactor = Arc::new(Redactor::new(Arc::clone(&secrets)));
        let log = Log::redacting(limits.log_bytes, Arc::clone(&redactor));
        let key = event.idempotency_key.clone();
        let policy = Arc::clone(&sandbox.policy);
        let egress = EgressGuard::new(policy, Arc::clone(&grants), outbound, targets, &limits, key);
        let injection = Injection::new(Arc::clone(&grants), Arc::clone(&secrets));
        let egress = Arc::new(egress.at_hop(hops(&event.attributes)).with_injection(injection));
        let capabilities = Capabilities {
            wasi: Wasi::new(log.clone(), clock, limits.random_bytes),
            log: log.clone(),
            config: Config::new(Arc::clone(&config)),
            http: Http::new(Arc::clone(&egress), log.clone()),
            web: Web::new(Arc::clone(&egress), log.clone()),
            storage: StorageAccess::new(storage, Arc::clone(&grants), &limits),
            secrets: ReadableSecrets::new(Arc::clone(&grants), secrets),
            outbox: Outbox::new(grants, &event.attributes, &limits),
            progress: Progress::new(progress, Arc::clone(&redactor)),
        };
        let cpu = Arc::new(CpuBudget::new(Duration::from_millis(limits.cpu_ms), sandbox.turns.clone(), account));
        let store = sandbox.store(capabilities, &limits, &cpu);
        (Self { store, cpu, log, egress, redactor, limits }, event.into(), config.to_string())
    }

    async fn transform(
        &mut self,
        transformer: &Transformer,
        event: &events::Event,
        config: &events::Json,
    ) -> Result<Emitted, Ended> {
        let (store, limits, redactor) = (&mut self.store, &self.limits, &self.redactor);
        let work = async {
            let plugin = transformer.plugin.instantiate_async(&mut *store).await?;
            let emitted = match plugin.trellis_plugin_transformer().call_transform(&mut *store, event, config).await? {
                Ok(emitted) => emitted,
                Err(failure) => return Ok(Err(Failure::returned(failure, redactor))),
            };
            // Before anything is done for each of so many bytes; and once more for what stands where secrets were.
            if let Err(failure) = check_size(&emitted, limits) {
                return Ok(Err(failure));
            }
            let events = store.data_mut().capabilities.outbox.take_events();
            let (emitted, events) = redactor.outputs(emitted, events).await?;
            Ok(check_emissions(emitted, &transformer.description, limits)
                .map(|emissions| Emitted { emissions, events }))
        };
        let returned = tokio::select! {
            biased;
            returned = bounded(work, &self.cpu, limits) => returned,
            broken_off = self.egress.broken_off() => return Err(broken_off.into()),
        };
        match returned {
            Ok(result) => result.map_err(Ended::from),
            Err(stop) => Err(explain(&stop, self.store.data(), limits, redactor).into()),
        }
    }

    async fn describe(&mut self, plugin: &PluginPre<GuestState>) -> Result<String, Failure> {
        let store = &mut self.store;
        let work = async {
            let plugin = plugin.instantiate_async(&mut *store).await?;
            plugin.trellis_plugin_transformer().call_describe(store).await
        };
        bounded(work, &self.cpu, &self.limits)
            .await
            .map_err(|stop| explain(&stop, self.store.data(), &self.limits, &self.redactor))
    }

    /// Drops the store and everything in it, and settles the account.
    fn finish(self, queued: Duration, began: Instant, result: Result<Emitted, Ended>) -> CallReport {
        let Self { store, cpu, log, egress, .. } = self;
        let GuestState { capabilities, memory, .. } = store.into_data();
        let traffic = egress.traffic();
        let waited = cpu.waited_for_turns();
        let metering = Metering {
            queued_us: microseconds(queued + waited),
            wall_us: microseconds(began.elapsed().saturating_sub(waited)),
            cpu_us: microseconds(cpu.spent()),
            memory_bytes_max: memory.peak_bytes(),
            requests: traffic.requests,
            request_bytes: traffic.request_bytes,
            response_bytes: traffic.response_bytes,
            target_wait_us: microseconds(traffic.target_wait),
            storage_operations: capabilities.storage.operations(),
            events_emitted: capabilities.outbox.count(),
            log_bytes: log.bytes(),
        };
        let outcome = match result {
            Ok(Emitted { emissions, events }) => {
                let (reads, writes) = capabilities.storage.into_effects();
                Outcome::Emitted(Effects { emissions, reads, writes, events })
            }
            Err(Ended::Failed(failure)) => Outcome::Failed(failure),
            Err(Ended::Suspended(full)) => Outcome::Suspended(full),
        };
        CallReport { outcome, log: log.finish(), outside_effect: traffic.outside_effect, metering }
    }
}

/// Calls `transformer` once, in a place that was waited for.
pub(crate) async fn run(transformer: &Transformer, place: Place, call: Call) -> CallReport {
    let sandbox = &transformer.sandbox;
    let began = Instant::now();
    let secrets = Arc::clone(&call.secrets);
    let (mut guest, event, config) = Guest::new(sandbox, call);
    let result = match secrets.check() {
        Ok(()) => guest.transform(transformer, &event, &config).await,
        Err(failure) => Err(failure.into()),
    };
    let report = guest.finish(place.queued, began, result);
    drop(place);
    report
}

/// Asks a plugin for its description. It can reach nothing, and `limits` are tight.
pub(crate) async fn describe(
    sandbox: &Sandbox,
    plugin: &PluginPre<GuestState>,
    limits: CallLimits,
) -> Result<String, Failure> {
    let call = Call {
        account: NOBODY,
        event: Event::default(),
        config: "null".into(),
        limits,
        grants: Arc::default(),
        secrets: Arc::default(),
        storage: Arc::new(Nothing),
        outbound: Arc::new(Nothing),
        targets: None,
        progress: None,
        clock: None,
    };
    let _place = sandbox.room.enter(call.account, call.limits.memory_bytes).await;
    let (mut guest, ..) = Guest::new(sandbox, call);
    guest.describe(plugin).await
}

/// What a plugin reaches while it describes itself.
struct Nothing;

#[async_trait::async_trait]
impl Storage for Nothing {
    async fn get(&self, _store: &str, _key: &str) -> Result<Option<Entry>, StorageUnavailable> {
        Ok(None)
    }

    async fn list(
        &self,
        _store: &str,
        _prefix: &str,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<Vec<ListedKey>, StorageUnavailable> {
        Ok(Vec::new())
    }
}

#[async_trait::async_trait]
impl Outbound for Nothing {
    async fn send(&self, _request: OutboundRequest) -> Result<OutboundResponse, SendError> {
        Err(SendError::Denied("a plugin can send nothing while it describes itself".to_owned()))
    }
}

impl From<Event> for events::Event {
    fn from(event: Event) -> Self {
        let Event { run, node, attempt, idempotency_key, attributes, inputs } = event;
        Self { run, node, attempt, idempotency_key, attributes, inputs }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
