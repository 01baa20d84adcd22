//! `trellis send`: start a run by API.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, printable_lines},
    progress::Progress,
    runs::{self, Waited},
};
use crate::{
    client::Client,
    project::{Project, ProjectError},
};

#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The grid that is to run
    pub grid: String,
    /// A file with the event's JSON; `-` is standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// The project [default: that of trellis.toml in this folder]
    #[arg(long)]
    pub project: Option<String>,
    /// What the event is known by: sent again with the same key within a day, it is answered with the run that there is
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<String>,
    /// Wait until the run has ended, and show it, if the account's history keeps it
    #[arg(long)]
    pub wait: bool,
    /// Wait no longer than this many seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub timeout: u64,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// As a host takes one.
fn key(text: &str) -> Result<String, String> {
    const BYTES_MAX: usize = 256;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if is_plain && !text.trim().is_empty() && text.len() <= BYTES_MAX {
        return Ok(text.to_owned());
    }
    Err(format!("a key has 1 to {BYTES_MAX} visible characters of ASCII, such as a UUID"))
}

/// The answer to an event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Accepted {
    pub run: String,
}

/// What there is to say of a run that is over and left nothing behind.
#[derive(Debug, Serialize)]
struct NotKept<'r> {
    run: &'r str,
    is_kept: bool,
}

/// Says that a run is over and was not kept: which is no failure.
fn show_not_kept(run: &str, told: &str, output: &mut Output) -> CommandResult {
    output.show(&NotKept { run, is_kept: false }, |run| {
        format!("{} is over and is no dead letter; what it came to was not kept\n{}", run.run, printable_lines(told))
    })?;
    Ok(())
}

pub async fn run(args: SendArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let here = Path::new(".");
    let client = args.connection.client(here)?;
    let project = match args.project {
        Some(project) => project,
        None => project_here(here)?,
    };
    let url = client.url(&["v1", "projects", &project, "grids", &args.grid, "events"]);
    let event = read(&args.file)?;
    if event.iter().all(u8::is_ascii_whitespace) {
        let message = format!("{} is empty; an event is JSON, such as {{}}", args.file.display());
        return Err(Failure::new(Exit::Usage, message));
    }
    let accepted: Accepted = client.send_event(Method::POST, url, event, args.key.as_deref()).await?;
    if !args.wait {
        output.show(&accepted, |accepted| accepted.run.clone())?;
        return Ok(());
    }
    wait_and_show(&client, &accepted.run, Duration::from_secs(args.timeout), output, progress).await
}

/// Waits until a run that was accepted is over, and shows it. A dead letter is a failure.
pub async fn wait_and_show(
    client: &Client,
    run: &str,
    at_most: Duration,
    output: &mut Output,
    progress: &Progress,
) -> CommandResult {
    let run = match runs::wait(client, run, at_most, progress).await? {
        Waited::Ended(run) => run,
        Waited::NotKept(told) => return show_not_kept(run, &told, output),
    };
    output.show(&*run, runs::human)?;
    runs::check(&run)
}

/// The project whose manifest lies here.
///
/// # Errors
/// None does.
pub fn project_here(here: &Path) -> Result<String, Failure> {
    // Which project it is does not depend on variables.
    match Project::open(here, &|_| Some(String::new())) {
        Err(ProjectError::NoManifest(_)) => {
            Err(Failure::new(Exit::Usage, "there is no trellis.toml here: name the project with --project"))
        }
        // What else is wrong with it, or has no value here, is for whoever deploys it.
        Err(ProjectError::Faults(faulty)) if faulty.project().is_some() => {
            Ok(faulty.project().unwrap_or_default().to_owned())
        }
        project => Ok(project?.manifest.project),
    }
}

/// All of a file, or of standard input.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path) -> Result<Bytes, Failure> {
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map(Bytes::from).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::new(exit, format!("cannot read {}: {error}", file.display()))
    })
}
