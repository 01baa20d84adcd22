//! `trellis account`: the tenants, what they get of the hosts and what is kept of their runs, for an operator.

mod settings;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trellis_model::{
    retention::Retention,
    window::{AccountLimits, Smoothing, WindowLimit},
};

use self::settings::{AccountSettings, SetArgs};
use super::{
    call_limits::Calls,
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, Table, counted, more},
};

#[derive(Debug, clap::Subcommand)]
pub enum AccountCommand {
    /// Make an account, if it is new, and change what is given of its settings; takes an operator token
    #[command(
        after_help = "Examples:\n  trellis account create acme\n  trellis account create acme --weight 3 --history failed --days 90"
    )]
    Create {
        /// Letters, digits, `_` and `-`, beginning with a letter
        name: String,
        #[command(flatten)]
        settings: AccountSettings,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Change single settings of an account that is there, or give them back to the host; takes an operator token
    #[command(
        after_help = "Examples:\n  trellis account set acme --burst-per-minute 600 --weight 3\n  trellis account set acme --default burst,long\n  trellis account set acme --default all"
    )]
    Set {
        name: String,
        #[command(flatten)]
        args: SetArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// List accounts with what they get of the hosts; takes an operator token
    #[command(visible_alias = "list")]
    Ls {
        /// Accounts behind this one: the last of the page before
        #[arg(long, value_name = "ID")]
        after: Option<i64>,
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
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

#[derive(Debug, Serialize, Deserialize)]
struct AccountPage {
    items: Vec<Account>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Account {
    /// All of it, a line for each concern.
    fn lines(&self) -> String {
        let Self { name, retention, spread, limits, .. } = self;
        let (history, days) = (retention.history.name(), retention.days);
        format!(
            "account {name}\n  modules  {}\n  shares   weight {}, {} at once, spread over {}\n  history  {history}, kept for {}\n  {}",
            self.windows(),
            limits.weight,
            running(limits),
            counted(u64::from(*spread), "shard"),
            counted(u64::from(days), "day"),
            self.calls.lines(),
        )
    }

    /// How many modules it may instantiate, and whether that was set for it.
    fn windows(&self) -> String {
        let AccountLimits { burst, long, exact, smoothing, .. } = self.limits;
        let exact = if exact { ", exact" } else { "" };
        let sliding = if smoothing == Smoothing::Sliding { ", sliding" } else { "" };
        let whose = if self.has_own_windows { "its own" } else { "the host's defaults" };
        format!("{} and {}{exact}{sliding} ({whose})", window(burst), window(long))
    }
}

fn running(limits: &AccountLimits) -> String {
    limits.running_max.map_or("any number".to_owned(), |most| most.to_string())
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
        AccountCommand::Create { name, settings, connection } => create(&name, &settings, connection, output).await,
        AccountCommand::Set { name, args, connection } => set(&name, &args, connection, output).await,
        AccountCommand::Ls { after, limit, connection } => list(after, limit, connection, output).await,
        AccountCommand::Show { name, connection } => show(&name, connection, output).await,
    }
}

/// The account that a command is about need not be one that can be acted for.
fn of_operator(mut connection: ConnectionArgs) -> ConnectionArgs {
    connection.account = None;
    connection
}

async fn create(
    name: &str,
    settings: &AccountSettings,
    connection: ConnectionArgs,
    output: &mut Output,
) -> CommandResult {
    let client = of_operator(connection).client(Path::new("."))?;
    let path = ["v1", "accounts", name];
    let mut account: Account = client.put_json(&path, &[], &Value::Object(settings.of_new())).await?;
    let limits = settings.limits();
    if !limits.is_empty() {
        account = client.patch_json(&path, &serde_json::json!({ "limits": limits })).await?;
    }
    output.show(&account, |account| {
        format!(
            "{}next: `TRELLIS_ACCOUNT={} trellis token create --name …` makes a token of it",
            account.lines(),
            account.name
        )
    })?;
    Ok(())
}

async fn set(name: &str, args: &SetArgs, connection: ConnectionArgs, output: &mut Output) -> CommandResult {
    let change = args.change().map_err(|message| Failure::new(Exit::Usage, message))?;
    let client = of_operator(connection).client(Path::new("."))?;
    let account: Account = client.patch_json(&["v1", "accounts", name], &change).await?;
    output.show(&account, Account::lines)?;
    Ok(())
}

async fn list(after: Option<i64>, limit: u16, connection: ConnectionArgs, output: &mut Output) -> CommandResult {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(after.map(|after| ("after", after.to_string())));
    let page: AccountPage = of_operator(connection).client(Path::new("."))?.get(&["v1", "accounts"], &query).await?;
    output.show(&page, |page| {
        let mut table = Table::new(["ID", "NAME", "MODULES", "WEIGHT", "AT ONCE", "SPREAD", "HISTORY"]);
        for account in &page.items {
            let Account { id, name, retention, spread, limits, .. } = account;
            let history = format!("{} {} d", retention.history.name(), retention.days);
            let (weight, running) = (limits.weight.to_string(), running(limits));
            table.row([&id.to_string(), name, &account.windows(), &weight, &running, &spread.to_string(), &history]);
        }
        format!("{table}{}", more(page.next.as_deref()))
    })?;
    Ok(())
}

async fn show(name: &str, connection: ConnectionArgs, output: &mut Output) -> CommandResult {
    let client = of_operator(connection).client(Path::new("."))?;
    let account: Account = client.get(&["v1", "accounts", name], &[]).await?;
    output.show(&account, Account::lines)?;
    Ok(())
}
