//! P4: one call through the engine with all limits on, against the same call through bare wasmtime, in turns.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use trellis_engine::{
    Call, Engine, EngineConfig, Entry, Event, ListedKey, Outbound, Outcome, Storage, StorageUnavailable, Transformer,
};
use trellis_model::{AccountId, call_limits::CallLimits};

use crate::{
    bare_call::{BareCall, Setup},
    measurement::Measurement,
    rig::Rig,
    subject::EVENT,
};

/// Calls of a side before the next has its turn: long enough to warm the caches, short enough that the machine's moods
/// meet all sides alike.
const CALLS_A_TURN: u32 = 1_000;

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let component = rig.echo.bytes.clone();
    let folder = rig.folder("call_overhead");
    // On a worker of the runtime, as in a host.
    let sides = tokio::spawn(async move {
        let mut sides = Sides::prepare(component, &folder).await?;
        sides.take_turns(seconds).await?;
        anyhow::Ok(sides)
    });
    let sides = sides.await.context("a side panicked")??;
    let (ours, bare) = (median(sides.ours_us), median(sides.bare_us));
    Ok(Measurement::new("P4", "µs", ours, ("bare wasmtime, set up alike", bare))
        .taken(seconds, sides.turns * CALLS_A_TURN as usize)
        .with("bare_defaults_us", median(sides.bare_defaults_us))
        .with("is_pooling", sides.engine.is_pooling()))
}

/// The sides, and the microseconds a call of each of their turns.
struct Sides {
    engine: Engine,
    through_engine: ThroughEngine,
    bare: BareCall,
    bare_defaults: BareCall,
    ours_us: Vec<f64>,
    bare_us: Vec<f64>,
    bare_defaults_us: Vec<f64>,
    turns: usize,
}

impl Sides {
    async fn prepare(component: Vec<u8>, folder: &std::path::Path) -> anyhow::Result<Self> {
        let engine = Engine::new(&EngineConfig::new(folder))?;
        let bare = |setup| BareCall::new(&component, setup, event(), CONFIG);
        let (bare, bare_defaults) = (bare(Setup::AsTheEngine)?, bare(Setup::Defaults)?);
        let compiled = engine.compile(Bytes::from(component)).await?;
        let transformer = engine.load(compiled.digest, async || anyhow::Ok(Bytes::new())).await?;
        let through_engine =
            ThroughEngine { transformer, outbound: engine.outbound(AccountId(1)), storage: Arc::new(NoStorage) };
        Ok(Self {
            engine,
            through_engine,
            bare,
            bare_defaults,
            ours_us: Vec::new(),
            bare_us: Vec::new(),
            bare_defaults_us: Vec::new(),
            turns: 0,
        })
    }

    /// Until each of the two sides of the ratio had its time.
    async fn take_turns(&mut self, span: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + span * 3;
        while Instant::now() < until || self.turns == 0 {
            self.ours_us.push(turn(async || self.through_engine.call().await).await?);
            self.bare_us.push(turn(async || self.bare.call().await).await?);
            self.bare_defaults_us.push(turn(async || self.bare_defaults.call().await).await?);
            self.turns += 1;
            if self.turns.is_multiple_of(100) {
                eprintln!("call-overhead: {} turns", self.turns);
            }
        }
        Ok(())
    }
}

/// Many calls; returns the microseconds of one.
async fn turn(call: impl AsyncFn() -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    let began = Instant::now();
    for _ in 0..CALLS_A_TURN {
        let emissions = call().await?;
        ensure!(emissions == 1, "the guest emitted {emissions} values");
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS_A_TURN))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
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

struct ThroughEngine {
    transformer: Arc<Transformer>,
    outbound: Arc<dyn Outbound>,
    storage: Arc<NoStorage>,
}

impl ThroughEngine {
    async fn call(&self) -> anyhow::Result<usize> {
        let call = Call {
            event: event(),
            config: CONFIG.into(),
            limits: CallLimits::default(),
            grants: Arc::default(),
            storage: Arc::clone(&self.storage) as Arc<dyn Storage>,
            outbound: Arc::clone(&self.outbound),
            clock: None,
        };
        match self.transformer.call(call).await.outcome {
            Outcome::Emitted(effects) => Ok(effects.emissions.len()),
            Outcome::Failed(failure) => Err(anyhow::anyhow!("the guest failed: {failure}")),
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
