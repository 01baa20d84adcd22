//! Compiling a component that passed the check: in a process of its own where it comes from outside, on a thread of this one
//! where it is the work of whoever runs this process, such as the author of a plugin in a test.
//!
//! Compiling is the one step in which somebody else's bytes decide how much time and memory are used. Nothing is compiled by
//! a thread that serves calls.

#[cfg(unix)]
pub mod child;
#[cfg(unix)]
mod order;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod verdict;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trellis_model::fault::Fault;
use wasmtime::component::Component;

use super::{UploadError, check::check, limits::UploadLimits};
use crate::digest::Digest;

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileIn {
    /// In this process, without limits on time and memory: for components that are trusted as much as the process itself.
    ThisProcess,
    /// Each in a child process that is limited and killed when it takes too much. The program must begin with
    /// [`child::compile_if_asked`].
    #[cfg(unix)]
    Children { program: PathBuf },
}

impl CompileIn {
    /// In children that are this very program.
    ///
    /// # Errors
    /// The system does not say which program this is.
    #[cfg(unix)]
    pub fn children_of_this_program() -> std::io::Result<Self> {
        // Not the name that it was started by: an upgrade may have put another version there.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() { running } else { std::env::current_exe()? };
        Ok(Self::Children { program })
    }
}

/// On whose behalf a component is compiled. They do not wait for each other: whoever sends uploads in a row must not keep a
/// run from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Upload,
    /// A host needs a component that was accepted before and has no machine code of it.
    Host,
}

pub(crate) struct Compiler {
    engine: wasmtime::Engine,
    /// Whether the engine has a pool, on which its machine code depends.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only children are told"))]
    pooling: bool,
    place: CompileIn,
    limits: UploadLimits,
    uploads: Arc<Semaphore>,
    host: Arc<Semaphore>,
}

/// A compiled component, not linked yet.
pub(crate) struct MachineCode {
    pub component: Component,
    pub imports: Vec<String>,
}

impl Compiler {
    pub fn new(engine: wasmtime::Engine, pooling: bool, place: CompileIn, limits: UploadLimits) -> Self {
        let uploads = Arc::new(Semaphore::new(limits.compiles_at_once.max(1) as usize));
        Self { engine, pooling, place, limits, uploads, host: Arc::new(Semaphore::new(1)) }
    }

    /// Checks and compiles, in the order of arrival. Dropped, a child ends.
    ///
    /// # Errors
    /// What is wrong with the component.
    pub async fn compile(&self, bytes: Bytes, asker: Asker) -> Result<MachineCode, UploadError> {
        let (checked, limits) = (bytes.clone(), self.limits);
        let imports = blocking(move || check(&checked, &limits)).await?.map_err(UploadError::Faults)?;
        let turns = match asker {
            Asker::Upload => &self.uploads,
            Asker::Host => &self.host,
        };
        let turn = Arc::clone(turns).acquire_owned().await.expect("the turns are never closed");
        let component = match &self.place {
            CompileIn::ThisProcess => self.compile_here(bytes, turn).await?,
            #[cfg(unix)]
            CompileIn::Children { program } => self.compile_in_child(program, &bytes, turn).await?,
        };
        Ok(MachineCode { component, imports })
    }

    async fn compile_here(&self, bytes: Bytes, turn: OwnedSemaphorePermit) -> Result<Component, UploadError> {
        let engine = self.engine.clone();
        // The turn goes along: a compilation whose asker has gone away is under way all the same.
        let compile = move || {
            let component = Component::from_binary(&engine, &bytes);
            drop(turn);
            component
        };
        blocking(compile).await?.map_err(|error| not_runnable(&format!("{error:#}")))
    }

    #[cfg(unix)]
    async fn compile_in_child(
        &self,
        program: &std::path::Path,
        bytes: &[u8],
        turn: OwnedSemaphorePermit,
    ) -> Result<Component, UploadError> {
        let code = process::compile(program, self.pooling, bytes, &self.limits).await?;
        drop(turn);
        let engine = self.engine.clone();
        let component = blocking(move || super::machine_code::deserialize(&engine, &code)).await?;
        // Machine code is not made for a size of the pool; whether it fits is found out now.
        component.map_err(|error| not_runnable(&format!("{error:#}")))
    }
}

/// A component that the compiler refuses.
pub(super) fn not_runnable(reason: &str) -> UploadError {
    UploadError::fault(
        Fault::at("", format!("no component that this host can run: {reason}"))
            .fix("build the component anew; `wasm-tools validate` tells more"),
    )
}

/// SHA-256 of an upload, which takes a while for a large one.
pub(crate) async fn digest(bytes: Bytes) -> Result<Digest, UploadError> {
    blocking(move || Digest::of(&bytes)).await
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, UploadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| UploadError::Unavailable(error.to_string()))
}
