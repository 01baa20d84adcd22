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

#[cfg(unix)]
use std::path::PathBuf;

use bytes::Bytes;
use trellis_model::{AccountId, fault::Fault};
use wasmtime::component::Component;

use super::{UploadError, check::check, limits::UploadLimits};
use crate::{
    digest::Digest,
    turns::{Turn, Turns},
};

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

/// For what, and on whose behalf, a component is compiled. The two do not wait for each other: whoever sends uploads in a row
/// must not keep a run from starting. Within each, accounts take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Upload(AccountId),
    /// A host needs a component that was accepted before and has no machine code of it.
    Host(AccountId),
}

pub(crate) struct Compiler {
    engine: wasmtime::Engine,
    /// Whether the engine has a pool, on which its machine code depends.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only children are told"))]
    pooling: bool,
    place: CompileIn,
    limits: UploadLimits,
    uploads: Turns,
    host: Turns,
}

/// A compiled component, not linked yet.
pub(crate) struct MachineCode {
    pub component: Component,
    pub imports: Vec<String>,
}

impl Compiler {
    pub fn new(engine: wasmtime::Engine, pooling: bool, place: CompileIn, limits: UploadLimits) -> Self {
        Self { engine, pooling, place, limits, uploads: Turns::new(limits.compiles_at_once), host: Turns::new(1) }
    }

    /// Checks and compiles, one account after the other and each in the order of arrival. Dropped, a child ends.
    ///
    /// # Errors
    /// What is wrong with the component.
    pub async fn compile(&self, bytes: Bytes, asker: Asker) -> Result<MachineCode, UploadError> {
        let (checked, limits) = (bytes.clone(), self.limits);
        let imports = blocking(move || check(&checked, &limits)).await?.map_err(UploadError::Faults)?;
        let turn = self.turn(asker).await;
        let component = match &self.place {
            CompileIn::ThisProcess => self.compile_here(bytes, turn).await?,
            #[cfg(unix)]
            CompileIn::Children { program } => self.compile_in_child(program, &bytes, turn).await?,
        };
        Ok(MachineCode { component, imports })
    }

    async fn turn(&self, asker: Asker) -> Turn {
        match asker {
            Asker::Upload(account) => self.uploads.take(account).await,
            Asker::Host(account) => self.host.take(account).await,
        }
    }

    async fn compile_here(&self, bytes: Bytes, turn: Turn) -> Result<Component, UploadError> {
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
        turn: Turn,
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn an_account_with_many_compilations_holds_up_one_of_another_for_one_alone() {
        let compiler =
            Compiler::new(wasmtime::Engine::default(), false, CompileIn::ThisProcess, UploadLimits::default());
        let askers: [fn(AccountId) -> Asker; 2] = [Asker::Host, Asker::Upload];
        for asker in askers {
            let greedy = || Box::pin(compiler.turn(asker(AccountId(1))));
            let held: Vec<Turn> = std::iter::from_fn(|| greedy().now_or_never()).collect();
            let mut waiting: Vec<_> = (0..50).map(|_| greedy()).collect();
            assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
            let mut other = Box::pin(compiler.turn(asker(AccountId(2))));
            assert!(other.as_mut().now_or_never().is_none());
            drop(held);
            drop(waiting.remove(0).now_or_never());
            assert!(other.now_or_never().is_some(), "{:?}", asker(AccountId(2)));
        }
    }
}
