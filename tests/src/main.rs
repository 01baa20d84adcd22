//! The `trellis` program under a name that this package's tests can find it by.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    trellis::cli::main().await
}
