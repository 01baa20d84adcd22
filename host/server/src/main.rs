//! The `trellis` program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    trellis::cli::main().await
}
