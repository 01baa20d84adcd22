//! Guests that want memory, stack, tables and handles.

use serde_json::json;

use super::{called::call_handmade, computing::refused};
use crate::support::{
    Attack, Ends, Walls,
    handmade::{ENDLESS, HARMLESS, Parts},
};

#[tokio::test]
async fn a_memory_bomb_is_told_its_limit() {
    let ends = Ends::Failed("limit", "asked for more memory than its limit of 64 MiB");
    Walls::new().await.withstand(&Attack::new(json!({ "do": "allocate", "mib": 512 }), ends)).await;
}

#[tokio::test]
async fn memory_up_to_the_limit_comes_back() {
    Walls::new().await.withstand(&Attack::new(json!({ "do": "allocate", "mib": 56 }), Ends::Harmless(""))).await;
}

#[tokio::test]
async fn a_stack_bomb_ends_its_own_call_alone() {
    // Rust keeps large frames in linear memory, whose end it runs into; made by hand it is the other stack.
    let walls = Walls::new().await;
    walls.withstand(&Attack::new(json!({ "do": "recurse" }), Ends::Failed("trap", "trapped"))).await;
    let parts = Parts { fields: "(func $again (call $again))", transform: "(call $again) (i32.const 512)", ..HARMLESS };
    call_handmade(&walls, parts, ("limit", "used up its stack of 512 KiB")).await;
}

#[tokio::test]
async fn a_table_bomb_is_told_its_limit() {
    let fields = "(table $elements 1 funcref)
        (func $grow (loop $again
            (br_if $again (i32.ne (i32.const -1) (table.grow $elements (ref.null func) (i32.const 1000))))))";
    let parts = Parts { fields, transform: "(call $grow) unreachable", ..HARMLESS };
    call_handmade(&Walls::new().await, parts, ("limit", "asked for more than 100000 table elements")).await;
}

#[tokio::test]
async fn a_gibibyte_of_memory_from_the_start_is_refused_at_the_upload() {
    let walls = Walls::new().await;
    let component = Parts { memory_pages: 16_384, ..HARMLESS }.component();
    walls
        .withstand_all(async || {
            let message = refused(&walls, component.clone()).await;
            assert!(message.contains("memory"), "{message}");
        })
        .await;
}

#[tokio::test]
async fn handles_that_are_never_given_back_end_with_the_call() {
    let leak = json!({ "do": "leak-fields", "count": 100_000 });
    Walls::new().await.withstand(&Attack::new(leak, Ends::Failed("trap", "trapped"))).await;
}

#[tokio::test]
async fn an_allocator_that_never_returns_uses_up_the_budget_of_its_call() {
    let parts = Parts { realloc: ENDLESS, ..HARMLESS };
    call_handmade(&Walls::new().await, parts, ("limit", "used up its CPU budget of 300 ms")).await;
}
