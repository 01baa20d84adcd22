//! Builds plugins to Wasm components: crates with cargo, JavaScript and Python with tools that are installed on first use.
//!
//! A package of its own because two sides need it that must not see each other: the server builds the plugins of a
//! project before it deploys them, and the test harness builds the crate under test. Both then run the very same bytes.
//!
//! Which language a plugin is written in, its folder says: `Cargo.toml`, `package.json` or `pyproject.toml`, the first of
//! them that is there. `TRELLIS_BUILD_DIR` names a folder for what is installed and made of the latter two; otherwise that
//! is `.trellis` in the project.
//!
//! Knows cargo, rustup, npm, pip and where an artefact ends up. Deliberately does not know what is inside a component: whether it
//! exports a transformer is for the engine to say.

mod error;
mod progress;

mod cargo;
mod interpreted;
mod plan;
mod run;
mod target;

use std::path::{Path, PathBuf};

pub use error::BuildError;
pub use progress::BuildProgress;
pub use target::{WASM_TARGET, ensure_wasm_target};

use crate::plan::{PlannedPackage, WorkspaceBuild};

/// One plugin, built.
#[derive(Clone, PartialEq, Eq)]
pub struct BuiltPlugin {
    /// The package's name in its manifest.
    pub name: String,
    /// The package's version in its manifest: a semantic version.
    pub version: String,
    /// The directory of its manifest.
    pub crate_dir: PathBuf,
    /// Where the component lies, below a folder `guests`: in the workspace's target folder, or in the build folder.
    pub wasm_path: PathBuf,
    /// The component itself, read right after the build.
    pub bytes: Vec<u8>,
    /// Whether nothing had to be done: these are the bytes of an earlier build.
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

/// Builds the plugin in `crate_dir`. Blocks for as long as that takes: seconds when something changed, else some
/// hundredths of one.
///
/// # Errors
/// See [`BuildError`]; a failed compilation carries the end of cargo's own output.
pub fn build_plugin(crate_dir: &Path, progress: &mut dyn FnMut(BuildProgress<'_>)) -> Result<BuiltPlugin, BuildError> {
    let mut built = build_plugins(&[crate_dir], progress)?;
    Ok(built.pop().expect("one crate asked for is one crate built"))
}

/// Builds several plugins, crates that share a workspace with one call of cargo. The answer is in the order of
/// `crate_dirs`. Blocks, like [`build_plugin`].
///
/// # Errors
/// The first failure ends it; what had been built by then stays on disk and is fresh next time.
pub fn build_plugins<P: AsRef<Path>>(
    crate_dirs: &[P],
    progress: &mut dyn FnMut(BuildProgress<'_>),
) -> Result<Vec<BuiltPlugin>, BuildError> {
    let planned = crate_dirs.iter().map(|dir| Planned::find(dir.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let crates: Vec<PlannedPackage> = planned.iter().filter_map(Planned::as_crate).cloned().collect();
    let mut built = Vec::with_capacity(planned.len());
    for workspace in WorkspaceBuild::group(&crates) {
        target::ensure_wasm_target_in(workspace.root, progress)?;
        built.extend(run::build_workspace(&workspace, progress)?);
    }
    for planned in &planned {
        if let Planned::Interpreted(package) = planned
            && built.iter().all(|plugin| plugin.crate_dir != package.folder)
        {
            built.push(package.build(progress)?);
        }
    }
    Ok(in_order_of(&planned, &built))
}

/// One of these files in a folder says which language its plugin is written in.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "package.json", "pyproject.toml"];

/// The files of which a plugin's folder has one, for messages.
pub fn manifests() -> String {
    let [first, second, last] = MANIFESTS;
    format!("{first}, {second} or {last}")
}

/// Whether something lies in a folder that can be taken for a plugin. Whether it builds is another question.
pub fn is_plugin(folder: &Path) -> bool {
    MANIFESTS.iter().any(|name| folder.join(name).is_file())
}

/// What lies in a folder, by its language.
enum Planned {
    Crate(PlannedPackage),
    Interpreted(interpreted::Package),
}

impl Planned {
    fn find(folder: &Path) -> Result<Self, BuildError> {
        match interpreted::find(folder) {
            Some(package) => package.map(Self::Interpreted),
            None => plan::find_package(folder).map(Self::Crate),
        }
    }

    fn as_crate(&self) -> Option<&PlannedPackage> {
        match self {
            Self::Crate(package) => Some(package),
            Self::Interpreted(_) => None,
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Crate(package) => &package.crate_dir,
            Self::Interpreted(package) => &package.folder,
        }
    }
}

/// The same plugin may be asked for twice; it is built once and answered twice.
fn in_order_of(planned: &[Planned], built: &[BuiltPlugin]) -> Vec<BuiltPlugin> {
    let find = |planned: &Planned| {
        let plugin = built.iter().find(|plugin| plugin.crate_dir == planned.folder());
        plugin.cloned().expect("every planned plugin was built or the build failed")
    };
    planned.iter().map(find).collect()
}
