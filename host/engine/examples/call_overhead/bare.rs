//! The same call with wasmtime alone, as its documentation shows it: pooled instances and WASI, a fresh store each time,
//! and none of our limits.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "trellis:plugin/plugin",
        imports: { "trellis:plugin/web": async, "trellis:plugin/storage": async },
        exports: { default: async },
    });
}

use bindings::{
    PluginPre,
    trellis::plugin::{
        events,
        storage::{self, StorageError},
        web,
    },
    wasi::{config::store, logging::logging},
};

/// How the pool of bare wasmtime is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub name: &'static str,
    /// Keeps pages of used memories, tables and stacks, as the engine does.
    pub keep_resident: bool,
    /// Zeroes the stack of a call after it, as the engine does.
    pub zero_stacks: bool,
}

/// The defaults first: that is what the engine is held against.
pub const SETUPS: [Setup; 4] = [
    Setup { name: "bare wasmtime", keep_resident: false, zero_stacks: false },
    Setup { name: "bare wasmtime, stacks zeroed", keep_resident: false, zero_stacks: true },
    Setup { name: "bare wasmtime, pages kept resident", keep_resident: true, zero_stacks: false },
    Setup { name: "bare wasmtime, pages kept resident, stacks zeroed", keep_resident: true, zero_stacks: true },
];

impl Setup {
    fn config(self) -> Config {
        let mut pool = PoolingAllocationConfig::new();
        if self.keep_resident {
            pool.linear_memory_keep_resident(256 * 1024)
                .table_keep_resident(16 * 1024)
                .async_stack_keep_resident(16 * 1024)
                .pagemap_scan(Enabled::Auto);
        }
        let mut config = Config::new();
        config.async_stack_zeroing(self.zero_stacks).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config
    }
}

pub struct Bare {
    engine: Engine,
    plugin: PluginPre<State>,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Bare {
    pub fn new(bytes: &[u8], setup: Setup) -> Self {
        let engine = Engine::new(&setup.config()).expect("an engine");
        let component = Component::from_binary(&engine, bytes).expect("a component");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI");
        bindings::Plugin::add_to_linker::<_, wasmtime::component::HasSelf<State>>(&mut linker, |state| state)
            .expect("our interfaces");
        let plugin = PluginPre::new(linker.instantiate_pre(&component).expect("linked")).expect("a plugin");
        Self { engine, plugin }
    }

    pub async fn call(&self, input: &str, config: &str) {
        let state = State { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        let event = events::Event {
            run: "run_01hzx5v9k3qaf".to_owned(),
            node: "total".to_owned(),
            attempt: 1,
            idempotency_key: "run_01hzx5v9k3qaf-total".to_owned(),
            attributes: vec![("trigger".to_owned(), "tasks".to_owned())],
            inputs: vec![("in".to_owned(), input.to_owned())],
        };
        let plugin = self.plugin.instantiate_async(&mut store).await.expect("an instance");
        let config = config.to_owned();
        let result = plugin.trellis_plugin_transformer().call_transform(&mut store, &event, &config).await;
        assert_eq!(result.expect("no trap").expect("no failure").len(), 1);
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl events::Host for State {}

impl logging::Host for State {
    fn log(&mut self, _level: logging::Level, _context: String, _message: String) {}
}

impl store::Host for State {
    fn get(&mut self, _key: String) -> Result<Option<String>, store::Error> {
        Ok(None)
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        Ok(Vec::new())
    }
}

impl web::Host for State {
    async fn fetch(&mut self, _request: web::Request) -> Result<web::Response, web::WebError> {
        Err(web::WebError::Timeout)
    }
}

impl storage::Host for State {
    async fn get(&mut self, _store: String, _key: String) -> Result<Option<storage::Entry>, StorageError> {
        Ok(None)
    }

    async fn set(
        &mut self,
        _store: String,
        _key: String,
        _value: Vec<u8>,
        _options: storage::WriteOptions,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    async fn delete(&mut self, _store: String, _key: String) -> Result<(), StorageError> {
        Ok(())
    }

    async fn list(
        &mut self,
        _store: String,
        _prefix: String,
        _after: Option<String>,
        _limit: u32,
    ) -> Result<storage::Page, StorageError> {
        Ok(storage::Page { keys: Vec::new(), next: None })
    }

    async fn add(&mut self, _store: String, _key: String, _delta: i64) -> Result<(), StorageError> {
        Ok(())
    }
}
