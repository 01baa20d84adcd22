//! JavaScript: a folder with a `package.json` becomes a component with an engine in it.
//!
//! Node and npm are the machine's own; what makes the component is installed by npm, in the versions of a lock file.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Making, Package, Recipe as AnyRecipe,
    folder::{self, BuildFolder},
    sources, steps,
};
use crate::{BuildError, BuildProgress, cargo};

const MANIFEST: &str = "package.json";
/// The module that is made a component where `main` names none.
const MAIN: &str = "index.js";
/// Older versions of Node lack what the tools are written in.
const NODE_MAJOR_MIN: u32 = 20;

const DRIVER: &str = include_str!("../../tools/componentize.mjs");

/// What makes components with one engine: a `package.json`, and the lock with every version of every package.
struct Tools {
    name: &'static str,
    package: &'static str,
    lock: &'static str,
}

const STARLINGMONKEY: Tools = Tools {
    name: "starlingmonkey",
    package: include_str!("../../tools/starlingmonkey/package.json"),
    lock: include_str!("../../tools/starlingmonkey/package-lock.json"),
};

#[derive(Clone, Debug)]
pub(super) struct Recipe {
    main: String,
    engine: Engine,
    world: String,
    has_build_script: bool,
    has_dependencies: bool,
}

/// What runs the module inside the component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    /// Fast, with `fetch` and the rest of what the web has; 12 MB.
    #[default]
    StarlingMonkey,
}

impl Engine {
    fn tools(self) -> &'static Tools {
        match self {
            Self::StarlingMonkey => &STARLINGMONKEY,
        }
    }
}

#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
    main: Option<String>,
    #[serde(default)]
    scripts: BTreeMap<String, String>,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    #[serde(default, rename = "devDependencies")]
    dev_dependencies: BTreeMap<String, String>,
    #[serde(default)]
    trellis: Settings,
}

/// What `package.json` says under `trellis`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    engine: Engine,
    world: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { engine: Engine::default(), world: "plugin".to_owned() }
    }
}

/// The package in a folder with a `package.json`.
pub(super) fn read(folder: &Path) -> Option<Result<Package, BuildError>> {
    let path = folder.join(MANIFEST);
    path.is_file().then(|| {
        let text = fs::read_to_string(&path).map_err(|source| BuildError::Unreadable { path: path.clone(), source })?;
        parse(&path, &text)
    })
}

fn parse(path: &Path, text: &str) -> Result<Package, BuildError> {
    let bad = |problem: String| BuildError::BadPackage { manifest: path.to_owned(), problem };
    let manifest: Manifest = serde_json::from_str(text)
        .map_err(|error| bad(format!("{error}; a plugin has a `name`, a `version` and a `main` there")))?;
    let main = manifest.main.unwrap_or_else(|| MAIN.to_owned());
    let has_build_script = manifest.scripts.contains_key("build");
    let is_inside = Path::new(&main)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if !is_inside {
        return Err(bad(format!("`main` is `{main}`, which lies outside of the folder; name a file in it")));
    }
    if !has_build_script && !path.with_file_name(&main).is_file() {
        return Err(bad(format!("`main` is `{main}`, and there is no such file; name the module with the plugin")));
    }
    let has_dependencies = !(manifest.dependencies.is_empty() && manifest.dev_dependencies.is_empty());
    let Settings { engine, world } = manifest.trellis;
    let recipe = Recipe { main, engine, world, has_build_script, has_dependencies };
    Package::new(path, manifest.name, manifest.version, AnyRecipe::JavaScript(recipe))
}

fn check_node() -> Result<(), BuildError> {
    let mut node = cargo::tool("node", Path::new("."));
    let ended = steps::run(node.arg("--version"), |program| BuildError::NodeMissing { program })?;
    let version = ended.output.trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= NODE_MAJOR_MIN) {
        return Ok(());
    }
    Err(BuildError::NodeTooOld { version, major_min: NODE_MAJOR_MIN })
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<steps::Ended, BuildError> {
    let mut npm = cargo::tool("npm", folder);
    // Whatever runs the build may be an npm script itself.
    npm.env("NODE_ENV", "development").env("npm_config_update_notifier", "false").env("NO_COLOR", "1");
    steps::run(npm.args(arguments), |program| BuildError::NodeMissing { program })
}

impl Recipe {
    /// All that the component is made with, by its versions.
    pub fn made_with(&self) -> Vec<&'static str> {
        vec![self.engine.tools().lock, DRIVER]
    }

    /// Installs the tools; answers in which folder.
    pub fn install(
        &self,
        home: &BuildFolder,
        progress: &mut dyn FnMut(BuildProgress<'_>),
    ) -> Result<PathBuf, BuildError> {
        check_node()?;
        let tools = self.engine.tools();
        let name = format!("{}-{}", tools.name, sources::digest_of(&[tools.package, tools.lock, DRIVER].concat()));
        home.kept("tools", &name, |at| {
            progress(BuildProgress::InstallingTools { language: "JavaScript" });
            folder::write(&at.join(MANIFEST), tools.package)?;
            folder::write(&at.join("package-lock.json"), tools.lock)?;
            folder::write(&at.join("componentize.mjs"), DRIVER)?;
            let failure = |output| BuildError::ToolsNotInstalled { language: "JavaScript", installer: "npm", output };
            // What the lock has, checked by its digests, and nothing else.
            npm(at, &["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?.or(failure).map(drop)
        })
    }

    pub fn make(&self, making: &Making<'_>, name: &str) -> Result<(), BuildError> {
        let failed = |output| BuildError::Compilation { packages: name.to_owned(), output };
        if self.has_build_script {
            self.install_dependencies(making.source, name)?;
            npm(making.source, &["run", "build"])?.or(failed)?;
        }
        let mut node = cargo::tool("node", making.source);
        node.env("NO_COLOR", "1").arg(making.tools.join("componentize.mjs"));
        node.arg(making.source.join(&self.main)).arg(making.wit).arg(&self.world).arg(making.output);
        let ended = steps::run(&mut node, |program| BuildError::NodeMissing { program })?;
        ended.or(failed).map(drop)
    }

    /// What the plugin's own build script needs. A module without one can only import what lies beside it.
    fn install_dependencies(&self, folder: &Path, name: &str) -> Result<(), BuildError> {
        if !self.has_dependencies || folder.join("node_modules").is_dir() {
            return Ok(());
        }
        let verb = if folder.join("package-lock.json").is_file() { "ci" } else { "install" };
        let failed =
            |output| BuildError::DependenciesNotInstalled { package: name.to_owned(), installer: "npm", output };
        npm(folder, &[verb, "--no-audit", "--no-fund"])?.or(failed).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        parse(Path::new("plugins/x/package.json"), text).expect_err(text).to_string()
    }

    #[test]
    fn a_package_says_its_name_version_module_engine_and_world() {
        let text = r#"{"name":"hello","version":"1.2.3","main":"dist/a.js","scripts":{"build":"x"},"devDependencies":{"x":"1"},
                       "trellis":{"engine":"starlingmonkey","world":"plugin-with-wasi-http"},"type":"module"}"#;
        let dir = tempfile::TempDir::new().expect("a temporary folder");
        let package = parse(&dir.path().join(MANIFEST), text).expect("a package");
        assert_eq!((package.name.as_str(), package.version.as_str()), ("hello", "1.2.3"));
        let AnyRecipe::JavaScript(recipe) = package.recipe else { panic!("JavaScript") };
        assert_eq!(
            (recipe.main.as_str(), recipe.engine, recipe.world.as_str()),
            ("dist/a.js", Engine::StarlingMonkey, "plugin-with-wasi-http")
        );
        assert!(recipe.has_build_script && recipe.has_dependencies);
    }

    #[test]
    fn what_is_no_plugin_is_refused_with_the_place_and_the_remedy() {
        let cases = [
            ("{", "a plugin has a `name`, a `version` and a `main`"),
            (r#"{"version":"1.0.0"}"#, "missing field `name`"),
            (
                r#"{"name":"@acme/x","version":"1.0.0","scripts":{"build":"x"}}"#,
                "`@acme/x` cannot be a plugin's name; use letters",
            ),
            (r#"{"name":"x","version":"1.0","scripts":{"build":"x"}}"#, "`1.0` is no semantic version"),
            (r#"{"name":"x","version":"1.0.0"}"#, "`main` is `index.js`, and there is no such file"),
            (r#"{"name":"x","version":"1.0.0","main":"../x.js"}"#, "`main` is `../x.js`, which lies outside"),
            (
                r#"{"name":"x","version":"1.0.0","trellis":{"engine":"v8"}}"#,
                "unknown variant `v8`, expected `starlingmonkey`",
            ),
            (r#"{"name":"x","version":"1.0.0","trellis":{"motor":"v8"}}"#, "unknown field `motor`"),
        ];
        for (text, expected) in cases {
            let problem = problem(text);
            assert!(problem.contains(expected) && problem.contains("plugins/x/package.json"), "{text}: {problem}");
        }
    }

    #[test]
    fn the_locks_of_the_tools_pin_what_their_packages_ask_for_and_name_no_registry() {
        let tools = STARLINGMONKEY;
        let package: serde_json::Value = serde_json::from_str(tools.package).expect("JSON");
        let lock: serde_json::Value = serde_json::from_str(tools.lock).expect("JSON");
        for (name, version) in package["dependencies"].as_object().expect("tools by name") {
            assert_eq!(&lock["packages"][format!("node_modules/{name}")]["version"], version, "{name}");
        }
        for (path, locked) in lock["packages"].as_object().expect("packages by path") {
            assert!(path.is_empty() || locked["integrity"].is_string(), "{path} can be anything");
            assert!(locked["resolved"].is_null(), "{path} has an address");
        }
    }
}
