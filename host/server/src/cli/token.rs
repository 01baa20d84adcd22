//! `trellis token`: tokens of an account or a project, or of an operator.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use trellis_model::token::{Scope, TokenKind};

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, Table, more},
};
use crate::{api::generate_token, client::Client};

#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Create a token; its text is shown this one time
    Create(CreateArgs),
    /// List tokens, without their text; an operator who names no account sees the operators' own
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Make a token's successor; both are good for a while
    Rotate(RotateArgs),
    /// Revoke a token: five seconds later no host takes it
    Revoke(RevokeArgs),
    /// Print a fresh operator token for `tokens.operator_file`, without speaking to a host
    Generate,
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// What it is for
    #[arg(long)]
    pub name: String,
    /// What it may do; may be repeated [default: everything in its account or project]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Good for this project alone
    #[arg(long)]
    pub project: Option<String>,
    /// Good for this many days
    #[arg(long, value_name = "DAYS")]
    pub expires_in_days: Option<u32>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Tokens behind this one: the last of the page before
    #[arg(long, value_name = "ID")]
    pub after: Option<i64>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// Its number, as `trellis token ls` shows it
    pub id: i64,
    /// For how many seconds the old token stays good [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    pub overlap: Option<u32>,
    /// The new one is good for this many days [default: as many as the old one was]
    #[arg(long, value_name = "DAYS")]
    pub expires_in_days: Option<u32>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Its number, as `trellis token ls` shows it
    pub id: i64,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Serialize, Deserialize)]
struct Created {
    id: i64,
    token: String,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    id: i64,
    name: String,
    kind: TokenKind,
    scopes: Vec<String>,
    created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced_by: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct TokenPage {
    items: Vec<Listed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

pub async fn run(command: TokenCommand, output: &mut Output) -> CommandResult {
    match command {
        TokenCommand::Create(args) => create(args, output).await,
        TokenCommand::Ls(args) => list(&args.connection.client(Path::new("."))?, args.after, output).await,
        TokenCommand::Rotate(args) => rotate(&args, output).await,
        TokenCommand::Revoke(args) => revoke(&args, output).await,
        TokenCommand::Generate => {
            let token = generate_token(TokenKind::Operator)?;
            output.show(&json!({ "token": token.reveal() }), |_| token.reveal().to_owned())?;
            Ok(())
        }
    }
}

fn seconds(days: Option<u32>) -> Option<i64> {
    days.map(|days| i64::from(days) * 86_400)
}

async fn create(args: CreateArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let scopes = match args.scopes.as_slice() {
        [] => Scope::of_account(),
        written => {
            let parsed: Result<Vec<Scope>, _> = written.iter().map(|scope| scope.parse()).collect();
            parsed.map_err(|error| Failure::new(Exit::Usage, error))?
        }
    };
    let body = json!({
        "name": args.name,
        "scopes": scopes,
        "project": args.project,
        "expires_in_seconds": seconds(args.expires_in_days),
    });
    let created: Created = client.post_json(&["v1", "tokens"], &body).await?;
    output.show(&created, |created| created.token.clone())?;
    Ok(())
}

async fn list(client: &Client, after: Option<i64>, output: &mut Output) -> CommandResult {
    let query: Vec<(&str, String)> = after.map(|after| ("after", after.to_string())).into_iter().collect();
    let page: TokenPage = client.get(&["v1", "tokens"], &query).await?;
    output.show(&page, |page| {
        let mut table = Table::new(["ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "REPLACED BY"]);
        for token in &page.items {
            let expires = token.expires_at.clone().unwrap_or_else(|| "never".to_owned());
            let replaced = token.replaced_by.map(|id| id.to_string()).unwrap_or_default();
            let (id, scopes) = (token.id.to_string(), token.scopes.join(" "));
            table.row([id.as_str(), &token.name, &scopes, &token.created_at, &expires, &replaced]);
        }
        format!("{table}{}", more(page.next.as_deref()))
    })?;
    Ok(())
}

async fn rotate(args: &RotateArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let body = json!({ "overlap_seconds": args.overlap, "expires_in_seconds": seconds(args.expires_in_days) });
    let created: Created = client.post_json(&["v1", "tokens", &args.id.to_string(), "rotate"], &body).await?;
    output.show(&created, |created| created.token.clone())?;
    Ok(())
}

async fn revoke(args: &RevokeArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    client.delete(&["v1", "tokens", &args.id.to_string()]).await?;
    output.show(&json!({ "revoked": args.id }), |_| {
        format!("token {} is revoked; no host takes it from five seconds on", args.id)
    })?;
    Ok(())
}
