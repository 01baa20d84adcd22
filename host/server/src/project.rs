//! A project folder on this machine: its manifest with variables filled in, and its local plugins, built.

mod schemas;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use trellis_build::{BuildError, BuildProgress, BuiltPlugin};
use trellis_model::{
    description::check_name,
    fault::Fault,
    manifest::{
        Manifest, PluginReference, document,
        document::{Item, pointer_join},
        variables,
    },
};

/// The manifest's file name.
pub const MANIFEST: &str = "trellis.toml";

#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("there is no {MANIFEST} in {0}; `trellis new NAME` makes a project")]
    NoManifest(PathBuf),
    #[error("cannot read {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{MANIFEST} is not accepted:\n{}", listed(&.0.faults))]
    Faults(Box<Faulty>),
    #[error(transparent)]
    Build(#[from] BuildError),
}

pub fn listed(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

/// A manifest with faults, as far as it could be read.
#[derive(Debug, Default)]
pub struct Faulty {
    pub faults: Vec<Fault>,
    /// None: it is no TOML.
    read: Option<(Item, Manifest)>,
}

impl Faulty {
    /// Faults of text of which nothing more can be said.
    pub fn of(faults: Vec<Fault>) -> Self {
        Self { faults, read: None }
    }

    /// The project's name, if that is none of the faults.
    pub fn project(&self) -> Option<&str> {
        let (_, manifest) = self.read.as_ref()?;
        check_name(&manifest.project).is_ok().then_some(manifest.project.as_str())
    }

    /// The project's name and its manifest as JSON, for somebody who may know of more faults.
    pub fn to_send(&self) -> Option<(String, Value)> {
        let (document, _) = self.read.as_ref()?;
        Some((self.project()?.to_owned(), document.to_json()))
    }

    /// The plugins that it names.
    pub fn plugins(&self) -> impl Iterator<Item = (&String, &PluginReference)> {
        self.read.iter().flat_map(|(_, manifest)| &manifest.plugins)
    }

    /// Gives faults the lines and columns of this manifest.
    pub fn with_places(&self, faults: Vec<Fault>) -> Vec<Fault> {
        match &self.read {
            Some((document, _)) => placed(document, faults),
            None => faults,
        }
    }
}

fn placed(document: &Item, faults: Vec<Fault>) -> Vec<Fault> {
    let place = |fault: Fault| {
        let placed = document.place_of(&fault.pointer).fault(fault.message);
        Fault { fix: fault.fix, ..placed }
    };
    faults.into_iter().map(place).collect()
}

/// A project folder whose manifest was read and found good as far as that can be said without a server.
#[derive(Debug)]
pub struct Project {
    pub dir: PathBuf,
    pub manifest: Manifest,
    /// With places, for the server's faults.
    document: Item,
}

/// A local plugin, built, under the version it is uploaded as.
#[derive(Debug)]
pub struct LocalPlugin {
    /// Its name in the manifest.
    pub alias: String,
    pub built: BuiltPlugin,
    pub version: String,
}

impl Project {
    /// Reads the manifest of a folder. `lookup` gives the values of its variables.
    ///
    /// # Errors
    /// All faults of the manifest at once, or why it cannot be read.
    pub fn open(dir: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ProjectError> {
        let path = dir.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ProjectError::NoManifest(dir.to_owned()),
            _ => ProjectError::Unreadable { path, source },
        })?;
        let refused = |faulty| ProjectError::Faults(Box::new(faulty));
        let mut document = document::from_toml(&text).map_err(|faults| refused(Faulty::of(faults)))?;
        let mut faults = variables::expand(&mut document, lookup).err().unwrap_or_default();
        faults.extend(schemas::include(&mut document, dir));
        let (manifest, further) = Manifest::read_as_far_as_possible(&document);
        // What has no value yet, or no file, is no fault of another kind besides.
        let is_new = |fault: &Fault| faults.iter().all(|known| known.pointer != fault.pointer);
        let further: Vec<Fault> = further.into_iter().filter(is_new).collect();
        faults.extend(further);
        faults.extend(missing_folders(&document, &manifest, dir));
        if faults.is_empty() {
            return Ok(Self { dir: dir.to_owned(), manifest, document });
        }
        Err(refused(Faulty { faults, read: Some((document, manifest)) }))
    }

    /// Builds every plugin that the manifest gives as a path. Blocks.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(&self, progress: &mut dyn FnMut(BuildProgress<'_>)) -> Result<Vec<LocalPlugin>, ProjectError> {
        let local: Vec<(&String, PathBuf)> = self
            .manifest
            .plugins
            .iter()
            .filter_map(|(alias, reference)| match reference {
                PluginReference::Local { path } => Some((alias, self.dir.join(path))),
                PluginReference::Uploaded { .. } => None,
            })
            .collect();
        let dirs: Vec<&PathBuf> = local.iter().map(|(_, dir)| dir).collect();
        let built = trellis_build::build_plugins(&dirs, progress)?;
        let plugin = |((alias, _), built): ((&String, PathBuf), BuiltPlugin)| LocalPlugin {
            alias: alias.clone(),
            version: local_version(&built),
            built,
        };
        Ok(local.into_iter().zip(built).map(plugin).collect())
    }

    /// The manifest as it is sent: JSON, with every local plugin replaced by the exact version that was uploaded.
    pub fn to_json(&self, local: &[LocalPlugin]) -> Value {
        let mut manifest = self.document.to_json();
        let versions: BTreeMap<&str, String> = local
            .iter()
            .map(|plugin| (plugin.alias.as_str(), format!("{}@={}", plugin.built.name, plugin.version)))
            .collect();
        if let Some(object) = manifest.as_object_mut() {
            object.remove("dev");
            if let Some(plugins) = object.get_mut("plugins").and_then(Value::as_object_mut) {
                for (alias, reference) in plugins {
                    if let Some(version) = versions.get(alias.as_str()) {
                        *reference = Value::String(version.clone());
                    }
                }
            }
        }
        manifest
    }

    /// The project's folder and those of its local plugins.
    pub fn folders(&self) -> Vec<PathBuf> {
        let local = self.manifest.plugins.values().filter_map(|reference| match reference {
            PluginReference::Local { path } => Some(self.dir.join(path)),
            PluginReference::Uploaded { .. } => None,
        });
        std::iter::once(self.dir.clone()).chain(local).collect()
    }

    /// Gives the server's faults the lines and columns of this folder's manifest.
    pub fn with_places(&self, faults: Vec<Fault>) -> Vec<Fault> {
        placed(&self.document, faults)
    }
}

/// Plugins whose folders are not there, or hold nothing that can be built.
fn missing_folders(document: &Item, manifest: &Manifest, dir: &Path) -> Vec<Fault> {
    let missing = manifest.plugins.iter().filter_map(|(alias, reference)| match reference {
        PluginReference::Local { path } if !trellis_build::is_plugin(&dir.join(path)) => Some((alias, path)),
        _ => None,
    });
    let fault = |(alias, path): (&String, &String)| {
        let place = document.place_of(&pointer_join("/plugins", alias));
        let what = if dir.join(path).is_dir() { "holds no plugin" } else { "is no folder" };
        place.fault(format!("`{path}` {what}")).fix(format!(
            "name the folder of a plugin, relative to {MANIFEST}: one with {}",
            trellis_build::manifests()
        ))
    };
    missing.map(fault).collect()
}

/// A crate's version with the beginning of its component's digest: versions never change once they are uploaded, but a
/// local plugin does with every edit.
fn local_version(built: &BuiltPlugin) -> String {
    let digest: String = Sha256::digest(&built.bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let separator = if built.version.contains('-') { '.' } else { '-' };
    let plain = built.version.split('+').next().unwrap_or_default();
    format!("{plain}{separator}local.h{digest}")
}
