//! The command line as the owner of an account uses it.

use std::process::Output;

use tokio::process::Command;

use super::{Account, PROGRAM, scratch, without_settings};

/// Runs a command against the account's host, as the account.
pub async fn command(account: &Account, arguments: &[&str]) -> Output {
    let (url, token) = account.api.credentials();
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    command.env("TRELLIS_URL", url).env("TRELLIS_TOKEN", token).current_dir(scratch());
    command.args(arguments).kill_on_drop(true).output().await.expect("the program runs")
}
