//! `trellis doctor`: whether this machine has what Trellis needs, and what to do where it has not.

use std::process::Command;

use serde::Serialize;
use trellis_engine::{Engine, EngineConfig};

use super::{
    failure::{CommandResult, Failure},
    output::{Exit, Output, counted},
    serve::{ServeArgs, load},
};
use crate::{
    config::Config,
    preflight::{self, Finding},
    server::open_database,
};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    is_fine: bool,
    /// What was found, or how to mend it.
    message: String,
}

impl Check {
    fn of(name: &'static str, found: Result<String, String>) -> Self {
        let is_fine = found.is_ok();
        Self { name, is_fine, message: found.unwrap_or_else(|message| message) }
    }
}

impl From<Finding> for Check {
    fn from(Finding { setting, found, fix }: Finding) -> Self {
        Self::of(setting, found.map_err(|problem| format!("{problem}; {fix}")))
    }
}

pub async fn run(args: ServeArgs, output: &mut Output) -> CommandResult {
    let mut checks = vec![
        Check::of("cargo", version("cargo", &["--version"], "install Rust with rustup to build plugins written in it")),
        Check::of("wasm target", wasm_target()),
        Check::of("node", for_others("node", &["--version"], "plugins in JavaScript need Node.js 20 or newer")),
        Check::of("npm", for_others("npm", &["--version"], "plugins in JavaScript need npm")),
        Check::of(
            "pip",
            for_others("python3", &["-m", "pip", "--version"], "plugins in Python need Python 3 with pip"),
        ),
        Check::of("engine", engine()),
    ];
    match load(&args.config) {
        // What it would say about files and the database follows from its mistakes: once is enough.
        Err(failure) => checks.push(Check::of("configuration", Err(failure.error.to_string()))),
        Ok(loaded) => {
            let config = loaded.config;
            checks.push(Check::of("configuration", Ok("it can be read".to_owned())));
            checks.extend(preflight::files(&config).into_iter().chain(preflight::places(&config)).map(Check::from));
            checks.push(Check::of("database", database(config).await));
        }
    }
    output.show(&checks, |checks| {
        let line =
            |check: &Check| format!("{} {}: {}\n", if check.is_fine { '✓' } else { '✗' }, check.name, check.message);
        checks.iter().map(line).collect()
    })?;
    match checks.iter().filter(|check| !check.is_fine).count() {
        0 => Ok(()),
        missing => {
            let message = format!("{missing} of {} failed", counted(checks.len() as u64, "check"));
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

/// What only plugins in other languages need: nothing fails if it is not there.
fn for_others(program: &str, arguments: &[&str], need: &str) -> Result<String, String> {
    version(program, arguments, need).or_else(|problem| Ok(format!("not there; {problem}")))
}

fn version(program: &str, arguments: &[&str], fix: &str) -> Result<String, String> {
    let answer = Command::new(program).args(arguments).output();
    match answer {
        Ok(answer) if answer.status.success() => Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned()),
        Ok(answer) => Err(format!("`{program} {}` ended with {}; {fix}", arguments.join(" "), answer.status)),
        Err(error) => Err(format!("`{program}` cannot be run ({error}); {fix}")),
    }
}

fn wasm_target() -> Result<String, String> {
    let target = trellis_build::WASM_TARGET;
    let printed = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let folder = printed.map_err(|error| format!("`rustc` cannot be run ({error})"))?.stdout;
    if std::path::Path::new(String::from_utf8_lossy(&folder).trim()).is_dir() {
        Ok(format!("{target} is installed"))
    } else {
        Err(format!("{target} is missing; `rustup target add {target}`, or the first build adds it"))
    }
}

fn engine() -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let engine = Engine::new(&EngineConfig::new(folder.path())).map_err(|error| error.to_string())?;
    Ok(if engine.is_pooling() {
        "sandboxes come from a pool".to_owned()
    } else {
        "sandboxes work, but slower: this machine limits address space (`ulimit -v`), so there is no pool".to_owned()
    })
}

async fn database(mut config: Config) -> Result<String, String> {
    // A private Postgres is tried in a folder of its own: looking must not change anything, nor disturb a running host.
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    config.data_dir = folder.path().to_owned();
    let (database, postgres) = open_database(&config).await.map_err(|error| format!("{error:#}"))?;
    let answer = database.ping().await.map_err(|error| error.to_string());
    database.close().await;
    let found = match postgres {
        Some(postgres) => {
            let found = format!("private PostgreSQL {} works", postgres.version());
            postgres.stop().await.map_err(|error| error.to_string())?;
            found
        }
        None => "the configured database answers".to_owned(),
    };
    answer.map(|()| found)
}
