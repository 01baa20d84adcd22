//! `trellis revisions` and `trellis rollback`: what was deployed before, and going back to it.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    connection::ConnectionArgs,
    deploy::{Deployed, human},
    failure::{CommandResult, Failure},
    output::{Output, Table},
    send::project_here,
};

#[derive(Debug, clap::Args)]
pub struct RevisionsArgs {
    /// The project [default: that of trellis.toml in this folder]
    #[arg(long)]
    pub project: Option<String>,
    /// Revisions older than this one
    #[arg(long, value_name = "REVISION")]
    pub before: Option<i64>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The revision to go back to [default: the one before the current one]
    pub revision: Option<i64>,
    /// The project [default: that of trellis.toml in this folder]
    #[arg(long)]
    pub project: Option<String>,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Revision {
    revision: i64,
    created_at: String,
    is_current: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_from: Option<i64>,
    plugins: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RevisionPage {
    items: Vec<Revision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

fn project(given: Option<String>) -> Result<String, Failure> {
    given.map_or_else(|| project_here(Path::new(".")), Ok)
}

pub async fn list(args: RevisionsArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let project = project(args.project)?;
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.before.map(|before| ("before", before.to_string())));
    let page: RevisionPage = client.get(&["v1", "projects", &project, "revisions"], &query).await?;
    output.show(&page, |page| {
        let mut table = Table::new(["REVISION", "DEPLOYED", "", "PLUGINS"]);
        for one in &page.items {
            let mark = match (one.is_current, one.made_from) {
                (true, Some(from)) => format!("current, goes back to {from}"),
                (true, None) => "current".to_owned(),
                (false, Some(from)) => format!("goes back to {from}"),
                (false, None) => String::new(),
            };
            let plugins: Vec<&str> = one.plugins.values().map(String::as_str).collect();
            table.row([one.revision.to_string(), one.created_at.clone(), mark, plugins.join(" ")]);
        }
        let more = page.next.as_ref().map(|next| format!("older ones: --before {next}\n")).unwrap_or_default();
        format!("{table}{more}")
    })?;
    Ok(())
}

pub async fn roll_back(args: RollbackArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let project = project(args.project)?;
    let body = json!({ "revision": args.revision, "dry_run": args.dry_run });
    let deployed: Deployed = client.post_json(&["v1", "projects", &project, "rollback"], &body).await?;
    output.show(&deployed, |deployed| human(deployed, args.dry_run))?;
    Ok(())
}
