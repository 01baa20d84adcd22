//! `trellis token`: tokens of an account or a project, or of an operator.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use trellis_model::token::Scope;

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output},
};

#[derive(Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Create a token; its text is shown this one time
    Create(CreateArgs),
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

#[derive(Serialize, Deserialize)]
struct Created {
    id: i64,
    token: String,
}

pub async fn run(command: TokenCommand, output: &mut Output) -> CommandResult {
    let TokenCommand::Create(args) = command;
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
        "expires_in_seconds": args.expires_in_days.map(|days| i64::from(days) * 86_400),
    });
    let created: Created = client.post_json(&["v1", "tokens"], &body).await?;
    output.show(&created, |created| created.token.clone())?;
    Ok(())
}
