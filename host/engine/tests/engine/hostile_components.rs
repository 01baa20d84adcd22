//! Components that no compiler of a guest language would make, written as WebAssembly text.

use bytes::Bytes;
use serde_json::json;
use trellis_engine::{
    Digest, Engine, EngineConfig,
    FailureKind::{LimitExceeded, Trapped},
    UploadError,
};
use trellis_model::call_limits::CallLimits;

use crate::{
    handmade::{ENDLESS, HARMLESS, Parts},
    support::{Fixture, config},
};

pub fn harmless() -> Bytes {
    HARMLESS.component()
}

pub fn harmless_titled(title: &str) -> Bytes {
    Parts { description: &json!({ "title": title }).to_string(), ..HARMLESS }.component()
}

async fn refused(parts: Parts<'_>, text: &str) {
    // A folder of its own: what was accepted once is not asked again.
    let folder = tempfile::tempdir().expect("a folder");
    let config = EngineConfig { artefacts_folder: folder.path().to_owned(), ..config() };
    let engine = Engine::new(&config).expect("an engine");
    let error = engine.compile(parts.component()).await.expect_err("refused");
    assert!(matches!(error, UploadError::Faults(_)), "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[tokio::test]
async fn a_harmless_component_of_this_make_is_accepted_and_runs() {
    let fixture = Fixture::new().await;
    fixture.engine.compile(harmless()).await.expect("accepted");
    let transformer = fixture.engine.load(Digest::of(&harmless()), || async { Err("cached") }).await.expect("cached");
    let report = transformer.call(fixture.call_of(&json!(null))).await;
    assert!(crate::support::effects(report).emissions.is_empty());
}

#[tokio::test]
async fn an_endless_description_is_refused() {
    refused(Parts { describe: ENDLESS, ..HARMLESS }, "`describe` failed: used up its CPU budget of 1000 ms").await;
}

#[tokio::test]
async fn an_endless_start_function_is_refused() {
    let fields = "(func $begin (loop $again (br $again))) (start $begin)";
    refused(Parts { fields, ..HARMLESS }, "`describe` failed: used up its CPU budget of 1000 ms").await;
}

#[tokio::test]
async fn a_description_that_traps_is_refused() {
    refused(Parts { describe: "unreachable", ..HARMLESS }, "`describe` failed: trapped: wasm `unreachable`").await;
}

#[tokio::test]
async fn a_description_out_of_memory_bounds_is_refused() {
    refused(Parts { describe: "(i32.const 65534)", ..HARMLESS }, "`describe` failed: trapped: ").await;
}

#[tokio::test]
async fn a_description_that_is_none_is_refused() {
    refused(Parts { description: "hello", ..HARMLESS }, "`describe` returned no valid description").await;
    refused(Parts { description: r#"{"outputs":{"a b":{}}}"#, ..HARMLESS }, "port name `a b`").await;
}

#[tokio::test]
async fn exports_of_other_types_are_refused() {
    let parts = Parts { described: "u32", ..HARMLESS };
    refused(parts, "describe").await;
}

#[tokio::test]
async fn an_endless_allocator_uses_up_the_cpu_budget_of_the_call() {
    let fixture = Fixture { limits: CallLimits { cpu_ms: 100, ..CallLimits::default() }, ..Fixture::new().await };
    let parts = Parts { realloc: ENDLESS, ..HARMLESS };
    fails(fixture, parts, LimitExceeded, "CPU budget of 100 ms").await;
}

#[tokio::test]
async fn an_allocator_out_of_bounds_is_a_trap() {
    let parts = Parts { realloc: "(i32.const -16)", ..HARMLESS };
    fails(Fixture::new().await, parts, Trapped, "trapped: ").await;
}

#[tokio::test]
async fn a_result_out_of_bounds_is_a_trap() {
    let parts = Parts { transform: "(i32.const -8)", ..HARMLESS };
    fails(Fixture::new().await, parts, Trapped, "trapped: ").await;
}

#[tokio::test]
async fn endless_recursion_uses_up_the_stack() {
    let fields = "(func $again (call $again))";
    let parts = Parts { fields, transform: "(call $again) (i32.const 512)", ..HARMLESS };
    fails(Fixture::new().await, parts, LimitExceeded, "used up its stack of 512 KiB").await;
}

#[tokio::test]
async fn tables_cannot_grow_without_end() {
    let fields = "(table $elements 1 funcref)
        (func $grow (loop $again
            (br_if $again (i32.ne (i32.const -1) (table.grow $elements (ref.null func) (i32.const 1000))))))";
    let parts = Parts { fields, transform: "(call $grow) unreachable", ..HARMLESS };
    fails(Fixture::new().await, parts, LimitExceeded, "asked for more than 100000 table elements; then trapped").await;
}

async fn fails(fixture: Fixture, parts: Parts<'_>, kind: trellis_engine::FailureKind, text: &str) {
    let bytes = parts.component();
    let digest = fixture.engine.compile(bytes).await.expect("accepted").digest;
    let transformer = fixture.engine.load(digest, || async { Err("cached") }).await.expect("cached");
    let fixture = Fixture { transformer, ..fixture };
    fixture.fails(json!(null), kind, text).await;
}

#[tokio::test]
async fn a_gibibyte_of_memory_from_the_start_is_refused() {
    refused(Parts { memory_pages: 16_384, ..HARMLESS }, "memory").await;
}

#[tokio::test]
async fn memories_of_several_modules_are_added_up() {
    let before = "(core module $other (memory 640)) (core instance (instantiate $other))";
    let parts = Parts { before, memory_pages: 640, ..HARMLESS };
    refused(parts, "asked for more memory than its limit of 64 MiB").await;
}

#[tokio::test]
async fn too_many_memories_tables_and_instances_are_refused() {
    let module = |fields: &str, times: usize| {
        format!("(core module $other {fields}) {}", "(core instance (instantiate $other))".repeat(times))
    };
    for (before, text) in [
        (module("(memory 1)", 4), "linear memories"),
        (module("(table 1 funcref)", 9), "tables"),
        (module("", 64), "core module instances"),
        (module("(table 100001 funcref)", 1), "table"),
    ] {
        refused(Parts { before: &before, ..HARMLESS }, text).await;
    }
}

#[tokio::test]
async fn wasm_features_that_are_off_are_refused() {
    for fields in [
        "(memory $second 1)",
        "(memory $shared 1 1 shared)",
        "(func (param v128 v128 v128) (result v128) (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))",
        "(type $struct (struct (field i32)))",
        "(tag $thrown)",
    ] {
        let engine = Engine::new(&config()).expect("an engine");
        let component = Parts { fields, ..HARMLESS }.component();
        let error = engine.compile(component).await.expect_err(fields);
        assert!(matches!(error, UploadError::Faults(_)), "{fields}: {error}");
    }
}

#[tokio::test]
async fn a_component_larger_than_the_pool_allows_names_the_limit() {
    let small = EngineConfig { memory_bytes_max: 1 << 20, ..config() };
    let engine = Engine::new(&small).expect("an engine");
    let error = engine.compile(Parts { memory_pages: 17, ..HARMLESS }.component()).await.expect_err("refused");
    assert!(error.to_string().contains("memory"), "{error}");
}
