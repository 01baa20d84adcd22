//! Components that are small to send and endless to compile. The compiler is a process of its own that runs into its limits;
//! the host never has in memory what the bomb takes.

use std::{fs, time::Duration};

use super::{
    accepted,
    bytes::{Upload, module, number, small},
    first_fault, upload,
};
use crate::support::{Host, Stage, eventually};

const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: [u8; 2] = [0x03, 0x40];
const END: u8 = 0x0b;
/// Puts the function's parameter on the stack.
const PARAMETER: [u8; 2] = [0x20, 0];
const MULTIPLY: u8 = 0x6c;
const ADD: u8 = 0x6a;
const BRANCH_IF_0: [u8; 2] = [0x0d, 0];
const BRANCH_TABLE: u8 = 0x0e;
const SET_LOCAL: u8 = 0x21;
const GET_LOCAL: u8 = 0x20;

/// One function with a line of arithmetic that never ends.
fn long_function() -> Vec<u8> {
    let step = [&PARAMETER[..], &[MULTIPLY], &PARAMETER, &[ADD]].concat();
    module(&[[PARAMETER.to_vec(), step.repeat(600_000)].concat()], 0)
}

fn many_functions() -> Vec<u8> {
    let function = [&PARAMETER[..], &PARAMETER, &[ADD]].concat();
    module(&vec![function; 290_000], 0)
}

fn deep_nesting() -> Vec<u8> {
    const DEPTH: usize = 1_300_000;
    module(&[[BLOCK.repeat(DEPTH), vec![END; DEPTH], PARAMETER.to_vec()].concat()], 0)
}

/// Jump tables as large as the compiler takes them, one behind the other.
fn branch_tables() -> Vec<u8> {
    const TARGETS: usize = 65_000;
    const DEPTH: usize = 120;
    let target = |index: usize| number(index % DEPTH);
    let targets: Vec<u8> = (0..=TARGETS).flat_map(target).collect();
    let table =
        [BLOCK.repeat(DEPTH), PARAMETER.to_vec(), vec![BRANCH_TABLE], number(TARGETS), targets, vec![END; DEPTH]];
    module(&[[table.concat().repeat(60), PARAMETER.to_vec()].concat()], 0)
}

/// As many locals as are allowed, each alive through many loops.
fn many_locals() -> Vec<u8> {
    const LOCALS: usize = 49_000;
    let step = |index: usize| {
        let local = number(1 + (index * 7_919) % LOCALS);
        let change = [&[GET_LOCAL][..], &local, &PARAMETER, &[ADD, SET_LOCAL], &local].concat();
        [&LOOP[..], &change, &PARAMETER, &BRANCH_IF_0, &[END]].concat()
    };
    module(&[[(0..220_000).flat_map(step).collect(), PARAMETER.to_vec()].concat()], LOCALS)
}

/// Bombs that take memory long before they take time.
fn large_bombs() -> [(&'static str, Upload); 3] {
    [
        ("a function that never ends", long_function()),
        ("huge jump tables", branch_tables()),
        ("many locals", many_locals()),
    ]
    .map(|(name, module)| (name, small().with_module(&module)))
}

/// Bombs that take time.
fn slow_bombs() -> [(&'static str, Upload); 2] {
    [("many functions", many_functions()), ("deep nesting", deep_nesting())]
        .map(|(name, module)| (name, small().with_module(&module)))
}

/// The most memory that a process ever had, in KiB.
fn memory_peak_kib(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.process())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The compilers of a host that are at work.
fn compilers(host: &Host) -> Vec<u32> {
    let parent = host.process();
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .into_iter()
        .chain(
            fs::read_dir(format!("/proc/{parent}/task"))
                .into_iter()
                .flatten()
                .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok()),
        )
        .flat_map(|children| children.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .filter(|child| {
            fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.contains("compile-component"))
        })
        .collect()
}

async fn a_compiler_of(host: &Host) -> u32 {
    eventually("a compiler is at work", async || compilers(host).first().copied()).await
}

fn is_alive(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Sends bombs to a host with these limits, which must say of each what it broke; the host itself must not grow by it.
async fn set_off(bombs: &[(&'static str, Upload)], memory: &str, cpu: &str, says: &str) {
    let stage = Stage::with(|plan| {
        let plan = plan.set("uploads.compile_memory", memory).set("uploads.compile_cpu", cpu);
        plan.set("uploads.compile_wall", "1h").set("http.request_timeout", "1h")
    })
    .await;
    let account = stage.account("acme").await;
    // What a host needs for an upload at all.
    accepted(&account, "first", "before the bombs").await;
    let before_kib = memory_peak_kib(&stage.host);
    for (name, bomb) in bombs {
        let fault = first_fault(upload(&account, "bomb", 1, bomb.clone()).await);
        assert_eq!(fault, says, "{name}");
    }
    let growth_kib = memory_peak_kib(&stage.host) - before_kib;
    println!("{says}: the host itself grew by {} MiB", growth_kib / 1024);
    assert!(growth_kib < HOST_GROWTH_KIB_MAX, "the host itself grew by {growth_kib} KiB");
    assert_eq!(compilers(&stage.host), [0; 0]);
    accepted(&account, "last", "after the bombs").await;
}

/// Several times the largest bomb, and far less than what any of them makes of a compiler.
const HOST_GROWTH_KIB_MAX: u64 = 64 * 1024;

#[tokio::test]
async fn a_bomb_that_takes_memory_breaks_the_limit_of_its_compiler_and_leaves_no_trace_in_the_host() {
    set_off(&large_bombs(), "192MiB", "1h", "compiling it takes more than 192 MiB of memory").await;
}

#[tokio::test]
async fn a_bomb_that_takes_time_breaks_the_limit_of_its_compiler_and_leaves_no_trace_in_the_host() {
    set_off(&slow_bombs(), "8GiB", "2s", "compiling it took more than 2 s of CPU time").await;
}

#[tokio::test]
async fn while_a_bomb_goes_off_others_upload_and_the_bomb_has_nothing_that_is_the_hosts() {
    let stage = Stage::with(|plan| {
        plan.set("uploads.compile_cpu", "1h").set("uploads.compile_wall", "1h").set("http.request_timeout", "1h")
    })
    .await;
    let (bad, good) = (stage.account("bad").await, stage.account("good").await);
    let bomb = tokio::spawn(async move { upload(&bad, "bomb", 1, small().with_module(&deep_nesting())).await });
    let compiler = a_compiler_of(&stage.host).await;

    let environment = fs::read_to_string(format!("/proc/{compiler}/environ")).expect("it runs");
    let names: Vec<&str> =
        environment.split('\0').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).collect();
    assert_eq!(names, ["RAYON_NUM_THREADS"]);
    eventually("the compiler has limited itself", async || {
        let limits = fs::read_to_string(format!("/proc/{compiler}/limits")).expect("it runs");
        let is_zero = |what: &str| {
            limits
                .lines()
                .any(|line| line.strip_prefix(what).is_some_and(|rest| rest.split_whitespace().take(2).eq(["0", "0"])))
        };
        ["Max open files", "Max core file size", "Max file size"].into_iter().all(is_zero).then_some(())
    })
    .await;
    // Its own three pipes, and what every process here has from the one who started the tests; nothing that the host opened.
    for file in fs::read_dir(format!("/proc/{compiler}/fd")).expect("it runs") {
        let file = fs::read_link(file.expect("an entry").path()).expect("it is open");
        let is_the_hosts =
            file.starts_with(env!("CARGO_TARGET_TMPDIR")) || file.to_string_lossy().starts_with("socket:");
        assert!(!is_the_hosts, "{}", file.display());
    }

    for number in 0..3 {
        accepted(&good, &format!("plugin{number}"), &format!("beside the bomb {number}")).await;
    }
    assert!(!bomb.is_finished() && is_alive(compiler), "they did not have to wait for it");
    bomb.abort();
    eventually("a compiler ends when its uploader has gone away", async || (!is_alive(compiler)).then_some(())).await;
}

#[tokio::test]
async fn a_compiler_is_killed_at_its_deadline() {
    let stage = Stage::with(|plan| plan.set("uploads.compile_cpu", "1h").set("uploads.compile_wall", "2s")).await;
    let account = stage.account("acme").await;
    let fault = first_fault(upload(&account, "bomb", 1, small().with_module(&deep_nesting())).await);
    assert!(fault.starts_with("compiling it took longer than 2000 ms"), "{fault}");
    eventually("it is gone", async || compilers(&stage.host).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_compiler_ends_with_its_host_even_if_that_is_killed() {
    let stage = Stage::with(|plan| {
        plan.set("uploads.compile_cpu", "1h").set("uploads.compile_wall", "1h").set("http.request_timeout", "1h")
    })
    .await;
    let account = stage.account("acme").await;
    let bomb = tokio::spawn(async move {
        let path = "/v1/plugins/bomb/1.0.0";
        let bytes = small().with_module(&deep_nesting()).into();
        account.api.try_send(reqwest::Method::PUT, path, "application/wasm", bytes).await
    });
    let compiler = a_compiler_of(&stage.host).await;
    // It has the whole component, and works.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stage.host.kill().await;
    eventually("it is gone", async || (!is_alive(compiler)).then_some(())).await;
    assert!(bomb.await.expect("it ran").is_err(), "the host is dead");
}
