//! `trellis plugin pull`: a component from a registry of containers, into a file or straight to a host.

use std::path::{Path, PathBuf};

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    super::{
        connection::ConnectionArgs,
        failure::{CommandResult, Failure},
        output::{Exit, Output, printable},
        progress::Progress,
    },
    upload,
};
use crate::{
    config::ByteSize,
    registry::{Login, PullError, PullOptions, Pulled, Reference, pull},
};

#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Where it is, such as oci://ghcr.io/acme/split:1.2.0 or oci://ghcr.io/acme/split@sha256:…
    #[arg(value_name = "REFERENCE")]
    reference: Reference,
    /// Upload it as a plugin of the account
    #[arg(long)]
    push: bool,
    /// Keep it in this file [default: NAME-VERSION.wasm here, unless it is pushed]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The plugin's name [default: the last part of the repository]
    #[arg(long)]
    name: Option<String>,
    /// The plugin's version [default: the tag, if it is one]
    #[arg(long)]
    version: Option<String>,
    /// The largest component that is fetched
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    max_size: ByteSize,
    /// Fetch over plain HTTP from another machine as well: who stands between can change what you get
    #[arg(long)]
    insecure: bool,
    /// Who asks; the password is taken from TRELLIS_REGISTRY_PASSWORD
    #[arg(long, value_name = "USER")]
    username: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "write a size such as 64MiB".to_owned())
}

/// What was pulled, and what became of it.
#[derive(Debug, Serialize)]
struct Report {
    reference: String,
    /// Names these very bytes in the registry, unlike a tag.
    pinned: String,
    /// SHA-256 of the component, as a host shows it.
    digest: String,
    size_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    /// The plugin that it was uploaded as.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
}

pub async fn run(args: &PullArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let (name, version) = (name(args), version(args));
    if args.push && version.is_none() {
        let message = "the tag is no version such as 1.2.0: give --version";
        return Err(Failure::new(Exit::Usage, message));
    }
    // Before anything is fetched: it may turn out that there is no token.
    let client = if args.push { Some(args.connection.client(Path::new("."))?) } else { None };
    let Pulled { component, manifest_digest } = fetch(args, progress).await?;
    let digest = trellis_engine::Digest::of(&component).to_string();
    let size_bytes = component.len();
    let path = path(args, &name, version.as_deref());
    if let Some(path) = &path {
        std::fs::write(path, &component)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
    }
    let mut plugin = None;
    if let (Some(client), Some(version)) = (&client, &version) {
        upload(client, &name, version, component, progress).await?;
        plugin = Some(format!("{name}@{version}"));
    }
    let pinned = Reference { digest: Some(manifest_digest), tag: None, ..args.reference.clone() }.to_string();
    let report = Report { reference: args.reference.to_string(), pinned, digest, size_bytes, path, plugin };
    output.show(&report, human)?;
    Ok(())
}

async fn fetch(args: &PullArgs, progress: &Progress) -> Result<Pulled, Failure> {
    let login = args.username.as_ref().map(|username| Login {
        username: username.clone(),
        password: Zeroizing::new(std::env::var("TRELLIS_REGISTRY_PASSWORD").unwrap_or_default()),
    });
    let options = PullOptions { bytes_max: args.max_size.as_usize(), is_insecure: args.insecure, login };
    let task = progress.bytes(&format!("pulling {}", args.reference), 0);
    let pulled = pull(&args.reference, &options, &mut |so_far, total| task.at(so_far, total)).await?;
    task.done(&format!("{} KiB", pulled.component.len().div_ceil(1_024)));
    Ok(pulled)
}

fn name(args: &PullArgs) -> String {
    args.name.clone().unwrap_or_else(|| args.reference.name().to_owned())
}

/// A tag is often a version, with a `v` before it or not.
fn version(args: &PullArgs) -> Option<String> {
    let of_tag = || {
        let tag = args.reference.tag.as_deref()?;
        let plain = tag.strip_prefix('v').unwrap_or(tag);
        plain.parse::<semver::Version>().is_ok().then(|| plain.to_owned())
    };
    args.version.clone().or_else(of_tag)
}

fn path(args: &PullArgs, name: &str, version: Option<&str>) -> Option<PathBuf> {
    let file = || match version.or(args.reference.tag.as_deref()) {
        Some(version) => format!("{name}-{version}.wasm").into(),
        None => format!("{name}.wasm").into(),
    };
    args.output.clone().or_else(|| (!args.push).then(file))
}

fn human(report: &Report) -> String {
    let mut text =
        format!("{} KiB, sha256 {}\npinned: {}\n", report.size_bytes.div_ceil(1_024), report.digest, report.pinned);
    if let Some(path) = &report.path {
        let path = printable(&path.to_string_lossy()).into_owned();
        text.push_str(&format!("kept in {path}; `trellis plugin check {path}` tells whether a host takes it\n"));
    }
    if let Some(plugin) = &report.plugin {
        text.push_str(&format!("plugin {plugin} is uploaded\n"));
    }
    text
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        let exit = match &error {
            PullError::Unreachable { .. } => Exit::Unavailable,
            PullError::Refused { status, .. } if status.is_server_error() => Exit::Unavailable,
            PullError::NotFound(_) => Exit::NotFound,
            PullError::Plain(_)
            | PullError::LeadsHere { .. }
            | PullError::Unauthorized(_)
            | PullError::Refused { .. }
            | PullError::TooLarge { .. }
            | PullError::Unreadable { .. }
            | PullError::NoComponent { .. }
            | PullError::Digest { .. } => Exit::Refused,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: PullArgs,
    }

    fn args(flags: &[&str]) -> PullArgs {
        Command::try_parse_from(["pull"].iter().chain(flags)).expect("flags").args
    }

    #[test]
    fn name_version_and_file_come_from_the_reference_if_they_can() {
        let digest = format!("oci://ghcr.io/acme/split@sha256:{}", "a".repeat(64));
        let cases: [(&[&str], Option<&str>, Option<&str>); 5] = [
            (&["oci://ghcr.io/acme/split:1.2.0"], Some("1.2.0"), Some("split-1.2.0.wasm")),
            (&["oci://ghcr.io/acme/split:v1.2.0"], Some("1.2.0"), Some("split-1.2.0.wasm")),
            (&["oci://ghcr.io/acme/split:latest"], None, Some("split-latest.wasm")),
            (&[&digest], None, Some("split.wasm")),
            (&["oci://ghcr.io/acme/split:latest", "--push", "--version", "2.0.0"], Some("2.0.0"), None),
        ];
        for (flags, expected, file) in cases {
            let args = args(flags);
            let version = version(&args);
            assert_eq!((version.as_deref(), name(&args).as_str()), (expected, "split"), "{flags:?}");
            assert_eq!(path(&args, "split", version.as_deref()), file.map(PathBuf::from), "{flags:?}");
        }
    }
}
