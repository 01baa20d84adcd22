//! `trellis account`: the tenants, for an operator.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{connection::ConnectionArgs, failure::CommandResult, output::Output};

#[derive(Debug, clap::Subcommand)]
pub enum AccountCommand {
    /// Make an account, if it is new, and change what is given of its settings; takes an operator token
    Create {
        /// Letters, digits, `_` and `-`, beginning with a letter
        name: String,
        #[command(flatten)]
        settings: AccountSettings,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// What is not given stays as it is.
#[derive(Debug, Serialize, clap::Args)]
pub struct AccountSettings {
    /// How much of a busy host it gets, against other accounts: 1 to 100
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    /// Modules of it that are instantiated at once; 0: as many as there is room for
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    running_max: Option<u32>,
    /// Over how many shards, and so hosts, its jobs are spread: 1 to 16
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Account {
    id: i64,
    name: String,
    spread: u8,
}

pub async fn run(command: AccountCommand, output: &mut Output) -> CommandResult {
    let AccountCommand::Create { name, settings, mut connection } = command;
    // The account that is being made cannot be acted for yet.
    connection.account = None;
    let account: Account =
        connection.client(Path::new("."))?.put_json(&["v1", "accounts", &name], &[], &json!(settings)).await?;
    output.show(&account, |account| {
        format!(
            "account {} exists; `TRELLIS_ACCOUNT={} trellis token create --name …` makes a token of it",
            account.name, account.name
        )
    })?;
    Ok(())
}
