//! From directories to builds: which package lies in a directory, and which packages share a workspace.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{BuildError, cargo};

/// A package that can be built into a component.
#[derive(Clone, Debug)]
pub(crate) struct PlannedPackage {
    /// Cargo's own name for it, unique on this machine.
    pub id: String,
    pub name: String,
    pub version: String,
    pub crate_dir: PathBuf,
    workspace_root: PathBuf,
    target_dir: PathBuf,
}

/// Packages that one call of cargo builds.
#[derive(Debug)]
pub(crate) struct WorkspaceBuild<'a> {
    pub root: &'a Path,
    pub packages: Vec<&'a PlannedPackage>,
    /// Beside the host's own artefacts: guests must not wait for the lock that an outer cargo holds on those.
    pub target_dir: PathBuf,
    pub profile: Profile,
    pub locked: bool,
}

/// With which settings guests are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// The workspace's own `[profile.guest]`.
    Guest,
    /// `release` with our settings laid over it, where a workspace defines no such profile.
    TunedRelease,
}

impl<'a> WorkspaceBuild<'a> {
    /// Sorts packages into workspaces, in the order in which the workspaces first appear.
    pub fn group(packages: &'a [PlannedPackage]) -> Vec<Self> {
        let mut builds: Vec<Self> = Vec::new();
        for package in packages {
            let build = match builds.iter_mut().position(|build| build.root == package.workspace_root) {
                Some(known) => &mut builds[known],
                None => {
                    builds.push(Self::of(package));
                    builds.last_mut().expect("just pushed")
                }
            };
            if build.packages.iter().all(|known| known.id != package.id) {
                build.packages.push(package);
            }
        }
        builds
    }

    fn of(package: &'a PlannedPackage) -> Self {
        Self {
            root: &package.workspace_root,
            packages: Vec::new(),
            target_dir: package.target_dir.join("guests"),
            profile: Profile::of_workspace(&package.workspace_root),
            locked: package.workspace_root.join("Cargo.lock").is_file(),
        }
    }
}

impl Profile {
    fn of_workspace(root: &Path) -> Self {
        match fs::read_to_string(root.join("Cargo.toml")) {
            Ok(manifest) if defines_guest_profile(&manifest) => Self::Guest,
            // Cargo has just read this file; should it be gone now, cargo will say so itself.
            _ => Self::TunedRelease,
        }
    }
}

/// Looks for the table header alone. A profile spelled in another way (dotted keys, inline tables) is not seen; such a
/// workspace gets [`Profile::TunedRelease`], whose settings are those of the `guest` profile that we recommend.
fn defines_guest_profile(manifest: &str) -> bool {
    let header_names = |line: &str| -> Option<String> {
        let inside = line.trim().strip_prefix('[')?.split(']').next()?;
        Some(inside.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect())
    };
    manifest.lines().filter_map(header_names).any(|name| name == "profile.guest")
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    crate_types: Vec<String>,
}

/// The package whose `Cargo.toml` lies in `crate_dir`. Asks cargo, without resolving dependencies: no network.
pub(crate) fn find_package(crate_dir: &Path) -> Result<PlannedPackage, BuildError> {
    let manifest_path = crate_dir.join("Cargo.toml");
    let manifest_path = manifest_path.canonicalize().map_err(|_| BuildError::NoManifest(crate_dir.to_owned()))?;
    let metadata = metadata(&manifest_path)?;
    let in_dir = |package: &MetadataPackage| {
        // Compared as the file system sees them: cargo keeps symbolic links in its paths.
        package.manifest_path.canonicalize().is_ok_and(|path| path == manifest_path)
    };
    let package = metadata.packages.into_iter().find(in_dir);
    let package = package.ok_or_else(|| BuildError::NoPackage(crate_dir.to_owned()))?;
    let crate_dir = manifest_path.parent().expect("a file's path has a parent").to_owned();
    if !package.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == "cdylib")) {
        return Err(BuildError::NoComponent { package: package.name, crate_dir });
    }
    Ok(PlannedPackage {
        id: package.id,
        name: package.name,
        version: package.version,
        crate_dir,
        workspace_root: metadata.workspace_root,
        target_dir: metadata.target_directory,
    })
}

fn metadata(manifest_path: &Path) -> Result<Metadata, BuildError> {
    let crate_dir = manifest_path.parent().expect("a file's path has a parent");
    let mut command = cargo::cargo(crate_dir);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
    command.arg(AsRef::<OsStr>::as_ref(manifest_path));
    let output = cargo::output(&mut command)?;
    if !output.status.success() {
        let output = cargo::tail(output.stderr.as_slice());
        return Err(BuildError::UnreadableManifest { crate_dir: crate_dir.to_owned(), output });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| BuildError::UnexpectedOutput { reason: format!("metadata: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_profile_is_found_by_its_header() {
        for manifest in ["[profile.guest]\nlto = true", "[workspace]\n [ profile . \"guest\" ] # small"] {
            assert!(defines_guest_profile(manifest), "{manifest}");
        }
        for manifest in ["[profile.release]", "# [profile.guest]", "[profile.guest.package.a]", ""] {
            assert!(!defines_guest_profile(manifest), "{manifest}");
        }
    }
}
