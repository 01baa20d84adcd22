//! The `trellis` program under a name that this package's tests can find it by, and with faults that they can ask for.

mod faults;

use std::process::ExitCode;

fn main() -> ExitCode {
    trellis::compile_if_asked().unwrap_or_else(run)
}

#[tokio::main]
async fn run() -> ExitCode {
    if let Err(mistake) = faults::arm() {
        eprintln!("{mistake}");
        return ExitCode::FAILURE;
    }
    trellis::cli::main().await
}
