//! The compiler process itself: limits itself, reads one component, writes its machine code, ends.
//!
//! It runs no guest code, knows no folder, and cannot open a file or a socket: it may have no more files than it was born
//! with. When its parent is gone, so is it.

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _, Write as _},
    process::ExitCode,
    thread,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::CodeBuilder;

use super::order::{CODE, COMMAND, FAULT, Order};
use crate::sandbox;

/// How far it steps back behind the threads that serve.
const NICENESS: i32 = 10;
/// Address space beyond the data: the program itself, and what allocators reserve without using it, for each thread.
const ADDRESS_SPACE_EXTRA_BYTES: u64 = 4 << 30;
/// After the time is used up the process is told, once; then it is killed.
const CPU_GRACE_SECONDS: u64 = 2;

/// What keeps the compiler from its work; never the component.
#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("expected `{COMMAND} pooled|on-demand MEMORY_BYTES CPU_SECONDS`, found {0:?}")]
    Order(Vec<OsString>),
    #[error("cannot set up wasmtime: {0}")]
    Wasmtime(String),
    #[error("cannot limit {what}: {source}")]
    Limit { what: &'static str, source: io::Error },
    #[error("the component did not come through: {0}")]
    Input(io::Error),
    #[error("the machine code was not taken: {0}")]
    Output(io::Error),
}

/// To be called first of all in the `main` of a program whose engine compiles in children, before any other thread is
/// started. If this process was started to compile one component, it does that, and answers how to end; in any other
/// process nothing happens.
pub fn compile_if_asked() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    Some(match compile(arguments.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

fn compile(arguments: Vec<OsString>) -> Result<(), ChildError> {
    let order = Order::read(&arguments).ok_or(ChildError::Order(arguments))?;
    let engine = wasmtime::Engine::new(&sandbox::compiler_config(order.pooling))
        .map_err(|error| ChildError::Wasmtime(format!("{error:#}")))?;
    step_back();
    limit(&order)?;
    let component = read_component().map_err(ChildError::Input)?;
    end_with_parent();
    let mut builder = CodeBuilder::new(&engine);
    let given = builder.wasm_binary(&component, None);
    let (kind, answer) = match given.and_then(|builder| builder.compile_component_serialized()) {
        Ok(code) => (CODE, code),
        Err(error) => (FAULT, format!("{error:#}").into_bytes()),
    };
    let mut output = io::stdout().lock();
    let written = output.write_all(&[kind]).and_then(|()| output.write_all(&answer)).and_then(|()| output.flush());
    written.map_err(ChildError::Output)
}

/// Others go first: for the CPU, and to stay when the machine is out of memory. Where the system allows neither, the limits
/// hold all the same.
fn step_back() {
    let _ = rustix::process::nice(NICENESS);
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

fn limit(order: &Order) -> Result<(), ChildError> {
    let same = |most: u64| (most, most);
    let limits = [
        ("core dumps", Resource::Core, same(0)),
        ("CPU time", Resource::Cpu, (order.cpu_seconds, order.cpu_seconds.saturating_add(CPU_GRACE_SECONDS))),
        ("data", Resource::Data, same(order.memory_bytes)),
        #[cfg(target_os = "linux")]
        ("address space", Resource::As, same(order.memory_bytes.saturating_add(ADDRESS_SPACE_EXTRA_BYTES))),
        ("files written", Resource::Fsize, same(0)),
        // No file and no socket can be opened any more; the three pipes stay.
        ("open files", Resource::Nofile, same(0)),
    ];
    for (what, resource, (soft, hard)) in limits {
        // The host may be limited itself already: what is above that cannot be asked for.
        let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let rlimit = Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) };
        setrlimit(resource, rlimit).map_err(|error| ChildError::Limit { what, source: error.into() })?;
    }
    Ok(())
}

fn read_component() -> io::Result<Vec<u8>> {
    let mut input = io::stdin().lock();
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    let mut component = Vec::new();
    input.take(length).read_to_end(&mut component)?;
    if component.len() as u64 == length { Ok(component) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A parent that was killed can kill nobody; but its end of the pipe closes.
fn end_with_parent() {
    let watch = || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(1);
    };
    // Without a thread to be had, the limits end the process.
    let _ = thread::Builder::new().name("parent watch".to_owned()).stack_size(64 * 1024).spawn(watch);
}
