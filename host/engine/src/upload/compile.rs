//! Compiling a component that passed the check, one at a time, away from the threads that serve calls.
//!
//! Blocking: Cranelift takes tens of milliseconds for a small component and seconds for an interpreter.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use trellis_model::fault::Fault;
use wasmtime::component::Component;

use super::{UploadError, check::check};
use crate::digest::Digest;

/// Components that are compiled at the same time. Cranelift uses all cores for one.
const AT_ONCE: usize = 1;

pub(crate) struct Compiler {
    engine: wasmtime::Engine,
    at_once: Arc<Semaphore>,
}

/// A compiled component, not linked yet.
pub(crate) struct MachineCode {
    pub component: Component,
    pub imports: Vec<String>,
}

impl Compiler {
    pub fn new(engine: wasmtime::Engine) -> Self {
        Self { engine, at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Checks and compiles, in the order of arrival.
    ///
    /// # Errors
    /// What is wrong with the component.
    pub async fn compile(self: &Arc<Self>, bytes: Bytes) -> Result<MachineCode, UploadError> {
        let checked = bytes.clone();
        let imports = blocking(move || check(&checked)).await?.map_err(UploadError::Faults)?;
        let turn = Arc::clone(&self.at_once).acquire_owned().await.expect("the turns are never closed");
        let engine = self.engine.clone();
        // The turn goes along: a compilation whose asker has gone away is under way all the same.
        let compile = move || {
            let component = Component::from_binary(&engine, &bytes);
            drop(turn);
            component
        };
        let component = blocking(compile).await?.map_err(|error| {
            UploadError::fault(
                Fault::at("", format!("no component that this host can run: {error:#}"))
                    .fix("build the component anew; `wasm-tools validate` tells more"),
            )
        })?;
        Ok(MachineCode { component, imports })
    }
}

/// SHA-256 of an upload, which takes a while for a large one.
pub(crate) async fn digest(bytes: Bytes) -> Result<Digest, UploadError> {
    blocking(move || Digest::of(&bytes)).await
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, UploadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| UploadError::Unavailable(error.to_string()))
}
