//! Why a plugin was not built, and what its author can do about it.

use std::path::PathBuf;

/// Each variant says who must act: the machine's owner (tools, target) or the plugin's author (all others).
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("`{program}` was not found; install Rust from https://rustup.rs and see that it is on the PATH")]
    ToolMissing { program: String },
    #[error("failed to run `{program}`: {source}")]
    ToolFailed { program: String, source: std::io::Error },
    #[error(
        "the Rust target {target} is not installed and there is no rustup to add it; \
         install it with your distribution's packages, or install Rust from https://rustup.rs"
    )]
    TargetWithoutRustup { target: &'static str },
    #[error("failed to add the Rust target {target}; run `rustup target add {target}` by hand\n{output}")]
    TargetNotAdded { target: &'static str, output: String },
    #[error("no {} in {}; name the directory of a plugin", crate::manifests(), .0.display())]
    NoManifest(PathBuf),
    #[error(
        "`{program}` was not found; a JavaScript plugin needs Node.js with npm: install it with your distribution's \
         packages (`apt-get install nodejs npm`) or from https://nodejs.org, and see that it is on the PATH"
    )]
    NodeMissing { program: String },
    #[error("Node.js is {version}; building a JavaScript plugin needs {major_min} or newer, from https://nodejs.org")]
    NodeTooOld { version: String, major_min: u32 },
    #[error(
        "`{program}` was not found; a Python plugin needs Python 3 with pip: install it with your distribution's packages \
         (`apt-get install python3 python3-pip`) or from https://www.python.org, and see that it is on the PATH"
    )]
    PythonMissing { program: String },
    #[error(
        "`python3` has no pip; install it with your distribution's packages (`apt-get install python3-pip`) or with \
         `python3 -m ensurepip`"
    )]
    PipMissing,
    #[error(
        "failed to install the tools for {language} with {installer}; see that its registry can be reached\n{output}"
    )]
    ToolsNotInstalled { language: &'static str, installer: &'static str, output: String },
    #[error("failed to install what `{package}` depends on with {installer}:\n{output}")]
    DependenciesNotInstalled { package: String, installer: &'static str, output: String },
    #[error("{}: {problem}", .manifest.display())]
    BadPackage { manifest: PathBuf, problem: String },
    #[error("{} has more than {files_max} files; name the folder of the plugin alone", .folder.display())]
    TooManyFiles { folder: PathBuf, files_max: usize },
    #[error("{} is a workspace without a package; name the directory of one of its crates", .0.display())]
    NoPackage(PathBuf),
    #[error(
        "package `{package}` in {} builds no component; add this to its Cargo.toml:\n[lib]\ncrate-type = [\"cdylib\"]",
        .crate_dir.display()
    )]
    NoComponent { package: String, crate_dir: PathBuf },
    #[error("cargo cannot read {}:\n{output}", .crate_dir.display())]
    UnreadableManifest { crate_dir: PathBuf, output: String },
    #[error(
        "Cargo.lock of {} does not fit its manifests; run `cargo update --workspace` there and keep the result\n{output}",
        .workspace.display()
    )]
    LockOutdated { workspace: PathBuf, output: String },
    #[error("failed to build {packages}:\n{output}")]
    Compilation { packages: String, output: String },
    #[error("cargo said something that is not understood ({reason}); its version may be too new or too old")]
    UnexpectedOutput { reason: String },
    #[error("failed to read {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("failed to write {}: {source}", .path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
}
