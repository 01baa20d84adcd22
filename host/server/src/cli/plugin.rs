//! `trellis plugin`: build, inspect and upload plugins.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use trellis_build::BuiltPlugin;
use trellis_engine::{Compiled, Digest, Engine, EngineConfig, UploadError};
use trellis_model::description::Description;

use super::{
    connection::ConnectionArgs,
    deploy::describe,
    failure::{CommandResult, Failure},
    output::{Exit, Output, Table, printable, printable_lines},
    progress::Progress,
};
use crate::project::{ProjectError, listed};

#[derive(Debug, clap::Subcommand)]
pub enum PluginCommand {
    /// Build a plugin crate to a component
    Build {
        /// The crate's folder
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Check a component as an upload would, and show its ports and imports
    Inspect {
        /// A component, or the folder of a plugin crate
        #[arg(default_value = ".")]
        file: PathBuf,
    },
    /// Upload a plugin under its version
    Push(PushArgs),
}

#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// The folder of a plugin crate, or a component
    #[arg(default_value = ".")]
    pub file: PathBuf,
    /// The plugin's name [default: the crate's]
    #[arg(long)]
    pub name: Option<String>,
    /// The plugin's version [default: the crate's]
    #[arg(long)]
    pub version: Option<String>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// What was built or checked.
#[derive(Debug, Serialize)]
struct Inspected {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    digest: String,
    size_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Description>,
    imports: Vec<String>,
}

pub async fn run(command: PluginCommand, output: &mut Output, progress: &Progress) -> CommandResult {
    match command {
        PluginCommand::Build { dir } => {
            let built = build(&dir, progress)?;
            let inspected = Inspected {
                digest: Digest::of(&built.bytes).to_string(),
                size_bytes: built.bytes.len(),
                path: Some(built.wasm_path),
                description: None,
                imports: Vec::new(),
            };
            output.show(&inspected, human)?;
            Ok(())
        }
        PluginCommand::Inspect { file } => inspect(&file, output, progress).await,
        PluginCommand::Push(args) => push(args, output, progress).await,
    }
}

fn build(dir: &Path, progress: &Progress) -> Result<BuiltPlugin, Failure> {
    let task = progress.task("building");
    let built =
        tokio::task::block_in_place(|| trellis_build::build_plugin(dir, &mut |step| task.detail(&describe(step))));
    let built = built.map_err(ProjectError::from)?;
    task.done(&format!("{} {}", built.name, built.version));
    Ok(built)
}

/// The bytes of a component, and what built them if they were built.
fn component(file: &Path, progress: &Progress) -> Result<(Bytes, Option<BuiltPlugin>), Failure> {
    if file.is_dir() {
        let built = build(file, progress)?;
        return Ok((Bytes::from(built.bytes.clone()), Some(built)));
    }
    let bytes = std::fs::read(file).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::new(exit, format!("cannot read {}: {error}", file.display()))
    })?;
    Ok((bytes.into(), None))
}

async fn inspect(file: &Path, output: &mut Output, progress: &Progress) -> CommandResult {
    let (bytes, built) = component(file, progress)?;
    let size_bytes = bytes.len();
    let compiled = compile(bytes).await?;
    let inspected = Inspected {
        path: built.map(|built| built.wasm_path),
        digest: compiled.digest.to_string(),
        size_bytes,
        description: Some((*compiled.description).clone()),
        imports: compiled.imports,
    };
    output.show(&inspected, human)?;
    Ok(())
}

/// The very checks of an upload, on this machine, with nothing kept.
async fn compile(bytes: Bytes) -> Result<Compiled, Failure> {
    let folder = tempfile::tempdir()?;
    let mut config = EngineConfig::new(folder.path());
    config.instances_max = 1;
    let engine = Engine::new(&config).map_err(|error| Failure::new(Exit::Failed, error))?;
    engine.compile(bytes).await.map_err(|error| match error {
        UploadError::Faults(faults) => {
            Failure::new(Exit::Refused, format!("the plugin is not accepted:\n{}", listed(&faults)))
        }
        error @ UploadError::Unavailable(_) => Failure::new(Exit::Failed, error),
    })
}

async fn push(args: PushArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let (bytes, built) = component(&args.file, progress)?;
    let (built_name, built_version) = built.map(|built| (built.name, built.version)).unzip();
    let missing =
        |what: &str| Failure::new(Exit::Usage, format!("a component has no {what} of its own: give --{what}"));
    let name = args.name.or(built_name).ok_or_else(|| missing("name"))?;
    let version = args.version.or(built_version).ok_or_else(|| missing("version"))?;
    let task = progress.bytes(&format!("uploading {name} {version}"), bytes.len() as u64);
    let answer: serde_json::Value =
        client.put_bytes(&["v1", "plugins", &name, &version], "application/wasm", bytes).await?;
    task.done("accepted");
    output.show(&answer, |_| format!("plugin {name} {version} is uploaded; use it as \"{name}@^{version}\""))?;
    Ok(())
}

fn human(inspected: &Inspected) -> String {
    let mut text = String::new();
    if let Some(path) = &inspected.path {
        text.push_str(&format!("{}\n", path.display()));
    }
    text.push_str(&format!("{} KiB, sha256 {}\n", inspected.size_bytes.div_ceil(1024), inspected.digest));
    let Some(description) = &inspected.description else { return text };
    if !description.summary.is_empty() {
        text.push_str(&format!("{}\n", printable_lines(&description.summary)));
    }
    let mut ports = Table::new(["PORT", "SIDE", "SCHEMA"]);
    for (name, port) in &description.inputs {
        ports.row([name.as_str(), if port.required { "input" } else { "input, optional" }, &port.schema.to_string()]);
    }
    for (name, port) in &description.outputs {
        ports.row([name.as_str(), "output", &port.schema.to_string()]);
    }
    let config = description.config.to_string();
    format!("{text}{ports}config: {}\nimports: {}\n", printable(&config), inspected.imports.join(", "))
}
