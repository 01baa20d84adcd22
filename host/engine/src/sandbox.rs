//! What all calls share: wasmtime's engine as it is configured here, the slots for running guests, and the host's memory
//! for them. Makes the stores, each with every limit set.
//!
//! The settings of this file are the sandbox: changing one needs a test that fails without it.

use std::sync::Arc;

use trellis_model::call_limits::CallLimits;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store, Strategy, UpdateDeadline,
    WasmBacktraceDetails, component::ResourceTable,
};

use crate::{
    budget::{CpuBudget, Tick},
    capabilities::Capabilities,
    egress::policy::EgressPolicy,
    engine::EngineConfig,
    guest_state::GuestState,
    memory::{CORE_INSTANCES_MAX, HostMemory, MEMORIES_MAX, MemoryLimiter, TABLES_MAX},
    room::{Room, RoomSize},
    turns::Turns,
};

/// Stack of WebAssembly code.
pub(crate) const WASM_STACK_BYTES: usize = 512 * 1024;
/// Stack of a call, for WebAssembly and the host functions that it calls.
const CALL_STACK_BYTES: usize = 2 * 1024 * 1024;
/// The part of a used stack that is zeroed by hand and stays resident; the rest goes back to the system. Calls rarely
/// use more, and a page that stays need not be faulted in again.
const STACK_RESIDENT_BYTES: usize = 16 * 1024;
/// The parts of a memory and of a table that are reset by hand and stay resident, for the same reason.
const MEMORY_RESIDENT_BYTES: usize = 256 * 1024;
const TABLE_RESIDENT_BYTES: usize = 16 * 1024;
/// Stores in the pool beyond the slots, so that one that is being torn down never fails another that begins.
const POOL_SLACK: u32 = 4;
/// Least number of bytes that a guest may pass to the host in one call of a host function.
const HOST_CALL_BYTES_MIN: u64 = 8 * 1024 * 1024;

pub(crate) struct Sandbox {
    pub engine: wasmtime::Engine,
    /// For all guests that run at the same time. A call waits for its part before its time begins.
    pub room: Room,
    /// Of guests that compute for long; see [`CpuBudget`].
    pub turns: Turns,
    pub policy: Arc<EgressPolicy>,
    memory: Arc<HostMemory>,
    pooling: bool,
}

impl Sandbox {
    pub fn new(config: &EngineConfig) -> wasmtime::Result<Self> {
        let pooled = wasmtime::Engine::new(&pooling_config(config));
        let (engine, pooling) = match pooled {
            Ok(engine) => (engine, true),
            Err(error) => {
                tracing::warn!(
                    reason = format!("{error:#}"),
                    "cannot reserve address space for a pool of guests; each call will allocate its own memory, more slowly"
                );
                (wasmtime::Engine::new(&on_demand_config())?, false)
            }
        };
        Ok(Self {
            engine,
            room: Room::new(RoomSize {
                instances: config.instances_max,
                bytes: config.memory_bytes_total,
                account_percent: config.account_percent,
            }),
            turns: Turns::new(config.computing_max),
            policy: Arc::new(config.egress.clone()),
            memory: Arc::new(HostMemory::new(config.memory_bytes_total)),
            pooling,
        })
    }

    /// Whether guests come from a pool, which is the fast way.
    pub fn is_pooling(&self) -> bool {
        self.pooling
    }

    pub fn store(&self, capabilities: Capabilities, limits: &CallLimits, cpu: &Arc<CpuBudget>) -> Store<GuestState> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        let memory = MemoryLimiter::new(Arc::clone(&self.memory), limits.memory_bytes, limits.table_elements as usize);
        let mut store = Store::new(&self.engine, GuestState { capabilities, table, memory });
        store.limiter(|state| &mut state.memory);
        store.set_max_component_handles(limits.handles as usize);
        store.set_hostcall_fuel(host_call_bytes(limits));
        let cpu = Arc::clone(cpu);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| Ok(on_tick(&cpu)));
        store
    }
}

/// At each tick that finds the guest running: end it if its budget is used up, else let others run too.
fn on_tick(cpu: &Arc<CpuBudget>) -> UpdateDeadline {
    match cpu.tick() {
        Tick::UsedUp => UpdateDeadline::Interrupt,
        Tick::GoOn => UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())),
        Tick::TakeTurns => {
            let cpu = Arc::clone(cpu);
            UpdateDeadline::YieldCustom(1, Box::pin(async move { cpu.take_turn().await }))
        }
    }
}

/// What a guest may pass in one call must hold the largest output, write and event, or their own limits would never be
/// reached.
pub(crate) fn host_call_bytes(limits: &CallLimits) -> usize {
    let largest = limits.output_bytes.max(limits.storage_write_bytes).max(limits.outbox_bytes);
    usize::try_from(HOST_CALL_BYTES_MIN.max(2 * largest)).unwrap_or(usize::MAX)
}

fn base_config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(CALL_STACK_BYTES)
        .async_stack_zeroing(true)
        // Guests wait in host calls, one at a time: nothing in WASI 0.2 needs more.
        .concurrency_support(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_component_model(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false);
    config
}

/// What a compiler process makes machine code with, for an engine that has a pool or none. The pool itself does not show in
/// the code, and would take the address space that the process is to do without.
#[cfg(unix)]
pub(crate) fn compiler_config(pooling: bool) -> Config {
    if pooling { base_config() } else { on_demand_config() }
}

fn pooling_config(settings: &EngineConfig) -> Config {
    let instances = settings.instances_max.saturating_add(POOL_SLACK);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(instances.saturating_mul(MEMORIES_MAX))
        .total_tables(instances.saturating_mul(TABLES_MAX))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size(usize::try_from(settings.memory_bytes_max).unwrap_or(usize::MAX))
        .table_elements(settings.table_elements_max as usize)
        .max_unused_warm_slots(instances)
        .async_stack_keep_resident(STACK_RESIDENT_BYTES)
        .linear_memory_keep_resident(MEMORY_RESIDENT_BYTES)
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = base_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Where the address space is limited, a memory gets what it needs and no more, with bounds checked in code.
fn on_demand_config() -> Config {
    let mut config = base_config();
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(0)
        .memory_reservation_for_growth(1024 * 1024)
        .memory_guard_size(64 * 1024)
        .memory_may_move(true);
    config
}
