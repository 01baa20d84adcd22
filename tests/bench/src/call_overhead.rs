//! P4: one call through the engine with all limits on, against the same call through bare wasmtime, in turns.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use trellis_engine::{
    Call, Engine, EngineConfig, Entry, Event, ListedKey, Outbound, Outcome, Storage, StorageUnavailable, Transformer,
};
use trellis_model::{AccountId, call_limits::CallLimits};

use crate::{
    bare_call::{BareCall, Setup},
    goal::most,
    measurement::Measurement,
    project::EVENT,
    rig::Rig,
};

/// Calls of a side before the next has its turn: long enough to warm the caches, short enough that the machine's moods
/// meet all sides alike.
const CALLS_A_TURN: u32 = 1_000;

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let component = Bytes::from(rig.guest("echo").await?.bytes);
    let engine = Engine::new(&EngineConfig::new(rig.folder("call_overhead")))?;
    let bare = |setup| BareCall::new(&component, setup, event(), CONFIG).map_err(|error| anyhow!("{error:#}"));
    let sides = [
        Callee::Engine(ThroughEngine::new(&engine, component.clone()).await?),
        Callee::Bare(bare(Setup::AsTheEngine)?),
        Callee::Bare(bare(Setup::Defaults)?),
    ];
    // On a worker of the runtime, as in a host.
    let turns = tokio::spawn(take_turns(sides.map(Side::new), seconds * 3));
    let [ours, bare, bare_defaults] = turns.await.context("a side panicked")??;
    let samples = ours.call_us.len() * CALLS_A_TURN as usize;
    Ok(Measurement::new("P4", "µs", ours.median_us(), ("bare wasmtime, set up alike", bare.median_us()))
        .taken(seconds, samples)
        .with("bare_defaults_us", bare_defaults.median_us())
        .with("is_pooling", engine.is_pooling())
        .aiming_at(&[most("ratio", 1.25)]))
}

/// One after the other, again and again.
async fn take_turns(mut sides: [Side; 3], span: Duration) -> anyhow::Result<[Side; 3]> {
    let until = Instant::now() + span;
    eprintln!("call-overhead: {} s", span.as_secs());
    loop {
        for side in &mut sides {
            side.take_turn().await?;
        }
        if Instant::now() > until {
            return Ok(sides);
        }
    }
}

/// What is called.
enum Callee {
    Engine(ThroughEngine),
    Bare(BareCall),
}

struct Side {
    callee: Callee,
    /// Microseconds of a call, one figure a turn.
    call_us: Vec<f64>,
}

impl Side {
    fn new(callee: Callee) -> Self {
        Self { callee, call_us: Vec::new() }
    }

    async fn take_turn(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        for _ in 0..CALLS_A_TURN {
            let emissions = match &self.callee {
                Callee::Engine(engine) => engine.call().await?,
                Callee::Bare(bare) => bare.call().await.map_err(|error| anyhow!("{error:#}"))?,
            };
            ensure!(emissions == 1, "the guest emitted {emissions} values");
        }
        self.call_us.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS_A_TURN));
        Ok(())
    }

    fn median_us(&self) -> f64 {
        let mut call_us = self.call_us.clone();
        call_us.sort_by(f64::total_cmp);
        call_us[call_us.len() / 2]
    }
}

const CONFIG: &str = "{}";

/// Such as a host makes for a node.
fn event() -> Event {
    Event {
        run: "run_01hzx5v9k3qaf".to_owned(),
        node: "echo".to_owned(),
        attempt: 1,
        idempotency_key: "run_01hzx5v9k3qaf-echo".to_owned(),
        attributes: vec![
            ("trigger".to_owned(), "events".to_owned()),
            ("method".to_owned(), "POST".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ],
        inputs: vec![("in".to_owned(), EVENT.to_owned())],
    }
}

/// Calls a component as a host does, with nothing around it.
pub struct ThroughEngine {
    transformer: Arc<Transformer>,
    outbound: Arc<dyn Outbound>,
    storage: Arc<NoStorage>,
}

impl ThroughEngine {
    /// # Errors
    /// The engine does not take the component.
    pub async fn new(engine: &Engine, component: Bytes) -> anyhow::Result<Self> {
        let compiled = engine.compile(component).await?;
        let transformer = engine.load(compiled.digest, || async { anyhow::Ok(Bytes::new()) }).await?;
        Ok(Self { transformer, outbound: engine.outbound(AccountId(1)), storage: Arc::new(NoStorage) })
    }

    /// One call; returns how many emissions there were.
    ///
    /// # Errors
    /// The guest failed.
    pub async fn call(&self) -> anyhow::Result<usize> {
        let call = Call {
            account: AccountId(1),
            event: event(),
            config: CONFIG.into(),
            limits: CallLimits::default(),
            grants: Arc::default(),
            secrets: Arc::default(),
            storage: Arc::clone(&self.storage) as Arc<dyn Storage>,
            outbound: Arc::clone(&self.outbound),
            targets: None,
            progress: None,
            clock: None,
        };
        match self.transformer.call(call).await.outcome {
            Outcome::Emitted(effects) => Ok(effects.emissions.len()),
            Outcome::Failed(failure) => Err(anyhow!("the guest failed: {failure}")),
            Outcome::Suspended(full) => Err(anyhow!("the guest was suspended: {full}")),
        }
    }
}

/// For a guest that uses none.
pub struct NoStorage;

#[async_trait::async_trait]
impl Storage for NoStorage {
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
