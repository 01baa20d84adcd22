//! Plugins in languages whose programs are packed together with their interpreter: a package is found in a folder, its
//! component is taken from an earlier build or made with tools that are installed on first use.
//!
//! Knows what such builds have in common. What a package looks like and how its component is made is said in
//! `javascript` and `python`.

mod folder;
mod javascript;
mod python;
mod sources;
mod steps;
mod wit;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::{folder::BuildFolder, wit::WIT};
use crate::{BuildError, BuildProgress, BuiltPlugin};

/// Longest name of a plugin, in bytes, as a host has it.
const NAME_BYTES_MAX: usize = 64;

/// A package that can be built into a component.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    name: String,
    version: String,
    pub folder: PathBuf,
    recipe: Recipe,
}

/// How the component is made.
#[derive(Clone, Debug)]
enum Recipe {
    JavaScript(javascript::Recipe),
    Python(python::Recipe),
}

/// What a recipe needs to make a component.
struct Making<'m> {
    source: &'m Path,
    tools: &'m Path,
    /// The folder with the WIT.
    wit: &'m Path,
    home: &'m BuildFolder,
    output: &'m Path,
}

/// The package in a folder, if it is of one of these languages.
pub(crate) fn find(folder: &Path) -> Option<Result<Package, BuildError>> {
    // A crate may have a `package.json` for tools of its own; then it is a crate.
    if folder.join("Cargo.toml").is_file() {
        return None;
    }
    let readers = [javascript::read as fn(&Path) -> Option<Result<Package, BuildError>>, python::read];
    readers.into_iter().find_map(|read| read(folder))
}

impl Package {
    /// A package whose name and version a host will accept. `manifest` is the file that says them.
    fn new(manifest: &Path, name: String, version: String, recipe: Recipe) -> Result<Self, BuildError> {
        let bad = |problem: String| BuildError::BadPackage { manifest: manifest.to_owned(), problem };
        let is_name = name.len() <= NAME_BYTES_MAX
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_name {
            let rule = "use letters, digits, `-` and `_`, a letter first, 64 at most";
            return Err(bad(format!("`{name}` cannot be a plugin's name; {rule}")));
        }
        if let Err(error) = semver::Version::parse(&version) {
            let fix = "write three numbers, such as 0.1.0";
            return Err(bad(format!("`{version}` is no semantic version ({error}); {fix}")));
        }
        let folder = manifest.parent().expect("a file lies in a folder");
        let folder =
            folder.canonicalize().map_err(|source| BuildError::Unreadable { path: folder.to_owned(), source })?;
        Ok(Self { name, version, folder, recipe })
    }

    /// The component, made anew if anything that it is made of has changed.
    pub fn build(&self, progress: &mut dyn FnMut(BuildProgress<'_>)) -> Result<BuiltPlugin, BuildError> {
        let home = BuildFolder::of(&self.folder);
        // Another process may be installing the same tools, or making the same component.
        let _alone = home.enter()?;
        let made_with = [self.recipe.made_with(), vec![WIT]].concat();
        let digest = sources::digest(&self.folder, &made_with)?;
        let wasm_path = home.component(&self.name, &digest);
        progress(BuildProgress::Started { workspace: &self.folder, packages: &[&self.name] });
        let fresh = wasm_path.is_file();
        if !fresh {
            self.make(&home, &wasm_path, progress)?;
        }
        let bytes =
            fs::read(&wasm_path).map_err(|source| BuildError::Unreadable { path: wasm_path.clone(), source })?;
        progress(BuildProgress::PluginReady { name: &self.name, wasm_path: &wasm_path, fresh });
        Ok(BuiltPlugin {
            name: self.name.clone(),
            version: self.version.clone(),
            crate_dir: self.folder.clone(),
            wasm_path,
            bytes,
            fresh,
        })
    }

    fn make(
        &self,
        home: &BuildFolder,
        wasm_path: &Path,
        progress: &mut dyn FnMut(BuildProgress<'_>),
    ) -> Result<(), BuildError> {
        let tools = match &self.recipe {
            Recipe::JavaScript(recipe) => recipe.install(home, progress)?,
            Recipe::Python(recipe) => recipe.install(home, progress)?,
        };
        let wit = wit::write(home)?;
        // Under another name until it is whole: a build that is broken off leaves nothing that looks finished.
        let output = wasm_path.with_extension("new");
        home.make_room_for(wasm_path)?;
        let making = Making { source: &self.folder, tools: &tools, wit: &wit, home, output: &output };
        match &self.recipe {
            Recipe::JavaScript(recipe) => recipe.make(&making, &self.name)?,
            Recipe::Python(recipe) => recipe.make(&making, &self.name)?,
        }
        fs::rename(&output, wasm_path).map_err(|source| BuildError::Unwritable { path: wasm_path.to_owned(), source })
    }
}

impl Recipe {
    /// Which tools, in which versions: a component made with others is another one.
    fn made_with(&self) -> Vec<&'static str> {
        match self {
            Self::JavaScript(recipe) => recipe.made_with(),
            Self::Python(recipe) => recipe.made_with(),
        }
    }
}
