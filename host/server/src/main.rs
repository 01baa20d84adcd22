//! The `trellis` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Started by a host to compile one component: nothing of the program is needed for that, a runtime least of all.
    trellis::compile_if_asked().unwrap_or_else(run)
}

#[tokio::main]
async fn run() -> ExitCode {
    trellis::cli::main().await
}
