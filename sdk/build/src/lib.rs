//! Builds plugin crates to Wasm components with cargo.
//!
//! A package of its own because two sides need it that must not see each other: the server builds the plugins of a
//! project before it deploys them, and the test harness builds the crate under test. Both then run the very same bytes.
//!
//! Knows cargo, rustup and where an artefact ends up. Deliberately does not know what is inside a component: whether it
//! exports a transformer is for the engine to say.

mod error;
mod progress;

mod cargo;
mod plan;
mod run;
mod target;

use std::path::{Path, PathBuf};

pub use error::BuildError;
pub use progress::BuildProgress;
pub use target::{WASM_TARGET, ensure_wasm_target};

use crate::plan::{PlannedPackage, WorkspaceBuild};

/// One plugin crate, built.
#[derive(Clone, PartialEq, Eq)]
pub struct BuiltPlugin {
    /// The package's name in its `Cargo.toml`.
    pub name: String,
    /// The package's version in its `Cargo.toml`: a semantic version, cargo has seen to that.
    pub version: String,
    /// The directory of its `Cargo.toml`.
    pub crate_dir: PathBuf,
    /// Where the component lies, below `<workspace target>/guests`.
    pub wasm_path: PathBuf,
    /// The component itself, read right after the build.
    pub bytes: Vec<u8>,
    /// Whether cargo found nothing to do: these are the bytes of an earlier build.
    pub fresh: bool,
}

impl std::fmt::Debug for BuiltPlugin {
    /// Everything but the bytes, of which only the number says something to a reader.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuiltPlugin")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("wasm_path", &self.wasm_path)
            .field("bytes", &self.bytes.len())
            .field("fresh", &self.fresh)
            .finish_non_exhaustive()
    }
}

/// Builds the crate in `crate_dir`. Blocks for as long as cargo takes: seconds when something changed, else some
/// hundredths of one.
///
/// # Errors
/// See [`BuildError`]; a failed compilation carries the end of cargo's own output.
pub fn build_plugin(crate_dir: &Path, progress: &mut dyn FnMut(BuildProgress<'_>)) -> Result<BuiltPlugin, BuildError> {
    let mut built = build_plugins(&[crate_dir], progress)?;
    Ok(built.pop().expect("one crate asked for is one crate built"))
}

/// Builds several crates, those that share a workspace with one call of cargo. The answer is in the order of
/// `crate_dirs`. Blocks, like [`build_plugin`].
///
/// # Errors
/// The first failure ends it; what had been built by then stays on disk and is fresh next time.
pub fn build_plugins<P: AsRef<Path>>(
    crate_dirs: &[P],
    progress: &mut dyn FnMut(BuildProgress<'_>),
) -> Result<Vec<BuiltPlugin>, BuildError> {
    let packages = crate_dirs.iter().map(|dir| plan::find_package(dir.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let mut built = Vec::with_capacity(packages.len());
    for workspace in WorkspaceBuild::group(&packages) {
        target::ensure_wasm_target_in(workspace.root, progress)?;
        built.extend(run::build_workspace(&workspace, progress)?);
    }
    Ok(in_order_of(&packages, &built))
}

/// The same crate may be asked for twice; it is built once and answered twice.
fn in_order_of(packages: &[PlannedPackage], built: &[BuiltPlugin]) -> Vec<BuiltPlugin> {
    let find = |package: &PlannedPackage| {
        let plugin = built.iter().find(|plugin| plugin.crate_dir == package.crate_dir);
        plugin.cloned().expect("every planned package was built or the build failed")
    };
    packages.iter().map(find).collect()
}
