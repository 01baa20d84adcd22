//! WASI 0.2, all of it linked and nothing in it allowed but clocks, randomness and standard output: no files, no sockets,
//! no names resolved, empty environment and arguments.
//!
//! Everything is linked because interpreted languages import everything; refusing the imports would refuse the languages.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use wasmtime::component::Linker;
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};

use super::{
    log::{Log, Stream},
    stdio::LogStream,
};
use crate::guest_state::GuestState;

/// The time of day that guests see. Without one they see the machine's.
pub trait WallClock: Send + Sync {
    fn now(&self) -> SystemTime;
}

/// Made when a guest first uses WASI: many never do.
pub(crate) struct Wasi {
    context: Option<Box<WasiCtx>>,
    log: Log,
    clock: Option<Arc<dyn WallClock>>,
    /// Random bytes that the guest may ask for at once.
    random_bytes_max: u64,
}

impl Wasi {
    pub fn new(log: Log, clock: Option<Arc<dyn WallClock>>, random_bytes_max: u64) -> Self {
        Self { context: None, log, clock, random_bytes_max }
    }

    fn context(&mut self) -> &mut WasiCtx {
        self.context.get_or_insert_with(|| Box::new(build(&self.log, self.clock.take(), self.random_bytes_max)))
    }
}

fn build(log: &Log, clock: Option<Arc<dyn WallClock>>, random_bytes_max: u64) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(LogStream { log: log.clone(), stream: Stream::Stdout })
        .stderr(LogStream { log: log.clone(), stream: Stream::Stderr })
        .max_random_size(random_bytes_max)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(clock) = clock {
        builder.wall_clock(GivenClock(clock));
    }
    builder.build()
}

struct GivenClock(Arc<dyn WallClock>);

impl HostWallClock for GivenClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: self.capabilities.wasi.context(), table: &mut self.table }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
