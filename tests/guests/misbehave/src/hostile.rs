//! Using up what a guest is given, without any capability.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::bindings::wasi::logging::logging::{Level, log};

pub fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

pub fn spin_for(ms: u64) -> Value {
    let end = Instant::now() + Duration::from_millis(ms);
    let mut rounds = 0_u64;
    while Instant::now() < end {
        rounds = black_box(rounds + 1);
    }
    json!(rounds)
}

pub fn allocate(mib: usize) -> Value {
    let block = vec![1_u8; mib << 20];
    json!(black_box(&block).len())
}

/// Asks politely, and goes on when it is refused.
pub fn allocate_and_go_on(mib: usize) -> Value {
    let mut block: Vec<u8> = Vec::new();
    json!(black_box(block.try_reserve(mib << 20)).is_ok())
}

pub fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if frame[0] == 0 { 0 } else { recurse(depth + 1) + frame[63] }
}

/// Few instructions, much work: each round is one `memory.copy`.
pub fn copy_for_ever() -> ! {
    let mut block = vec![1_u8; 32 << 20];
    let half = block.len() / 2;
    loop {
        black_box(&mut block).copy_within(..half, half);
    }
}

pub fn pass_string(bytes: usize) -> Value {
    log(Level::Info, "", &"x".repeat(bytes));
    json!(bytes)
}

/// Leaves a secret all over memory.
pub fn remember(secret: &str) -> Value {
    let filled = secret.repeat((1 << 20) / secret.len().max(1));
    let stack = black_box([filled.as_bytes()[0]; 4_096]);
    std::mem::forget(black_box(filled));
    json!(stack.len())
}

/// Counts the places in memory where a secret is found, besides those that this call itself made. Memory is taken fresh
/// from the allocator without being cleared, as an attacker would.
#[allow(clippy::uninit_vec, reason = "looking at memory that was never written is what this is for")]
pub fn recall(secret: &str) -> Value {
    let length = 8 << 20;
    let mut block: Vec<u8> = Vec::with_capacity(length);
    // SAFETY: not sound in general, but linear memory always has some value, and that value is what is looked for.
    unsafe { block.set_len(length) };
    let found = block.windows(secret.len()).filter(|window| *window == secret.as_bytes()).count();
    json!(found)
}
