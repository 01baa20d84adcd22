//! `trellis plugin`: build, check, inspect and upload plugins. What is done with uploaded ones has a file of its own.

mod pull;
mod remote;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use trellis_build::BuiltPlugin;
use trellis_engine::{CompileIn, Compiled, Digest, Engine, EngineConfig, UploadError};
use trellis_model::{description::Description, fault::Fault};

use super::{
    connection::ConnectionArgs,
    deploy::describe,
    failure::{CommandResult, Failure},
    output::{Exit, Output, printable, printable_lines},
    progress::Progress,
};
use crate::{
    client::{Client, ClientError},
    project::{ProjectError, listed},
};

#[derive(Debug, clap::Subcommand)]
pub enum PluginCommand {
    /// Build a plugin to a component
    Build {
        /// Its folder, with a Cargo.toml, package.json or pyproject.toml
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Check a component as an upload would, without a host: exit code 0 if it would be accepted, 4 if not
    Check {
        /// A component, or the folder of a plugin
        #[arg(default_value = ".")]
        file: PathBuf,
    },
    /// Check a component as an upload would, and show its ports and imports
    Inspect {
        /// A component, or the folder of a plugin
        #[arg(default_value = ".")]
        file: PathBuf,
    },
    /// Upload a plugin under its version
    #[command(
        after_help = "Examples:\n  trellis plugin push plugins/split\n  trellis plugin push split.wasm --name split --version 1.2.0"
    )]
    Push(PushArgs),
    /// Fetch a component from a registry of containers, and check it against its digests
    #[command(
        after_help = "Examples:\n  trellis plugin pull oci://ghcr.io/acme/split:1.2.0\n  trellis plugin pull oci://ghcr.io/acme/split:1.2.0 --push\n\nRegistries on this machine are spoken to over plain HTTP, all others over HTTPS."
    )]
    Pull(Box<pull::PullArgs>),
    /// List uploaded plugins
    #[command(visible_alias = "list")]
    Ls(remote::LsArgs),
    /// Show an uploaded plugin: ports, config, imports
    #[command(after_help = "Example:\n  trellis plugin show split@1.2.0")]
    Show(remote::NamedArgs),
    /// Hide a version from new deployments; revisions that have it go on with it
    #[command(after_help = "Example:\n  trellis plugin yank split@1.2.0")]
    Yank(remote::NamedArgs),
    /// Let new deployments find a version again
    #[command(after_help = "Example:\n  trellis plugin unyank split@1.2.0")]
    Unyank(remote::NamedArgs),
    /// Print WIT: what a plugin imports and exports, or what plugins are written for
    #[command(
        after_help = "Examples:\n  trellis plugin wit > plugin.wit\n  trellis plugin wit split@1.2.0\n  trellis plugin wit split.wasm"
    )]
    Wit(remote::WitArgs),
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
    /// None: it was only built, not looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    imports: Option<Vec<String>>,
}

/// What a host would say to an upload.
#[derive(Debug, Serialize)]
struct Verdict {
    is_accepted: bool,
    digest: String,
    /// In the words of a host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<Fault>,
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
                imports: None,
            };
            output.show(&inspected, human)?;
            Ok(())
        }
        PluginCommand::Check { file } => check(&file, output, progress).await,
        PluginCommand::Inspect { file } => inspect(&file, output, progress).await,
        PluginCommand::Push(args) => push(args, output, progress).await,
        PluginCommand::Pull(args) => pull::run(&args, output, progress).await,
        PluginCommand::Ls(args) => remote::list(&args, output).await,
        PluginCommand::Show(args) => remote::show(&args, output).await,
        PluginCommand::Yank(args) => remote::set_yanked(&args, true, output).await,
        PluginCommand::Unyank(args) => remote::set_yanked(&args, false, output).await,
        PluginCommand::Wit(args) => remote::wit(&args, output, progress).await,
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
pub(super) fn component(file: &Path, progress: &Progress) -> Result<(Bytes, Option<BuiltPlugin>), Failure> {
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
        imports: Some(compiled.imports),
    };
    output.show(&inspected, human)?;
    Ok(())
}

async fn check(file: &Path, output: &mut Output, progress: &Progress) -> CommandResult {
    let (bytes, _) = component(file, progress)?;
    let digest = Digest::of(&bytes).to_string();
    let faults = match take_in(bytes).await? {
        Ok(_) => Vec::new(),
        Err(faults) => faults,
    };
    let verdict = Verdict { is_accepted: faults.is_empty(), digest, faults };
    output.show(&verdict, |verdict| match verdict.is_accepted {
        true => format!("{} would be accepted, sha256 {}", printable(&file.to_string_lossy()), verdict.digest),
        false => printable_lines(&listed(&verdict.faults)).into_owned(),
    })?;
    if verdict.is_accepted { Ok(()) } else { Err(Failure::new(Exit::Refused, NOT_ACCEPTED)) }
}

const NOT_ACCEPTED: &str = "the plugin is not accepted";

async fn compile(bytes: Bytes) -> Result<Compiled, Failure> {
    let refused = |faults: Vec<Fault>| Failure::new(Exit::Refused, format!("{NOT_ACCEPTED}:\n{}", listed(&faults)));
    take_in(bytes).await?.map_err(refused)
}

/// The very checks of an upload, on this machine, with nothing kept.
async fn take_in(bytes: Bytes) -> Result<Result<Compiled, Vec<Fault>>, Failure> {
    let folder = tempfile::tempdir()?;
    let mut config = EngineConfig::new(folder.path());
    config.instances_max = 1;
    config.compile_in = CompileIn::children_of_this_program()?;
    let engine = Engine::new(&config).map_err(|error| Failure::new(Exit::Failed, error))?;
    match engine.compile(bytes).await {
        Ok(compiled) => Ok(Ok(compiled)),
        Err(UploadError::Faults(faults)) => Ok(Err(faults)),
        Err(UploadError::Uncompilable(fault)) => Ok(Err(vec![fault])),
        Err(error @ UploadError::Unavailable(_)) => Err(Failure::new(Exit::Failed, error)),
    }
}

async fn push(args: PushArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let (bytes, built) = component(&args.file, progress)?;
    let (built_name, built_version) = built.map(|built| (built.name, built.version)).unzip();
    let missing =
        |what: &str| Failure::new(Exit::Usage, format!("a component has no {what} of its own: give --{what}"));
    let name = args.name.or(built_name).ok_or_else(|| missing("name"))?;
    let version = args.version.or(built_version).ok_or_else(|| missing("version"))?;
    let answer = upload(&client, &name, &version, bytes, progress).await?;
    output.show(&answer, |_| format!("plugin {name} {version} is uploaded; use it as \"{name}@^{version}\""))?;
    Ok(())
}

fn human(inspected: &Inspected) -> String {
    let mut text = String::new();
    if let Some(path) = &inspected.path {
        text.push_str(&format!("{}\n", path.display()));
    }
    text.push_str(&format!("{} KiB, sha256 {}\n", inspected.size_bytes.div_ceil(1024), inspected.digest));
    if let Some(description) = &inspected.description {
        text.push_str(&remote::described(description, inspected.imports.as_deref().unwrap_or_default()));
    }
    text
}

/// Sends a component to a host, which compiles it before it answers.
///
/// # Errors
/// It is not accepted, or the host cannot be reached.
pub async fn upload(
    client: &Client,
    name: &str,
    version: &str,
    bytes: Bytes,
    progress: &Progress,
) -> Result<serde_json::Value, ClientError> {
    let kib = bytes.len().div_ceil(1_024);
    let task = progress.bytes(&format!("uploading {name} {version}"), bytes.len() as u64);
    let answer = client.upload(&["v1", "plugins", name, version], bytes, task.sent()).await?;
    task.done(&format!("{kib} KiB, accepted"));
    Ok(answer)
}
