//! `trellis stores`: what the nodes of a project have stored, looked at and mended by hand.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use reqwest::{Method, header};
use serde::{Deserialize, Serialize};

use super::{
    credential::ProjectArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, Table, counted, more},
    send::read,
};
use crate::client::Client;

#[derive(Debug, clap::Subcommand)]
pub enum StoresCommand {
    /// List the stores of a project, or the keys of one of them
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  trellis stores ls\n  trellis stores ls tally --prefix orders/"
    )]
    Ls(LsArgs),
    /// Print a value, or keep it in a file
    #[command(
        after_help = "Examples:\n  trellis stores get tally orders/7\n  trellis stores get tally picture -o picture.png"
    )]
    Get(GetArgs),
    /// Write a value from a file or standard input, byte for byte
    #[command(
        after_help = "Examples:\n  printf 42 | trellis stores set tally count\n  trellis stores set tally count value.txt --if-revision 17 --ttl 1d"
    )]
    Set(SetArgs),
    /// Delete a key
    #[command(after_help = "Example:\n  trellis stores rm tally orders/7")]
    Rm(RmArgs),
}

#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// The keys of this store [default: the names of all stores]
    store: Option<String>,
    /// Keys that begin with this
    #[arg(long, requires = "store", default_value = "")]
    prefix: String,
    /// Behind this one: the last of the page before
    #[arg(long)]
    after: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    #[command(flatten)]
    project: ProjectArgs,
}

/// One key of one store.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// As grants name it
    store: String,
    /// Any text; slashes are part of it
    #[arg(value_parser = key)]
    key: String,
    #[command(flatten)]
    project: ProjectArgs,
}

/// Two keys that no address can hold: every program on the way takes them out of it.
fn key(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a key has at least one letter".to_owned()),
        "." | ".." => {
            Err("keys `.` and `..` cannot be in an address; only a plugin can read and write them".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub struct GetArgs {
    #[command(flatten)]
    of: KeyArgs,
    /// Keep the value in this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct SetArgs {
    #[command(flatten)]
    of: KeyArgs,
    /// A file with the value; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Only if this is its revision still
    #[arg(long, value_name = "N", conflicts_with = "if_absent")]
    if_revision: Option<i64>,
    /// Only if there is no such key
    #[arg(long)]
    if_absent: bool,
    /// The key is gone after this time, such as 30s or 1d, in whole seconds
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    ttl: Option<u64>,
}

fn seconds(text: &str) -> Result<u64, String> {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = match text.strip_suffix('d') {
        Some(days) => days.parse::<u64>().ok().and_then(|days| days.checked_mul(DAY)),
        None => crate::config::parse_duration(text).filter(|time| time.subsec_nanos() == 0).map(|time| time.as_secs()),
    };
    let seconds = seconds.filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| "write whole seconds or more, such as 30s or 1d".to_owned())
}

#[derive(Debug, clap::Args)]
pub struct RmArgs {
    #[command(flatten)]
    of: KeyArgs,
    /// Only if this is its revision still
    #[arg(long, value_name = "N")]
    if_revision: Option<i64>,
}

impl KeyArgs {
    fn client(&self) -> Result<(Client, String), Failure> {
        Ok((self.project.connection.client(Path::new("."))?, self.project.name()?))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Store {
    name: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    key: String,
    revision: i64,
    size_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A value that was asked for.
#[derive(Debug, Serialize)]
struct Value<'v> {
    store: &'v str,
    key: &'v str,
    /// As the host tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    size_bytes: usize,
    /// Absent for what is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'v str>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    key: String,
    revision: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Removed<'r> {
    store: &'r str,
    removed: &'r str,
}

pub async fn run(command: StoresCommand, output: &mut Output) -> CommandResult {
    match command {
        StoresCommand::Ls(args) => list(&args, output).await,
        StoresCommand::Get(args) => get(&args, output).await,
        StoresCommand::Set(args) => set(&args, output).await,
        StoresCommand::Rm(args) => remove(&args, output).await,
    }
}

async fn list(args: &LsArgs, output: &mut Output) -> CommandResult {
    let (client, project) = (args.project.connection.client(Path::new("."))?, args.project.name()?);
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.after.clone().map(|after| ("after", after)));
    let Some(store) = &args.store else {
        let page: Page<Store> = client.get(&["v1", "projects", &project, "stores"], &query).await?;
        output.show(&page, |page| {
            let mut table = Table::new(["STORE"]);
            page.items.iter().for_each(|store| table.row([&store.name]));
            format!("{table}{}", more(page.next.as_deref()))
        })?;
        return Ok(());
    };
    if !args.prefix.is_empty() {
        query.push(("prefix", args.prefix.clone()));
    }
    let page: Page<Entry> = client.get(&["v1", "projects", &project, "stores", store], &query).await?;
    output.show(&page, |page| {
        let mut table = Table::new(["KEY", "REVISION", "SIZE", "EXPIRES"]);
        for Entry { key, revision, size_bytes, expires_at } in &page.items {
            let size = counted(*size_bytes, "byte");
            table.row([key, &revision.to_string(), &size, expires_at.as_deref().unwrap_or("never")]);
        }
        format!("{table}{}", more(page.next.as_deref()))
    })?;
    Ok(())
}

async fn get(args: &GetArgs, output: &mut Output) -> CommandResult {
    let KeyArgs { store, key, .. } = &args.of;
    let (client, project) = args.of.client()?;
    let url = client.url(&["v1", "projects", &project, "stores", store, key]);
    let answered = client.ask(Method::GET, url, &[], Bytes::new()).await?;
    let etag = answered.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
    let revision = etag.trim_matches('"').parse().ok();
    let size_bytes = answered.body.len();
    if let Some(path) = &args.output {
        std::fs::write(path, &answered.body)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
        let kept = Value { store, key, revision, size_bytes, value: None };
        output.show(&kept, |_| format!("{} kept in {}", counted(size_bytes as u64, "byte"), path.display()))?;
        return Ok(());
    }
    let value = std::str::from_utf8(&answered.body).ok();
    if output.is_json() || std::io::stdout().is_terminal() {
        let found = Value { store, key, revision, size_bytes, value };
        if !output.is_json() && value.is_none() {
            let size = counted(size_bytes as u64, "byte");
            let message = format!("the value is {size} that are no text; keep them in a file with -o FILE");
            return Err(Failure::new(Exit::Refused, message));
        }
        output.show(&found, |found| found.value.unwrap_or_default().to_owned())?;
    } else {
        // As it is, for the next program in the pipe.
        let mut stdout = std::io::stdout();
        stdout.write_all(&answered.body).and_then(|()| stdout.flush())?;
    }
    Ok(())
}

async fn set(args: &SetArgs, output: &mut Output) -> CommandResult {
    let KeyArgs { store, key, .. } = &args.of;
    let (client, project) = args.of.client()?;
    let mut url = client.url(&["v1", "projects", &project, "stores", store, key]);
    if let Some(ttl) = args.ttl {
        url.query_pairs_mut().append_pair("ttl_seconds", &ttl.to_string());
    }
    let mut headers = if_revision(args.if_revision);
    headers.extend(args.if_absent.then(|| ("if-none-match", "*".to_owned())));
    let answered = client.ask(Method::PUT, url, &headers, read(&args.file)?).await?;
    let written: Written = serde_json::from_slice(&answered.body).map_err(|error| Failure::new(Exit::Failed, error))?;
    output.show(&written, |written| {
        let expires = written.expires_at.as_ref().map(|at| format!(", until {at}")).unwrap_or_default();
        format!("{store}/{} is written, revision {}{expires}", written.key, written.revision)
    })?;
    Ok(())
}

fn if_revision(revision: Option<i64>) -> Vec<(&'static str, String)> {
    revision.map(|revision| ("if-match", format!("\"{revision}\""))).into_iter().collect()
}

async fn remove(args: &RmArgs, output: &mut Output) -> CommandResult {
    let KeyArgs { store, key, .. } = &args.of;
    let (client, project) = args.of.client()?;
    let url = client.url(&["v1", "projects", &project, "stores", store, key]);
    client.ask(Method::DELETE, url, &if_revision(args.if_revision), Bytes::new()).await?;
    output.show(&Removed { store, removed: key }, |_| format!("{store}/{key} is deleted"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_times_that_no_address_can_hold_are_refused() {
        assert_eq!(key("a/../b"), Ok("a/../b".to_owned()));
        for text in ["", ".", ".."] {
            assert!(key(text).is_err(), "{text}");
        }
        assert_eq!((seconds("90s"), seconds("1d")), (Ok(90), Ok(86_400)));
        for text in ["0s", "500ms", "1500ms", "90"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
