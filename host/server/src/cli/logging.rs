//! The process's own log, on standard error.

use std::io::IsTerminal as _;

use crate::config::{LogConfig, LogFormat};

/// Starts logging; a second start changes nothing.
pub fn start(config: &LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(config.filter.to_env_filter())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Only a test that has its own subscriber has one already.
    drop(match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    });
}
