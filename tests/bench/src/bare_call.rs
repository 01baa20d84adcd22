//! The other side of P4: the same call with wasmtime alone, as an embedder would write it. A fresh store, a fresh instance
//! with WASI, one call; no limits, and our interfaces do nothing.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Store,
    component::{Component, HasSelf, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "trellis:plugin/plugin",
        imports: { "trellis:plugin/web": async, "trellis:plugin/storage": async, "trellis:plugin/records": async },
        exports: { default: async },
    });
}

use bindings::{
    Plugin, PluginPre,
    trellis::plugin::{
        events,
        outbox::{self, OutboxError},
        progress,
        records::{self, RecordsError},
        secrets::{self, SecretError},
        storage::{self, StorageError},
        web,
    },
    wasi::{config::store, logging::logging},
};

/// How wasmtime is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Whatever makes calls fast or slow as in the engine, but none of its limits: no epochs, no fuel, no limiter.
    AsTheEngine,
    /// A pool, and nothing else set.
    Defaults,
}

impl Setup {
    fn config(self) -> Config {
        let (mut config, mut pool) = (Config::new(), PoolingAllocationConfig::new());
        if self == Self::AsTheEngine {
            // The same figures as in the engine's sandbox.
            pool.linear_memory_keep_resident(256 * 1024)
                .table_keep_resident(16 * 1024)
                .async_stack_keep_resident(16 * 1024)
                .max_memory_size(64 * 1024 * 1024)
                .pagemap_scan(Enabled::Auto);
            config
                .cranelift_opt_level(OptLevel::Speed)
                .max_wasm_stack(512 * 1024)
                .async_stack_size(2 * 1024 * 1024)
                .async_stack_zeroing(true)
                .concurrency_support(false);
        }
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config
    }
}

pub struct BareCall {
    engine: Engine,
    plugin: PluginPre<State>,
    event: events::Event,
    config: String,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl BareCall {
    /// # Errors
    /// Wasmtime does not take the component.
    pub fn new(component: &[u8], setup: Setup, event: trellis_engine::Event, config: &str) -> wasmtime::Result<Self> {
        let engine = Engine::new(&setup.config())?;
        let component = Component::from_binary(&engine, component)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Plugin::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        let plugin = PluginPre::new(linker.instantiate_pre(&component)?)?;
        let trellis_engine::Event { run, node, attempt, idempotency_key, attributes, inputs } = event;
        let event = events::Event { run, node, attempt, idempotency_key, attributes, inputs };
        Ok(Self { engine, plugin, event, config: config.to_owned() })
    }

    /// One call; returns how many emissions there were.
    ///
    /// # Errors
    /// The guest trapped or failed.
    pub async fn call(&self) -> wasmtime::Result<usize> {
        let state = State { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        // The engine takes its own copies of these, too.
        let (event, config) = (self.event.clone(), self.config.clone());
        let plugin = self.plugin.instantiate_async(&mut store).await?;
        let emitted = plugin.trellis_plugin_transformer().call_transform(&mut store, &event, &config).await?;
        match emitted {
            Ok(emissions) => Ok(emissions.len()),
            Err(failure) => wasmtime::bail!("the guest failed: {failure:?}"),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl events::Host for State {}

impl outbox::Host for State {
    fn emit(&mut self, _grid: String, _data: String, _options: outbox::EmitOptions) -> Result<(), OutboxError> {
        Ok(())
    }
}

impl secrets::Host for State {
    fn get(&mut self, name: String) -> Result<String, SecretError> {
        Err(SecretError::Denied(name))
    }
}

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

impl progress::Host for State {
    fn report(&mut self, _fraction: f64, _text: String) {}
}

impl records::Host for State {
    async fn get(&mut self, _collection: String, _key: String) -> Result<Option<records::Entry>, RecordsError> {
        Ok(None)
    }

    async fn put(
        &mut self,
        _collection: String,
        _key: String,
        _data: String,
        _options: records::WriteOptions,
    ) -> Result<(), RecordsError> {
        Ok(())
    }

    async fn delete(
        &mut self,
        _collection: String,
        _key: String,
        _options: records::WriteOptions,
    ) -> Result<(), RecordsError> {
        Ok(())
    }

    async fn query(
        &mut self,
        _collection: String,
        _selection: records::Selection,
    ) -> Result<records::Page, RecordsError> {
        Ok(records::Page { records: Vec::new(), next: None })
    }
}
