//! `trellis account`: the tenants and what is kept of their runs, for an operator.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use trellis_model::retention::{DAYS_MAX, History, Retention, RetentionChange};

use super::{connection::ConnectionArgs, failure::CommandResult, output::Output};

#[derive(Debug, clap::Subcommand)]
pub enum AccountCommand {
    /// Make an account, if it is new, and set what is given; takes an operator token
    Create {
        /// Letters, digits, `_` and `-`, beginning with a letter
        name: String,
        #[command(flatten)]
        retention: RetentionArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show an account's settings; takes an operator token
    Show {
        name: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// What is kept of an account's runs; what is not given stays as it is.
#[derive(Debug, clap::Args)]
pub struct RetentionArgs {
    /// Which runs are kept when they end: every one, those that failed, or dead letters alone
    #[arg(long, value_parser = ["full", "failed", "none"])]
    history: Option<String>,
    /// For how many days
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(DAYS_MAX)))]
    days: Option<u16>,
}

impl RetentionArgs {
    fn change(&self) -> RetentionChange {
        let named = |name: &String| History::ALL.into_iter().find(|history| history.name() == name);
        RetentionChange { history: self.history.as_ref().and_then(named), days: self.days }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Account {
    id: i64,
    name: String,
    retention: Retention,
}

impl Account {
    fn settings(&self) -> String {
        format!("history {}, kept for {} days", self.retention.history.name(), self.retention.days)
    }
}

pub async fn run(command: AccountCommand, output: &mut Output) -> CommandResult {
    match command {
        AccountCommand::Create { name, retention, connection } => {
            let settings = json!({ "retention": retention.change() });
            create(&name, &settings, connection, output).await
        }
        AccountCommand::Show { name, connection } => show(&name, connection, output).await,
    }
}

async fn create(
    name: &str,
    settings: &serde_json::Value,
    mut connection: ConnectionArgs,
    output: &mut Output,
) -> CommandResult {
    // The account that is being made cannot be acted for yet.
    connection.account = None;
    let account: Account =
        connection.client(Path::new("."))?.put_json(&["v1", "accounts", name], &[], settings).await?;
    output.show(&account, |account| {
        format!(
            "account {} exists ({}); `TRELLIS_ACCOUNT={} trellis token create --name …` makes a token of it",
            account.name,
            account.settings(),
            account.name
        )
    })?;
    Ok(())
}

async fn show(name: &str, mut connection: ConnectionArgs, output: &mut Output) -> CommandResult {
    connection.account = None;
    let account: Account = connection.client(Path::new("."))?.get(&["v1", "accounts", name], &[]).await?;
    output.show(&account, |account| format!("account {}: {}", account.name, account.settings()))?;
    Ok(())
}
