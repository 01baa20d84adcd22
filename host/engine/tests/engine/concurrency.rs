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
    // Both on the one thread of this test's runtime, the spinning guest first.
    let began = Instant::now();
    let spinning = fixture.call(json!({"do": "spin"}));
    let others = async {
        for _ in 0..5 {
            fixture.is_well().await;
        }
        began.elapsed()
    };
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
async fn the_cache_keeps_to_its_size_and_gives_up_what_was_not_used_for_longest() {
    let engine = Engine::new(&EngineConfig { components_max: 2, ..config() }).expect("an engine");
    let load = async |title: &str| {
        let bytes = crate::hostile_components::harmless_titled(title);
        let transformer = engine.load(Digest::of(&bytes), || async { Ok::<_, String>(bytes) }).await.expect("accepted");
        assert_eq!(transformer.description().title, title);
        Arc::downgrade(&transformer)
    };
    let (first, second) = (load("first").await, load("second").await);
    assert!(load("first").await.ptr_eq(&first), "from memory");
    let third = load("third").await;
    let in_memory = [&first, &second, &third].map(|transformer| transformer.upgrade().is_some());
    assert_eq!(in_memory, [true, false, true]);
    assert!(load("second").await.upgrade().is_some(), "comes back");
}

/// In this process, guests come from a pool; in one with little address space, each call has to do without.
#[tokio::test]
async fn guests_come_from_a_pool_where_address_space_allows() {
    let limited = std::env::var_os(LIMITED).is_some();
    let fixture = Fixture::new().await;
    assert_eq!(fixture.engine.is_pooling(), !limited);
    fixture.is_well().await;
    let text = "asked for more memory than its limit of 64 MiB";
    fixture.fails(json!({"do": "allocate", "mib": 65}), trellis_engine::FailureKind::LimitExceeded, text).await;
}

const LIMITED: &str = "TRELLIS_TEST_ADDRESS_SPACE_IS_LIMITED";

#[cfg(target_os = "linux")]
#[test]
fn where_address_space_is_limited_guests_run_without_a_pool() {
    // The guest must be built outside: a compiler needs more address space than this.
    misbehave();
    let test = "concurrency::guests_come_from_a_pool_where_address_space_allows";
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 4000000 && exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().expect("this test"))
        .arg(test)
        .env(LIMITED, "yes")
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
