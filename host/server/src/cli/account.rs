//! `trellis account`: the tenants, for an operator.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{connection::ConnectionArgs, failure::CommandResult, output::Output};

#[derive(Debug, clap::Subcommand)]
pub enum AccountCommand {
    /// Make an account, if it is new; takes an operator token
    Create {
        /// Letters, digits, `_` and `-`, beginning with a letter
        name: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Account {
    id: i64,
    name: String,
}

pub async fn run(command: AccountCommand, output: &mut Output) -> CommandResult {
    let AccountCommand::Create { name, mut connection } = command;
    // The account that is being made cannot be acted for yet.
    connection.account = None;
    let account: Account =
        connection.client(Path::new("."))?.put_json(&["v1", "accounts", &name], &[], &json!({})).await?;
    output.show(&account, |account| {
        format!(
            "account {} exists; `TRELLIS_ACCOUNT={} trellis token create --name …` makes a token of it",
            account.name, account.name
        )
    })?;
    Ok(())
}
