//! Every limit of a call, each with a guest that tries to go over it.

use std::time::{Duration, Instant};

use serde_json::json;
use trellis_engine::FailureKind::{LimitExceeded, Permanent, TimedOut, Trapped};
use trellis_model::call_limits::CallLimits;

use crate::support::{Fixture, effects};

fn quick() -> CallLimits {
    CallLimits { cpu_ms: 100, ..CallLimits::default() }
}

#[tokio::test]
async fn an_infinite_loop_uses_up_its_cpu_budget() {
    let fixture = Fixture { limits: quick(), ..Fixture::new().await };
    let began = Instant::now();
    let report = fixture.fails(json!({"do": "spin"}), LimitExceeded, "used up its CPU budget of 100 ms").await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!((100_000..400_000).contains(&report.metering.cpu_us), "{:?}", report.metering);
    fixture.is_well().await;
}

#[tokio::test]
async fn a_loop_of_large_copies_uses_up_its_cpu_budget() {
    let fixture = Fixture { limits: quick(), ..Fixture::new().await };
    fixture.fails(json!({"do": "copy-for-ever"}), LimitExceeded, "CPU budget").await;
}

#[tokio::test]
async fn polling_without_waiting_uses_up_the_cpu_budget() {
    let fixture = Fixture { limits: quick(), ..Fixture::new().await };
    fixture.fails(json!({"do": "poll-for-ever"}), LimitExceeded, "CPU budget").await;
}

#[tokio::test]
async fn work_within_the_budget_is_not_disturbed() {
    let limits = CallLimits { cpu_ms: 1_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    let report = fixture.call(json!({"do": "spin-for", "ms": 100})).await;
    assert!(report.metering.cpu_us > 20_000, "{:?}", report.metering);
    effects(report);
}

#[tokio::test]
async fn a_sleeping_guest_is_ended_by_the_wall_clock_and_not_by_its_cpu_budget() {
    let limits = CallLimits { wall_ms: 200, cpu_ms: 50, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    let began = Instant::now();
    let report =
        fixture.fails(json!({"do": "sleep", "ms": 3_600_000}), TimedOut, "took longer than its limit of 200 ms").await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(report.metering.wall_us >= 200_000, "{:?}", report.metering);
    assert!(report.metering.cpu_us < 50_000, "{:?}", report.metering);
}

#[tokio::test]
async fn waiting_costs_no_cpu_budget() {
    let limits = CallLimits { cpu_ms: 50, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    assert_eq!(fixture.output(json!({"do": "sleep", "ms": 150})).await, json!(150));
}

#[tokio::test]
async fn a_memory_bomb_is_told_its_limit() {
    let fixture = Fixture::new().await;
    let text = "asked for more memory than its limit of 64 MiB; then trapped: wasm `unreachable`";
    let report = fixture.fails(json!({"do": "allocate", "mib": 65}), LimitExceeded, text).await;
    assert!(report.metering.memory_bytes_max < 64 << 20);
    fixture.is_well().await;
}

#[tokio::test]
async fn a_smaller_memory_limit_holds_too() {
    let limits = CallLimits { memory_bytes: 8 << 20, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    let report = fixture.call(json!({"do": "allocate", "mib": 4})).await;
    assert!(report.metering.memory_bytes_max >= 4 << 20, "{:?}", report.metering);
    effects(report);
    fixture.fails(json!({"do": "allocate", "mib": 8}), LimitExceeded, "its limit of 8 MiB").await;
}

#[tokio::test]
async fn a_guest_may_live_with_a_refused_allocation() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.output(json!({"do": "allocate-and-go-on", "mib": 1_000})).await, json!(false));
}

#[tokio::test]
async fn all_guests_together_stay_within_the_hosts_memory() {
    let config = trellis_engine::EngineConfig { memory_bytes_total: 16 << 20, ..crate::support::config() };
    let fixture = Fixture::with(config).await;
    let text = "all memory of the host for guests was in use";
    let report =
        fixture.fails(json!({"do": "allocate", "mib": 20}), trellis_engine::FailureKind::Unavailable, text).await;
    assert!(report.metering.memory_bytes_max <= 16 << 20);
    // The failed call gave its memory back.
    assert_eq!(fixture.output(json!({"do": "allocate", "mib": 10})).await, json!(10 << 20));
}

#[tokio::test]
async fn endless_recursion_uses_up_the_stack() {
    let limits = CallLimits { cpu_ms: 20_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    // Rust keeps large frames in linear memory, whose end it runs into; either way the call ends and the host lives.
    let report = fixture.call(json!({"do": "recurse"})).await;
    let failure = crate::support::failure(&report);
    assert!(matches!(failure.kind, LimitExceeded | Trapped), "{failure}");
    fixture.is_well().await;
}

#[tokio::test]
async fn a_panic_is_a_trap_with_its_message() {
    let fixture = Fixture::new().await;
    let text = "trapped: wasm `unreachable` instruction executed; stderr: ";
    let report = fixture.fails(json!({"do": "panic", "message": "the sky fell"}), Trapped, text).await;
    assert!(crate::support::failure(&report).message.contains("the sky fell"), "{:?}", report.outcome);
    fixture.is_well().await;
}

#[tokio::test]
async fn an_exit_is_not_an_answer() {
    let fixture = Fixture::new().await;
    fixture.fails(json!({"do": "exit", "code": 0}), Trapped, "exited with status 0").await;
    fixture.fails(json!({"do": "exit", "code": 3}), Trapped, "exited with status 1").await;
}

#[tokio::test]
async fn a_log_flood_is_cut_off_and_the_call_goes_on() {
    let limits = CallLimits { log_bytes: 10_000, cpu_ms: 20_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    for (name, field) in [("log", "message"), ("print", "line"), ("print-error", "line")] {
        let report = fixture.call(json!({"do": name, field: "x".repeat(99), "times": 1_000})).await;
        let kept: usize = report.log.lines.iter().map(|line| line.message.len() + line.context.len()).sum();
        assert!((1_000..=10_000).contains(&kept), "{name}: {kept}");
        assert!(report.log.dropped_bytes >= 80_000, "{name}: {}", report.log.dropped_bytes);
        effects(report);
    }
}

#[tokio::test]
async fn output_over_its_limit_is_refused() {
    let limits = CallLimits { output_bytes: 10_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..Fixture::new().await };
    effects(fixture.call(json!({"do": "emit-bytes", "bytes": 9_000})).await);
    let text = "more than its limit of 10000 bytes";
    fixture.fails(json!({"do": "emit-bytes", "bytes": 10_000}), LimitExceeded, text).await;
}

#[tokio::test]
async fn a_huge_string_does_not_reach_the_host() {
    let fixture = Fixture::new().await;
    let text = "passed more than 8 MiB to the host at once";
    fixture.fails(json!({"do": "pass-string", "bytes": 20 << 20}), LimitExceeded, text).await;
    fixture.fails(json!({"do": "emit-bytes", "bytes": 9 << 20}), LimitExceeded, text).await;
    fixture.is_well().await;
}

#[tokio::test]
async fn handles_cannot_be_hoarded() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.output(json!({"do": "leak-fields", "count": 1_000})).await, json!(1_000));
    fixture.fails(json!({"do": "leak-fields", "count": 100_000}), Trapped, "trapped: ").await;
}

#[tokio::test]
async fn random_bytes_are_bounded() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.output(json!({"do": "random", "bytes": 65_536})).await, json!(65_536));
    for bytes in [65_537, 1 << 40, u64::MAX] {
        fixture.fails(json!({"do": "random", "bytes": bytes}), Trapped, "trapped: ").await;
    }
}

#[tokio::test]
async fn emissions_go_to_declared_ports_and_are_json() {
    let fixture = Fixture::new().await;
    let emit = |port: &str, data: &str| json!({"do": "emit", "emissions": [[port, data]]});
    effects(fixture.call(emit("other", "[1]")).await);
    fixture.fails(emit("elsewhere", "1"), Permanent, "port `elsewhere`").await;
    fixture.fails(emit("out", "{nonsense"), Permanent, "no JSON").await;
}
