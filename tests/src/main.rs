//! The `trellis` program under a name that this package's tests can find it by, and with faults that they can ask for.

mod faults;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(mistake) = faults::arm() {
        eprintln!("{mistake}");
        return ExitCode::FAILURE;
    }
    trellis::cli::main().await
}
