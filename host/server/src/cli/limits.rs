//! `trellis limits`: what an account may use, and lowering what its calls may.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    call_limits::{CallLimitArgs, Calls},
    connection::ConnectionArgs,
    failure::CommandResult,
    output::Output,
};

#[derive(Debug, clap::Args)]
pub struct LimitsArgs {
    /// Lowered before they are shown; only an operator can raise them, with `trellis account set`
    #[command(flatten)]
    calls: CallLimitArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Where the account stands, as the API answers it.
#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    burst_left: u32,
    long_left: u32,
    wait_seconds: u64,
    unfinished_runs: i64,
    calls: Calls,
}

pub async fn run(args: LimitsArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    if !args.calls.is_empty() {
        let _: Calls = client.put_json(&["v1", "limits"], &[], &json!({ "calls": args.calls })).await?;
    }
    let standing: Standing = client.get(&["v1", "limits"], &[]).await?;
    output.show(&standing, |standing| {
        let Standing { burst_left, long_left, wait_seconds, unfinished_runs, calls } = standing;
        let wait = if *wait_seconds == 0 { String::new() } else { format!(", the next one in {wait_seconds} s") };
        format!(
            "modules left: {burst_left} in the burst window, {long_left} in the long one{wait}\nunfinished runs: {unfinished_runs}\n{}",
            calls.lines()
        )
    })?;
    Ok(())
}
