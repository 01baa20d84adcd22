//! From a crate's folder to a transformer: built, compiled and loaded once per process.
//!
//! Compiled components are kept beside the built ones, so that the next `cargo test` only loads them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    thread,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use trellis_build::BuildProgress;
use trellis_engine::{Engine, EngineConfig, Transformer};

/// Calls of one test process that run at the same time. More than test threads on most machines.
const INSTANCES_MAX: u32 = 32;

/// A crate's component.
#[derive(Clone)]
pub(crate) struct Built {
    /// The crate's.
    pub name: String,
    pub transformer: Arc<Transformer>,
}

type Loaded = Arc<OnceLock<Result<Built, String>>>;

/// The component of a crate. Others that ask for the same crate meanwhile wait.
///
/// # Errors
/// What went wrong, as text to show to the author of the test.
pub(crate) fn of_crate(folder: &Path) -> Result<Built, String> {
    static CRATES: LazyLock<Mutex<HashMap<PathBuf, Loaded>>> = LazyLock::new(Mutex::default);
    let slot = {
        let mut crates = CRATES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(crates.entry(folder.to_owned()).or_default())
    };
    slot.get_or_init(|| build_and_load(folder)).clone()
}

fn build_and_load(folder: &Path) -> Result<Built, String> {
    let built = trellis_build::build_plugin(folder, &mut tell).map_err(|error| error.to_string())?;
    // Beside the guests' own build files, in the workspace's target folder.
    let kept = built.wasm_path.ancestors().find(|path| path.ends_with("guests")).map(|guests| guests.join("artefacts"));
    let transformer = load(built.bytes.into(), kept.as_deref())?;
    Ok(Built { name: built.name, transformer })
}

/// Downloads take a while and should not look like a hang; everything else is quick or cargo's own affair.
fn tell(progress: BuildProgress<'_>) {
    match progress {
        BuildProgress::AddingTarget { target } => eprintln!("adding the Rust target {target}"),
        BuildProgress::InstallingTools { language } => eprintln!("installing the tools for {language}"),
        _ => {}
    }
}

/// The transformer of a component. `kept`: where compiled components may be kept for other processes.
///
/// # Errors
/// The component is at fault; the text lists all faults.
pub(crate) fn load(bytes: Bytes, kept: Option<&Path>) -> Result<Arc<Transformer>, String> {
    let engine = engine(kept)?;
    block_on(async {
        let compiled =
            engine.compile(bytes.clone()).await.map_err(|error| format!("the component is no plugin:\n{error}"))?;
        engine.load(compiled.digest, || async { Ok::<_, String>(bytes) }).await.map_err(|error| error.to_string())
    })
}

fn engine(kept: Option<&Path>) -> Result<Engine, String> {
    static ENGINES: LazyLock<Mutex<HashMap<PathBuf, Engine>>> = LazyLock::new(Mutex::default);
    static OWN_FOLDER: OnceLock<Result<TempDir, String>> = OnceLock::new();
    let folder = match kept {
        Some(folder) => folder,
        None => {
            let own = OWN_FOLDER.get_or_init(|| tempfile::tempdir().map_err(|error| error.to_string()));
            own.as_ref().map_err(Clone::clone)?.path()
        }
    };
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(engine) = engines.get(folder) {
        return Ok(engine.clone());
    }
    let config = EngineConfig { instances_max: INSTANCES_MAX, ..EngineConfig::new(folder) };
    let engine = Engine::new(&config).map_err(|error| error.to_string())?;
    engines.insert(folder.to_owned(), engine.clone());
    Ok(engine)
}

/// Runs a future to its end, also where the caller is inside a runtime of its own.
pub(crate) fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a test process can have a runtime")
    });
    thread::scope(|scope| match scope.spawn(|| RUNTIME.block_on(work)).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
