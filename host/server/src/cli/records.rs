//! `trellis records`: managed data of a project, looked at and mended by hand.

mod condition;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::{Method, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    credential::ProjectArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, Table, counted, more, printable, printable_json},
    send::read,
};
use crate::client::Client;
use condition::{WrittenCondition, filter};

#[derive(Debug, clap::Subcommand)]
pub enum RecordsCommand {
    /// List the collections of a project, or the records of one of them by key
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Find records by what indexes find in them
    #[command(
        after_help = "Examples:\n  trellis records query issues --where state=open --order updated --descending\n  trellis records query issues --where 'updated>=2026-02-01' --where 'state|open,reopened'\n  trellis records query issues --where 'title^Crash' --limit 5"
    )]
    Query(QueryArgs),
    /// Print a record
    #[command(after_help = "Example:\n  trellis records get issues github:acme/shop#7")]
    Get(RecordArgs),
    /// Write a record from a file or standard input: JSON that fits the collection's schema
    #[command(
        after_help = "Examples:\n  trellis records put tasks nightly task.json\n  echo '{\"state\":\"open\"}' | trellis records put tasks nightly --if-absent"
    )]
    Put(PutArgs),
    /// Delete a record
    Rm(RmArgs),
}

#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// The records of this collection [default: the names of all collections]
    collection: Option<String>,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, clap::Args)]
pub struct PageArgs {
    /// Behind this one: the `next` of the page before
    #[arg(long)]
    after: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

impl PageArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.after.clone().map(|after| ("after", after)));
        query
    }
}

#[derive(Debug, clap::Args)]
pub struct QueryArgs {
    /// As the manifest names it
    collection: String,
    /// INDEX=VALUE, also < <= > >= (of the same type), ^ (begins with) and | (one of, with commas); all of them must hold.
    /// A value is JSON if it can be read as such, else text
    #[arg(long = "where", value_name = "CONDITION")]
    conditions: Vec<WrittenCondition>,
    /// In the order of this index [default: by key]
    #[arg(long, value_name = "INDEX")]
    order: Option<String>,
    /// The other way round
    #[arg(long, requires = "order")]
    descending: bool,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    project: ProjectArgs,
}

/// One record of one collection.
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// As the manifest names it
    collection: String,
    /// Any text; slashes are part of it
    key: String,
    #[command(flatten)]
    project: ProjectArgs,
}

#[derive(Debug, clap::Args)]
pub struct PutArgs {
    #[command(flatten)]
    of: RecordArgs,
    /// A file with the record; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Only if this is its revision still
    #[arg(long, value_name = "N", conflicts_with = "if_absent")]
    if_revision: Option<i64>,
    /// Only if there is no such record
    #[arg(long)]
    if_absent: bool,
}

#[derive(Debug, clap::Args)]
pub struct RmArgs {
    #[command(flatten)]
    of: RecordArgs,
    /// Only if this is its revision still
    #[arg(long, value_name = "N")]
    if_revision: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Collection {
    name: String,
    declared: bool,
    records: u64,
    indexes: Vec<Index>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    name: String,
    pointer: String,
    ready: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    /// As the host tells it.
    revision: i64,
    data: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    key: String,
    revision: i64,
}

#[derive(Debug, Serialize)]
struct Removed<'r> {
    collection: &'r str,
    removed: &'r str,
}

impl RecordArgs {
    async fn ask(
        &self,
        method: Method,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<crate::client::Answered, Failure> {
        let (client, project) = (self.project.connection.client(Path::new("."))?, self.project.name()?);
        let path = ["v1", "projects", &project, "collections", &self.collection, "records", &self.key];
        Ok(client.ask(method, client.url(&path), headers, body).await?)
    }
}

pub async fn run(command: RecordsCommand, output: &mut Output) -> CommandResult {
    match command {
        RecordsCommand::Ls(args) => list(&args, output).await,
        RecordsCommand::Query(args) => query(&args, output).await,
        RecordsCommand::Get(args) => get(&args, output).await,
        RecordsCommand::Put(args) => put(&args, output).await,
        RecordsCommand::Rm(args) => remove(&args, output).await,
    }
}

async fn list(args: &LsArgs, output: &mut Output) -> CommandResult {
    let (client, project) = (args.project.connection.client(Path::new("."))?, args.project.name()?);
    if let Some(collection) = &args.collection {
        return show_records(&client, (&project, collection), &args.page.query(), output).await;
    }
    let page: Page<Collection> = client.get(&["v1", "projects", &project, "collections"], &args.page.query()).await?;
    output.show(&page, |page| {
        let mut table = Table::new(["COLLECTION", "RECORDS", "INDEXES", ""]);
        for Collection { name, declared, records, indexes } in &page.items {
            let state = |index: &Index| if index.ready { "" } else { " (being built)" };
            let index = |index: &Index| format!("{} {}{}", index.name, index.pointer, state(index));
            let indexes: Vec<String> = indexes.iter().map(index).collect();
            let declared = if *declared { "" } else { "not declared any more" };
            table.row([name.as_str(), &records.to_string(), &indexes.join(", "), declared]);
        }
        format!("{table}{}", more(page.next.as_deref()))
    })?;
    Ok(())
}

async fn query(args: &QueryArgs, output: &mut Output) -> CommandResult {
    let (client, project) = (args.project.connection.client(Path::new("."))?, args.project.name()?);
    let mut query = args.page.query();
    if !args.conditions.is_empty() {
        query.push(("filter", filter(&args.conditions).map_err(|error| Failure::new(Exit::Usage, error))?));
    }
    if let Some(index) = &args.order {
        query.push(("order", if args.descending { format!("-{index}") } else { index.clone() }));
    }
    show_records(&client, (&project, &args.collection), &query, output).await
}

async fn show_records(
    client: &Client,
    (project, collection): (&str, &str),
    query: &[(&str, String)],
    output: &mut Output,
) -> CommandResult {
    let page: Page<Record> = client.get(&["v1", "projects", project, "collections", collection], query).await?;
    output.show(&page, |page| {
        let line = |record: &Record| format!("{}  {}\n", printable(&record.key), printable(&record.data.to_string()));
        let lines: String = page.items.iter().map(line).collect();
        let next = page.next.as_deref();
        format!("{lines}{}", if next.is_some() { more(next) } else { counted(page.items.len() as u64, "record") })
    })?;
    Ok(())
}

async fn get(args: &RecordArgs, output: &mut Output) -> CommandResult {
    let answered = args.ask(Method::GET, &[], Bytes::new()).await?;
    let etag = answered.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
    let data: Value = serde_json::from_slice(&answered.body).map_err(|error| Failure::new(Exit::Failed, error))?;
    let record = Record { key: args.key.clone(), revision: etag.trim_matches('"').parse().unwrap_or_default(), data };
    // Without the revision, for the next program in the pipe.
    output.show(&record, |record| printable_json(&format!("{:#}", record.data)).into_owned())?;
    Ok(())
}

async fn put(args: &PutArgs, output: &mut Output) -> CommandResult {
    let mut headers = if_revision(args.if_revision);
    headers.extend(args.if_absent.then(|| ("if-none-match", "*".to_owned())));
    headers.push(("content-type", "application/json".to_owned()));
    let answered = args.of.ask(Method::PUT, &headers, read(&args.file)?).await?;
    let written: Written = serde_json::from_slice(&answered.body).map_err(|error| Failure::new(Exit::Failed, error))?;
    output.show(&written, |written| {
        format!("{}/{} is written, revision {}", args.of.collection, written.key, written.revision)
    })?;
    Ok(())
}

fn if_revision(revision: Option<i64>) -> Vec<(&'static str, String)> {
    revision.map(|revision| ("if-match", format!("\"{revision}\""))).into_iter().collect()
}

async fn remove(args: &RmArgs, output: &mut Output) -> CommandResult {
    args.of.ask(Method::DELETE, &if_revision(args.if_revision), Bytes::new()).await?;
    let removed = Removed { collection: &args.of.collection, removed: &args.of.key };
    output.show(&removed, |removed| format!("{}/{} is deleted", removed.collection, removed.removed))?;
    Ok(())
}
