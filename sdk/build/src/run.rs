//! One call of cargo: started, listened to while it runs, its artefacts picked up.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use serde::Deserialize;

use crate::{
    BuildError, BuildProgress, BuiltPlugin, WASM_TARGET, cargo,
    plan::{PlannedPackage, Profile, WorkspaceBuild},
};

/// The `guest` profile's settings for a workspace that does not define it: small, one unit, nothing to unwind.
const TUNED_RELEASE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
];

/// Builds all packages of one workspace.
pub(crate) fn build_workspace(
    build: &WorkspaceBuild<'_>,
    progress: &mut dyn FnMut(BuildProgress<'_>),
) -> Result<Vec<BuiltPlugin>, BuildError> {
    let names: Vec<&str> = build.packages.iter().map(|package| package.name.as_str()).collect();
    progress(BuildProgress::Started { workspace: build.root, packages: &names });
    let artefacts = run(&mut command(build), build, progress)?;
    build.packages.iter().map(|package| pick_up(package, &artefacts, progress)).collect()
}

fn command(build: &WorkspaceBuild<'_>) -> Command {
    let mut command = cargo::cargo(build.root);
    command.args(["build", "--target", WASM_TARGET, "--message-format", "json-render-diagnostics", "--profile"]);
    match build.profile {
        Profile::Guest => command.arg("guest"),
        Profile::TunedRelease => command.arg("release").envs(TUNED_RELEASE),
    };
    if build.locked {
        command.arg("--locked");
    }
    command.arg("--target-dir").arg(&build.target_dir);
    for package in &build.packages {
        // By id: a dependency may have the same name.
        command.args(["-p", &package.id]);
    }
    command
}

/// A component that cargo reported.
struct Artefact {
    package_id: String,
    path: PathBuf,
    fresh: bool,
}

fn run(
    command: &mut Command,
    build: &WorkspaceBuild<'_>,
    progress: &mut dyn FnMut(BuildProgress<'_>),
) -> Result<Vec<Artefact>, BuildError> {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|source| cargo::start_failure(command, source))?;
    let messages = child.stdout.take().expect("stdout is piped");
    let diagnostics = child.stderr.take().expect("stderr is piped");
    // Both pipes are read at the same time: cargo would stand still if one of them filled up.
    let (heard, output) = thread::scope(|scope| {
        let output = scope.spawn(|| cargo::tail(diagnostics));
        (listen(messages, progress), output.join().expect("reading lines does not panic"))
    });
    finish(child, build, heard, output)
}

fn finish(
    mut child: Child,
    build: &WorkspaceBuild<'_>,
    heard: Result<Vec<Artefact>, BuildError>,
    output: String,
) -> Result<Vec<Artefact>, BuildError> {
    let waited = child.wait();
    let status = waited.map_err(|source| BuildError::ToolFailed { program: "cargo".to_owned(), source })?;
    if status.success() {
        return heard;
    }
    if build.locked && output.contains("--locked was passed") {
        return Err(BuildError::LockOutdated { workspace: build.root.to_owned(), output });
    }
    let names: Vec<&str> = build.packages.iter().map(|package| package.name.as_str()).collect();
    Err(BuildError::Compilation { packages: names.join(", "), output })
}

/// The part of cargo's messages that we use; all other kinds and fields are passed over.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        package_id: String,
        target: MessageTarget,
        filenames: Vec<PathBuf>,
        fresh: bool,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
    kind: Vec<String>,
    crate_types: Vec<String>,
}

fn listen(messages: impl Read, progress: &mut dyn FnMut(BuildProgress<'_>)) -> Result<Vec<Artefact>, BuildError> {
    let mut artefacts = Vec::new();
    let mut ready = 0;
    for line in BufReader::new(messages).lines() {
        let not_understood = |reason: String| BuildError::UnexpectedOutput { reason };
        let line = line.map_err(|error| not_understood(error.to_string()))?;
        // A build script or a procedural macro may print into cargo's stdout: only objects are messages.
        if !line.starts_with('{') {
            continue;
        }
        let message = serde_json::from_str(&line).map_err(|error| not_understood(format!("message: {error}")))?;
        let Message::CompilerArtifact { package_id, target, filenames, fresh } = message else { continue };
        if target.kind.iter().any(|kind| kind == "custom-build") {
            // A build script is a step towards its crate, not a crate of its own.
            continue;
        }
        ready += 1;
        progress(BuildProgress::CrateReady { name: &target.name, fresh, ready });
        if target.crate_types.iter().any(|kind| kind == "cdylib") {
            let component = filenames.into_iter().find(|path| path.extension().is_some_and(|end| end == "wasm"));
            artefacts.extend(component.map(|path| Artefact { package_id, path, fresh }));
        }
    }
    Ok(artefacts)
}

fn pick_up(
    package: &PlannedPackage,
    artefacts: &[Artefact],
    progress: &mut dyn FnMut(BuildProgress<'_>),
) -> Result<BuiltPlugin, BuildError> {
    let artefact = artefacts.iter().find(|artefact| artefact.package_id == package.id);
    let artefact = artefact
        .ok_or_else(|| BuildError::UnexpectedOutput { reason: format!("no artefact for `{}`", package.name) })?;
    let bytes =
        fs::read(&artefact.path).map_err(|source| BuildError::Unreadable { path: artefact.path.clone(), source })?;
    progress(BuildProgress::PluginReady { name: &package.name, wasm_path: &artefact.path, fresh: artefact.fresh });
    Ok(BuiltPlugin {
        name: package.name.clone(),
        version: package.version.clone(),
        crate_dir: package.crate_dir.clone(),
        wasm_path: artefact.path.clone(),
        bytes,
        fresh: artefact.fresh,
    })
}
