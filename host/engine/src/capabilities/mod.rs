//! All that a guest can do, one file each, of one shape: a struct with the capability's state for one call, and an
//! `add_to_linker` that is called once.
//!
//! What is not listed here cannot be imported.

pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod keyvalue;
pub mod log;
pub mod outbox;
pub mod progress;
pub(crate) mod secrets;
mod stdio;
pub mod storage;
pub mod wasi;
pub(crate) mod web;

use wasmtime::component::Linker;

use crate::guest_state::GuestState;

/// The capabilities of one call.
pub(crate) struct Capabilities {
    pub wasi: wasi::Wasi,
    pub log: log::Log,
    pub config: config::Config,
    pub http: http::Http,
    pub web: web::Web,
    /// Of `wasi:keyvalue` as well.
    pub storage: storage::StorageAccess,
    pub outbox: outbox::Outbox,
    pub secrets: secrets::ReadableSecrets,
    pub progress: progress::Progress,
}

impl Capabilities {
    pub fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
        wasi::add_to_linker(linker)?;
        log::add_to_linker(linker)?;
        config::add_to_linker(linker)?;
        http::add_to_linker(linker)?;
        web::add_to_linker(linker)?;
        storage::add_to_linker(linker)?;
        keyvalue::add_to_linker(linker)?;
        outbox::add_to_linker(linker)?;
        secrets::add_to_linker(linker)?;
        progress::add_to_linker(linker)
    }
}
