//! Trellis runs automations as sandboxed WebAssembly: the server and its command line.

pub mod cli;

pub mod api;
pub mod edge;
mod open_files;
mod preflight;
mod private_file;
pub mod server;

pub mod config;
mod credentials;
pub mod postgres;

pub mod client;
pub mod event_stream;
pub mod project;
pub mod registry;
mod tls;

/// What every program that starts a host begins with: hosts compile plugins in children that are this same program.
pub use trellis_engine::compile_if_asked;
