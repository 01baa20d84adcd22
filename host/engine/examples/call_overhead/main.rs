//! What the engine's limits and capabilities cost: one call through the engine beside one call through bare wasmtime, in
//! turns, with the same component and the same JSON.
//!
//! `cargo run --release -p trellis-engine --example call_overhead -- COMPONENT [INPUT-JSON [CONFIG-JSON]]`

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use trellis_engine::{
    Call, Engine, EngineConfig, Entry, Event, ListedKey, Outcome, Storage, StorageUnavailable, Transformer,
};
use trellis_model::{AccountId, call_limits::CallLimits};

mod bare;

const ROUNDS: usize = 40;
const CALLS_PER_ROUND: u32 = 1_000;

struct Empty;

#[async_trait::async_trait]
impl Storage for Empty {
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

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().expect("the first argument is a component"));
    let input = arguments.next().unwrap_or_else(|| r#"{"n":21.0,"label":"a reading of the day"}"#.to_owned());
    let config = arguments.next().unwrap_or_else(|| r#"{"factor":2.0}"#.to_owned());
    let bytes = std::fs::read(path).expect("the component can be read");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    // On a worker, as in the host.
    runtime.block_on(async { tokio::spawn(compare(bytes, input, config)).await.expect("no panic") });
}

async fn compare(bytes: Vec<u8>, input: String, config: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = Engine::new(&EngineConfig::new(folder.path())).expect("an engine");
    let compiled = engine.compile(bytes.clone().into()).await.expect("a plugin");
    let transformer = engine.load(compiled.digest, || async { Err("cached") }).await.expect("cached");
    let ours = Ours { outbound: engine.outbound(AccountId(1)), transformer, input, config: config.into() };

    for setup in bare::SETUPS {
        let bare = bare::Bare::new(&bytes, setup);
        let (mut ours_us, mut bare_us) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..CALLS_PER_ROUND {
                ours.call().await;
            }
            ours_us.push(per_call_us(began.elapsed()));
            let began = Instant::now();
            for _ in 0..CALLS_PER_ROUND {
                bare.call(&ours.input, &ours.config).await;
            }
            bare_us.push(per_call_us(began.elapsed()));
        }
        let (ours, other) = (median(ours_us), median(bare_us));
        println!(
            "{{\"id\":\"P4\",\"ours\":{ours:.1},\"other\":{other:.1},\"ratio\":{:.3},\"unit\":\"µs\",\"other_is\":\"{}\",\"samples\":{ROUNDS}}}",
            ours / other,
            setup.name
        );
    }
}

struct Ours {
    transformer: Arc<Transformer>,
    outbound: Arc<dyn trellis_engine::Outbound>,
    input: String,
    config: Arc<str>,
}

impl Ours {
    async fn call(&self) {
        let report = self
            .transformer
            .call(Call {
                event: Event {
                    run: "run_01hzx5v9k3qaf".to_owned(),
                    node: "total".to_owned(),
                    attempt: 1,
                    idempotency_key: "run_01hzx5v9k3qaf-total".to_owned(),
                    attributes: vec![("trigger".to_owned(), "tasks".to_owned())],
                    inputs: vec![("in".to_owned(), self.input.clone())],
                },
                config: Arc::clone(&self.config),
                limits: CallLimits::default(),
                grants: Arc::default(),
                storage: Arc::new(Empty),
                outbound: Arc::clone(&self.outbound),
                clock: None,
            })
            .await;
        match report.outcome {
            Outcome::Emitted(effects) => assert_eq!(effects.emissions.len(), 1),
            Outcome::Failed(failure) => panic!("{failure}"),
        }
    }
}

fn per_call_us(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6 / f64::from(CALLS_PER_ROUND)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
