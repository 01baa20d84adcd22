//! `trellis account`: the tenants, what they get of the hosts and what is kept of their runs, for an operator.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use trellis_model::{
    retention::{DAYS_MAX, History, Retention, RetentionChange},
    window::{AccountLimits, Smoothing, WindowLimit},
};

use super::{
    call_limits::{CallLimitArgs, Calls},
    connection::ConnectionArgs,
    failure::CommandResult,
    output::Output,
};

#[derive(Debug, clap::Subcommand)]
pub enum AccountCommand {
    /// Make an account, if it is new, and change what is given of its settings; takes an operator token
    Create {
        /// Letters, digits, `_` and `-`, beginning with a letter
        name: String,
        #[command(flatten)]
        settings: AccountSettings,
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

/// What an account gets of the hosts; what is not given stays as it is.
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
    #[command(flatten)]
    calls: CallLimitArgs,
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

/// All that can be set of an account, as the API takes it.
#[derive(Serialize)]
struct Change<'c> {
    #[serde(flatten)]
    settings: &'c AccountSettings,
    retention: RetentionChange,
}

#[derive(Debug, Serialize, Deserialize)]
struct Account {
    id: i64,
    name: String,
    retention: Retention,
    spread: u8,
    limits: AccountLimits,
    has_own_windows: bool,
    calls: Calls,
}

impl Account {
    fn settings(&self) -> String {
        let Self { retention, spread, limits, .. } = self;
        let history = format!("history {}, kept for {} days", retention.history.name(), retention.days);
        let running = limits.running_max.map_or("none".to_owned(), |most| most.to_string());
        let shares = format!("weight {}, running maximum {running}, spread {spread}", limits.weight);
        format!("{history}; {shares}; {}; {}", self.windows(), self.calls.line())
    }

    /// How many modules it may instantiate, and whether that was set for it.
    fn windows(&self) -> String {
        let AccountLimits { burst, long, exact, smoothing, .. } = self.limits;
        let exact = if exact { ", exact" } else { "" };
        let sliding = if smoothing == Smoothing::Sliding { ", sliding" } else { "" };
        let whose = if self.has_own_windows { "its own" } else { "the host's defaults" };
        format!("limits {} and {}{exact}{sliding} ({whose})", window(burst), window(long))
    }
}

fn window(WindowLimit { max, period_ms }: WindowLimit) -> String {
    match period_ms {
        WindowLimit::MINUTE_MS => format!("{max} a minute"),
        WindowLimit::DAY_MS => format!("{max} a day"),
        _ => format!("{max} in {period_ms} ms"),
    }
}

pub async fn run(command: AccountCommand, output: &mut Output) -> CommandResult {
    match command {
        AccountCommand::Create { name, settings, retention, connection } => {
            create(&name, &Change { settings: &settings, retention: retention.change() }, connection, output).await
        }
        AccountCommand::Show { name, connection } => show(&name, connection, output).await,
    }
}

async fn create(name: &str, change: &Change<'_>, mut connection: ConnectionArgs, output: &mut Output) -> CommandResult {
    // The account that is being made cannot be acted for yet.
    connection.account = None;
    let account: Account =
        connection.client(Path::new("."))?.put_json(&["v1", "accounts", name], &[], &json!(change)).await?;
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
