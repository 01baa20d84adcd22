//! The engine: takes components in, keeps them ready, and hands them out to be called.

use std::{
    fmt,
    future::Future,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use trellis_model::{AccountId, call_limits::CallLimits, description::Description, fault::Fault};
use wasmtime::component::{Component, Linker};

use crate::{
    Compiled, FailureKind, LoadError, UploadError,
    bindings::PluginPre,
    cache::Cache,
    call,
    capabilities::Capabilities,
    digest::Digest,
    egress::{
        limits::EgressLimits,
        outbound::Outbound,
        policy::EgressPolicy,
        sender::{AccountSender, Senders},
    },
    epoch,
    guest_state::GuestState,
    sandbox::Sandbox,
    transformer::Transformer,
    turns::NOBODY,
    upload::{
        artefacts::{Artefacts, Label},
        compiler::{Asker, CompileIn, Compiler, blocking, digest},
        limits::UploadLimits,
        misfit,
    },
};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// The size of an engine, and what its guests may reach.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Guests that may run at the same time. Each reserves address space (not memory) for its pool slot. Default 200.
    pub instances_max: u32,
    /// The most memory that any call can be given, in bytes: the size of a pool slot. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Guests that compute for longer than a tick, at the same time. Default: one less than there are cores, so that one core
    /// is always there for all that is short.
    pub computing_max: u32,
    /// The most table elements that any call can be given. Default 100,000.
    pub table_elements_max: u32,
    /// Memory of all running guests together, in bytes: each reserves what it may use. Default 4 GiB.
    pub memory_bytes_total: u64,
    /// The most of the instances and of the memory that one account may hold, in percent. Default 100.
    pub account_percent: u32,
    /// Where compiled components are kept. Private to this user: whoever can write there runs code as this host.
    pub artefacts_folder: PathBuf,
    /// Compiled components on disk, in bytes. Default 4 GiB.
    pub artefacts_bytes_max: u64,
    /// Components kept ready in memory. Default 1,000.
    pub components_max: usize,
    /// Machine code of the components kept ready, in bytes. Default 1 GiB.
    pub code_bytes_max: u64,
    /// Where components are compiled. Default: in this process. A host that takes in what others send must say otherwise.
    pub compile_in: CompileIn,
    /// What taking in one component may cost.
    pub upload: UploadLimits,
    /// Which addresses guests may reach at all.
    pub egress: EgressPolicy,
    pub egress_limits: EgressLimits,
    /// Certificates in PEM that are trusted for outgoing HTTPS besides the platform's. Default none.
    pub ca_certificates: Vec<u8>,
}

impl EngineConfig {
    pub fn new(artefacts_folder: impl Into<PathBuf>) -> Self {
        Self {
            instances_max: 200,
            memory_bytes_max: 64 * MIB,
            computing_max: one_core_less(),
            table_elements_max: 100_000,
            memory_bytes_total: 4 * GIB,
            account_percent: 100,
            artefacts_folder: artefacts_folder.into(),
            artefacts_bytes_max: 4 * GIB,
            components_max: 1_000,
            code_bytes_max: GIB,
            compile_in: CompileIn::ThisProcess,
            upload: UploadLimits::default(),
            egress: EgressPolicy::default(),
            egress_limits: EgressLimits::default(),
            ca_certificates: Vec::new(),
        }
    }
}

/// Cores of this machine but one, and at least one.
pub fn one_core_less() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores.saturating_sub(1)).unwrap_or(u32::MAX).max(1)
}

/// Why no engine could be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot set up wasmtime: {0}")]
    Wasmtime(String),
    #[error("cannot use the folder for compiled components {folder}: {source}")]
    Artefacts { folder: PathBuf, source: io::Error },
    #[error("the certificates of `egress.ca_file` cannot be read: {0}")]
    Certificates(String),
    #[error("cannot start the epoch thread: {0}")]
    Epoch(io::Error),
}

/// Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    sandbox: Arc<Sandbox>,
    linker: Linker<GuestState>,
    compiler: Compiler,
    describe_limits: CallLimits,
    artefacts: Arc<Artefacts>,
    cache: Cache,
    senders: Arc<Senders>,
}

impl Engine {
    /// # Errors
    /// The machine does not have what an engine needs.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let wasmtime_error = |error: wasmtime::Error| EngineError::Wasmtime(format!("{error:#}"));
        let sandbox = Arc::new(Sandbox::new(config).map_err(wasmtime_error)?);
        let mut linker = Linker::new(&sandbox.engine);
        Capabilities::add_to_linker(&mut linker).map_err(wasmtime_error)?;
        let (bytes_max, code_bytes_max) = (config.artefacts_bytes_max, config.upload.code_bytes);
        let artefacts = Artefacts::open(&config.artefacts_folder, &sandbox.engine, bytes_max, code_bytes_max)
            .map_err(|source| EngineError::Artefacts { folder: config.artefacts_folder.clone(), source })?;
        let roots = read_roots(&config.ca_certificates)?;
        let (engine, pooling) = (sandbox.engine.clone(), sandbox.is_pooling());
        epoch::start(&sandbox.engine).map_err(EngineError::Epoch)?;
        Ok(Self(Arc::new(Inner {
            linker,
            compiler: Compiler::new(engine, pooling, config.compile_in.clone(), config.upload),
            describe_limits: config.upload.describe,
            artefacts: Arc::new(artefacts),
            cache: Cache::new(config.components_max, config.code_bytes_max),
            senders: Arc::new(Senders::new(Arc::clone(&sandbox.policy), config.egress_limits, roots)),
            sandbox,
        })))
    }

    /// Whether guests come from a pool. Without one, where address space is limited, calls are slower.
    pub fn is_pooling(&self) -> bool {
        self.0.sandbox.is_pooling()
    }

    /// The way out for the calls of one account: real HTTP, under the operator's policy.
    pub fn outbound(&self, account: AccountId) -> Arc<dyn Outbound> {
        Arc::new(AccountSender { senders: Arc::clone(&self.0.senders), account })
    }

    /// Takes a component in: checks, compiles and links it, asks it for its description, and keeps it ready. The same
    /// bytes again cost nothing.
    ///
    /// # Errors
    /// All that is wrong with the component.
    pub async fn compile(&self, bytes: Bytes) -> Result<Compiled, UploadError> {
        let digest = digest(bytes.clone()).await?;
        self.compile_digested(NOBODY, digest, bytes).await
    }

    /// Like [`Engine::compile`], for an account, which takes turns with others, and for one who has computed the digest while
    /// the bytes came in.
    ///
    /// # Errors
    /// All that is wrong with the component.
    pub async fn compile_digested(
        &self,
        account: AccountId,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<Compiled, UploadError> {
        let is_new = AtomicBool::new(false);
        let taken_in = || self.take_in(account, digest, bytes, &is_new);
        let transformer = self.0.cache.get_or_load(digest, taken_in).await?;
        Ok(Compiled {
            digest,
            description: Arc::clone(&transformer.description),
            imports: transformer.imports.clone(),
            build_time: transformer.build_time,
            is_new: is_new.into_inner(),
        })
    }

    async fn take_in(
        &self,
        account: AccountId,
        digest: Digest,
        bytes: Bytes,
        is_new: &AtomicBool,
    ) -> Result<Arc<Transformer>, UploadError> {
        if let Some(transformer) = self.read_artefact(digest).await? {
            return Ok(Arc::new(transformer));
        }
        is_new.store(true, Relaxed);
        self.build(digest, bytes, Asker::Upload(account)).await.map(Arc::new)
    }

    /// The transformer of a component that was accepted before: from memory, else from the artefact on disk, else
    /// compiled from `bytes`, which are asked for only then. On no account's behalf: as [`Engine::load_for`] one of them all.
    ///
    /// # Errors
    /// The bytes cannot be had, or this host does not accept them.
    pub async fn load<F, E>(
        &self,
        digest: Digest,
        bytes: impl FnOnce() -> F + Send,
    ) -> Result<Arc<Transformer>, LoadError>
    where
        F: Future<Output = Result<Bytes, E>> + Send,
        E: fmt::Display,
    {
        self.load_for(NOBODY, digest, bytes).await
    }

    /// Like [`Engine::load`], for a run of an account: should it have to be compiled, accounts take turns.
    ///
    /// # Errors
    /// Like [`Engine::load`].
    pub async fn load_for<F, E>(
        &self,
        account: AccountId,
        digest: Digest,
        bytes: impl FnOnce() -> F + Send,
    ) -> Result<Arc<Transformer>, LoadError>
    where
        F: Future<Output = Result<Bytes, E>> + Send,
        E: fmt::Display,
    {
        let fetch = async || bytes().await.map_err(|error| LoadError::Bytes { digest, reason: error.to_string() });
        self.0.cache.get_or_load(digest, || self.read_or_build(account, digest, fetch)).await
    }

    /// Sees to it that there is machine code of a component that was accepted before, in memory or on disk, so that no run
    /// has to wait for the compiler.
    ///
    /// # Errors
    /// Like [`Engine::load`].
    pub async fn prepare<F, E>(&self, digest: Digest, bytes: impl FnOnce() -> F + Send) -> Result<(), LoadError>
    where
        F: Future<Output = Result<Bytes, E>> + Send,
        E: fmt::Display,
    {
        let artefacts = Arc::clone(&self.0.artefacts);
        if self.0.cache.has(digest) || blocking(move || artefacts.has(digest)).await? {
            return Ok(());
        }
        self.load(digest, bytes).await.map(drop)
    }

    async fn read_or_build(
        &self,
        account: AccountId,
        digest: Digest,
        fetch: impl AsyncFnOnce() -> Result<Bytes, LoadError>,
    ) -> Result<Arc<Transformer>, LoadError> {
        if let Some(transformer) = self.read_artefact(digest).await? {
            return Ok(Arc::new(transformer));
        }
        let bytes = fetch().await?;
        let found = self::digest(bytes.clone()).await?;
        if found != digest {
            return Err(LoadError::WrongDigest { expected: digest, found });
        }
        Ok(Arc::new(self.build(digest, bytes, Asker::Host(account)).await?))
    }

    async fn read_artefact(&self, digest: Digest) -> Result<Option<Transformer>, UploadError> {
        let (artefacts, engine) = (Arc::clone(&self.0.artefacts), self.0.sandbox.engine.clone());
        match blocking(move || artefacts.load(&engine, digest)).await? {
            Some((component, label)) => {
                let plugin = self.link(&component)?;
                self.transformer(digest, &component, plugin, &label).map(Some)
            }
            None => Ok(None),
        }
    }

    async fn build(&self, digest: Digest, bytes: Bytes, asker: Asker) -> Result<Transformer, UploadError> {
        let began = Instant::now();
        let code = self.0.compiler.compile(bytes, asker).await?;
        let plugin = self.link(&code.component)?;
        let described = call::describe(&self.0.sandbox, &plugin, self.0.describe_limits).await;
        let description = described.map_err(|failure| {
            if failure.kind == FailureKind::Unavailable {
                // The host was too busy; that is not the component's fault.
                return UploadError::Unavailable(format!("`describe` could not be run: {failure}"));
            }
            UploadError::fault(
                Fault::at("/exports", format!("`describe` failed: {failure}"))
                    .fix("`describe` must return the plugin's description without using any capability"),
            )
        })?;
        let build_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let label = Label { description, imports: code.imports, build_ms };
        let transformer = self.transformer(digest, &code.component, plugin, &label)?;
        let artefacts = Arc::clone(&self.0.artefacts);
        blocking(move || artefacts.save(digest, &code.component, &label)).await?;
        Ok(transformer)
    }

    /// Joins a component's imports to the capabilities, and finds its exports.
    fn link(&self, component: &Component) -> Result<PluginPre<GuestState>, UploadError> {
        let joined = self.0.linker.instantiate_pre(component).map_err(|error| misfit::of_imports(&error))?;
        PluginPre::new(joined).map_err(|error| misfit::of_exports(&error))
    }

    fn transformer(
        &self,
        digest: Digest,
        component: &Component,
        plugin: PluginPre<GuestState>,
        label: &Label,
    ) -> Result<Transformer, UploadError> {
        let description = Description::parse(&label.description).map_err(UploadError::Faults)?;
        let code = component.image_range();
        Ok(Transformer {
            digest,
            description: Arc::new(description),
            imports: label.imports.clone(),
            plugin,
            sandbox: Arc::clone(&self.0.sandbox),
            code_bytes: (code.end.addr() - code.start.addr()) as u64,
            build_time: Duration::from_millis(label.build_ms),
        })
    }
}

fn read_roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, EngineError> {
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match roots {
        Ok(roots) if roots.is_empty() && !pem.is_empty() => {
            Err(EngineError::Certificates("there is none in PEM".to_owned()))
        }
        Ok(roots) => Ok(roots),
        Err(error) => Err(EngineError::Certificates(error.to_string())),
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("pooling", &self.is_pooling()).finish_non_exhaustive()
    }
}
