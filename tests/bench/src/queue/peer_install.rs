//! Fetches other queues from their registries, at fixed versions, with the registries' own programs.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::process::Command;

/// Installs a package of the npm registry in the folder. Nothing that the package brings is run.
///
/// # Errors
/// No npm on this machine, or the registry cannot be reached.
pub async fn npm_package(folder: &Path, (name, version): (&str, &str)) -> anyhow::Result<()> {
    eprintln!("fetching {name} {version}");
    tokio::fs::create_dir_all(folder).await?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]).arg(format!("{name}@{version}"));
    run(npm.current_dir(folder), "npm", "install Node.js 20 or newer, which brings `node` and `npm`").await?;
    Ok(())
}

/// Fetches a crate and returns the folder of its source. Nothing of it is built.
///
/// # Errors
/// No cargo on this machine, or the registry cannot be reached.
pub async fn crate_source(folder: &Path, (name, version): (&str, &str)) -> anyhow::Result<PathBuf> {
    eprintln!("fetching {name} {version}");
    tokio::fs::create_dir_all(folder.join("src")).await?;
    tokio::fs::write(folder.join("src/lib.rs"), "").await?;
    let manifest = folder.join("Cargo.toml");
    tokio::fs::write(&manifest, lone_manifest(name, version)).await?;
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version=1", "--manifest-path"]).arg(&manifest);
    let output = run(&mut cargo, "cargo", "install Rust with rustup").await?;
    source_in(&output, name, version)
}

/// A package that has nothing but this dependency.
fn lone_manifest(name: &str, version: &str) -> String {
    format!(
        "[package]\nname = \"peer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{name} = {{ version = \"={version}\", default-features = false }}\n\n[workspace]\n"
    )
}

/// Where cargo has put the source, from what `cargo metadata` says.
fn source_in(metadata: &[u8], name: &str, version: &str) -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        manifest_path: PathBuf,
    }
    let metadata: Metadata =
        serde_json::from_slice(metadata).context("what cargo says of its packages is not readable")?;
    let found = metadata.packages.into_iter().find(|package| package.name == name && package.version == version);
    let manifest = found.with_context(|| format!("cargo does not know {name} {version}"))?.manifest_path;
    Ok(manifest.parent().context("a manifest without a folder")?.to_owned())
}

async fn run(command: &mut Command, program: &str, fix: &str) -> anyhow::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot run `{program}`; {fix}"))?;
    if !output.status.success() {
        bail!("`{program}` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crates_source_is_where_its_manifest_is() {
        let metadata = br#"{ "packages": [
            { "name": "pgmq", "version": "0.1.0", "manifest_path": "a/Cargo.toml" },
            { "name": "pgmq", "version": "0.2.0", "manifest_path": "b/Cargo.toml" }
        ], "version": 1 }"#;
        assert_eq!(source_in(metadata, "pgmq", "0.2.0").expect("it is there"), Path::new("b"));
        assert!(source_in(metadata, "pgmq", "0.3.0").is_err());
    }

    #[tokio::test]
    async fn a_missing_program_says_what_to_install() {
        let error =
            run(&mut Command::new("no-such-program"), "no-such-program", "install it").await.expect_err("no such");
        assert_eq!(error.to_string(), "cannot run `no-such-program`; install it");
    }
}
