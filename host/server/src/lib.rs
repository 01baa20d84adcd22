//! Trellis runs automations as sandboxed WebAssembly: the server and its command line.

pub mod cli;

pub mod api;
pub mod edge;
pub mod server;

pub mod config;
mod credentials;
pub mod postgres;

pub mod client;
pub mod project;
mod tls;
