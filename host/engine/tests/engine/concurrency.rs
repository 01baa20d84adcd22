//! Many calls at once: a full pool waits, and one guest does not hold up another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use trellis_engine::{Digest, Engine, EngineConfig};
use trellis_model::call_limits::CallLimits;

use crate::support::{Fixture, config, effects, misbehave};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_pool_wait_for_a_slot_before_their_time_begins() {
    let limits = CallLimits { wall_ms: 1_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::with(EngineConfig { instances_max: 2, ..config() }).await };
    let reports = join_all((0..20).map(|_| fixture.call(json!({"do": "sleep", "ms": 100})))).await;
    // Ten rounds of 100 ms: over the wall limit, were waiting counted.
    let waited = reports.iter().map(|report| report.metering.queued_us).max();
    assert!(waited >= Some(800_000), "{waited:?}");
    reports.into_iter().map(effects).for_each(drop);
}

#[tokio::test]
async fn a_spinning_guest_lets_others_run() {
    let limits = CallLimits { cpu_ms: 1_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    let spinning = fixture.call(json!({"do": "spin"}));
    let others = async {
        let began = Instant::now();
        for _ in 0..5 {
            fixture.is_well().await;
        }
        began.elapsed()
    };
    // On the one thread of this test's runtime.
    let (_, took) = tokio::join!(spinning, others);
    assert!(took < Duration::from_millis(800), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_component_is_loaded_once_for_all_callers() {
    let engine = Engine::new(&config()).expect("an engine");
    let digest = Digest::of(b"(not kept)");
    let asked = Arc::new(AtomicU32::new(0));
    let loads = (0..100).map(|_| {
        let asked = Arc::clone(&asked);
        engine.load(digest, move || async move {
            asked.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, String>(Bytes::from_static(b"(not kept)"))
        })
    });
    // These bytes are refused, so every caller tries in turn; had they been good, one would have loaded for all.
    assert!(join_all(loads).await.iter().all(Result::is_err));

    let fresh = tempfile::tempdir().expect("a folder");
    let engine =
        Engine::new(&EngineConfig { artefacts_folder: fresh.path().to_owned(), ..config() }).expect("an engine");
    let asked = Arc::new(AtomicU32::new(0));
    let loads = (0..100).map(|_| {
        let asked = Arc::clone(&asked);
        engine.load(Digest::of(&misbehave()), move || async move {
            asked.fetch_add(1, Relaxed);
            Ok::<_, String>(misbehave())
        })
    });
    assert!(join_all(loads).await.iter().all(Result::is_ok));
    assert_eq!(asked.load(Relaxed), 1);
}

#[tokio::test]
async fn the_cache_keeps_to_its_size() {
    let engine = Engine::new(&EngineConfig { components_max: 1, ..config() }).expect("an engine");
    let asked = AtomicU32::new(0);
    let load = |bytes: Bytes| {
        asked.fetch_add(1, Relaxed);
        async { Ok::<_, String>(bytes) }
    };
    let first = misbehave();
    let second = crate::hostile_components::harmless();
    for bytes in [&first, &second, &first] {
        engine.load(Digest::of(bytes), || load(bytes.clone())).await.expect("accepted");
    }
    // Both come back from disk without being asked for, once they were compiled; the second one is compiled here at most.
    assert!(asked.load(Relaxed) <= 1, "{asked:?}");
    let transformer = engine.load(Digest::of(&second), || load(second.clone())).await.expect("accepted");
    assert_eq!(transformer.description().title, "harmless");
}
