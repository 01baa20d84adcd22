//! Python: a folder with a `pyproject.toml` becomes a component with CPython in it.
//!
//! Python and pip are the machine's own; what makes the component is installed by pip, in one version. What the plugin
//! depends on must be written in Python alone.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Making, Package, Recipe as AnyRecipe, folder::BuildFolder, sources, steps};
use crate::{BuildError, BuildProgress, cargo};

const MANIFEST: &str = "pyproject.toml";
/// What a plugin depends on, where it pins more than `pyproject.toml` says.
const REQUIREMENTS: &str = "requirements.txt";
const TOOLS: &str = include_str!("../../tools/python/requirements.txt");
/// The Python inside the component.
const PYTHON_INSIDE: &str = "3.14";

#[derive(Clone, Debug)]
pub(super) struct Recipe {
    module: String,
    world: String,
    dependencies: Dependencies,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Dependencies {
    /// As `pyproject.toml` lists them.
    Listed(Vec<String>),
    /// The text of a `requirements.txt`.
    Pinned(String),
}

#[derive(Deserialize)]
struct Manifest {
    project: Project,
    #[serde(default)]
    tool: Tool,
}

#[derive(Deserialize)]
struct Project {
    name: String,
    version: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Tool {
    #[serde(default)]
    trellis: Settings,
}

/// What `pyproject.toml` says under `[tool.trellis]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    module: String,
    world: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { module: "app".to_owned(), world: "plugin".to_owned() }
    }
}

/// The package in a folder with a `pyproject.toml`.
pub(super) fn read(folder: &Path) -> Option<Result<Package, BuildError>> {
    let path = folder.join(MANIFEST);
    path.is_file().then(|| {
        let text = fs::read_to_string(&path).map_err(|source| BuildError::Unreadable { path: path.clone(), source })?;
        parse(&path, &text)
    })
}

fn parse(path: &Path, text: &str) -> Result<Package, BuildError> {
    let bad = |problem: String| BuildError::BadPackage { manifest: path.to_owned(), problem };
    let manifest: Manifest = toml::from_str(text).map_err(|error| {
        bad(format!("{}; a plugin has `[project]` with a `name` and a `version` there", error.to_string().trim_end()))
    })?;
    let Manifest { project, tool: Tool { trellis: Settings { module, world } } } = manifest;
    let is_name =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !part.is_empty();
    if !module.split('.').all(is_name) {
        return Err(bad(format!("`{module}` is no module's name; write it as in an import, such as `app`")));
    }
    let file = module.replace('.', "/");
    let is_there =
        [format!("{file}.py"), format!("{file}/__init__.py")].iter().any(|file| path.with_file_name(file).is_file());
    if !is_there {
        let fix = "name the module with the plugin in `[tool.trellis]` as `module`";
        return Err(bad(format!("there is no module `{module}` ({file}.py) beside it; {fix}")));
    }
    let dependencies = match fs::read_to_string(path.with_file_name(REQUIREMENTS)) {
        Ok(text) => Dependencies::Pinned(text),
        Err(_) => Dependencies::Listed(project.dependencies),
    };
    let recipe = Recipe { module, world, dependencies };
    Package::new(path, project.name, project.version, AnyRecipe::Python(recipe))
}

fn missing(program: String) -> BuildError {
    BuildError::PythonMissing { program }
}

fn python(folder: &Path) -> std::process::Command {
    let mut python = cargo::tool("python3", folder);
    // What the machine has installed besides is neither the tools' nor the plugin's.
    python.env("PYTHONNOUSERSITE", "1").env("PYTHONDONTWRITEBYTECODE", "1").env("NO_COLOR", "1");
    python
}

fn check_pip() -> Result<(), BuildError> {
    let ended = steps::run(python(Path::new(".")).args(["-m", "pip", "--version"]), missing)?;
    ended.or(|_| BuildError::PipMissing).map(drop)
}

/// Installs into a folder of its own: nothing of the machine's Python is touched, and no virtual environment is needed.
fn pip(at: &Path, wanted: &[OsString]) -> Result<steps::Ended, BuildError> {
    let mut pip = python(at);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--target"]).arg(at);
    steps::run(pip.args(wanted), missing)
}

impl Recipe {
    /// All that the component is made with, by its versions.
    pub fn made_with(&self) -> Vec<&'static str> {
        vec![TOOLS]
    }

    /// Installs the tools; answers in which folder.
    pub fn install(
        &self,
        home: &BuildFolder,
        progress: &mut dyn FnMut(BuildProgress<'_>),
    ) -> Result<PathBuf, BuildError> {
        check_pip()?;
        home.kept("tools", &format!("python-{}", sources::digest_of(TOOLS)), |at| {
            progress(BuildProgress::InstallingTools { language: "Python" });
            let wanted: Vec<OsString> = TOOLS.split_whitespace().map(OsString::from).collect();
            let failure = |output| BuildError::ToolsNotInstalled { language: "Python", installer: "pip", output };
            pip(at, &wanted)?.or(failure).map(drop)
        })
    }

    pub fn make(&self, making: &Making<'_>, name: &str) -> Result<(), BuildError> {
        let mut command = python(making.source);
        command.env("PYTHONPATH", making.tools).arg(making.tools.join("bin/componentize-py"));
        command
            .arg("-d")
            .arg(making.wit)
            .args(["-w", &self.world, "componentize", &self.module, "-o"])
            .arg(making.output);
        command.arg("-p").arg(making.source);
        if let Some(packages) = self.packages(making, name)? {
            command.arg("-p").arg(packages);
        }
        let ended = steps::run(&mut command, missing)?;
        ended.or(|output| BuildError::Compilation { packages: name.to_owned(), output }).map(drop)
    }

    /// What the plugin depends on, installed into a folder; none if it depends on nothing.
    fn packages(&self, making: &Making<'_>, name: &str) -> Result<Option<PathBuf>, BuildError> {
        let (wanted, digest) = match &self.dependencies {
            Dependencies::Listed(listed) if listed.is_empty() => return Ok(None),
            Dependencies::Listed(listed) => {
                (listed.iter().map(OsString::from).collect(), sources::digest_of(&listed.join("\n")))
            }
            Dependencies::Pinned(text) => {
                (vec!["--requirement".into(), making.source.join(REQUIREMENTS).into()], sources::digest_of(text))
            }
        };
        let mut arguments: Vec<OsString> = Vec::new();
        // What is compiled for this machine would not run in the component.
        let portable =
            ["--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", "--python-version"];
        arguments.extend(portable.into_iter().chain([PYTHON_INSIDE]).map(OsString::from));
        arguments.extend::<Vec<OsString>>(wanted);
        let failed =
            |output| BuildError::DependenciesNotInstalled { package: name.to_owned(), installer: "pip", output };
        making.home.kept("packages", &digest, |at| pip(at, &arguments)?.or(failed).map(drop)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> TempDir {
        let dir = TempDir::new().expect("a temporary folder");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("writable");
        }
        dir
    }

    fn read_in(dir: &TempDir) -> Result<Package, BuildError> {
        read(dir.path()).expect("there is a pyproject.toml")
    }

    fn recipe(dir: &TempDir) -> Recipe {
        match read_in(dir).expect("a package").recipe {
            AnyRecipe::Python(recipe) => recipe,
            AnyRecipe::JavaScript(_) => panic!("it is Python"),
        }
    }

    const PROJECT: &str = "[project]\nname = \"hello\"\nversion = \"1.2.3\"\ndependencies = [\"attrs\"]\n";

    #[test]
    fn a_package_says_its_name_version_module_and_dependencies() {
        let dir = folder_with(&[(MANIFEST, PROJECT), ("app.py", "")]);
        let package = read_in(&dir).expect("a package");
        assert_eq!((package.name.as_str(), package.version.as_str()), ("hello", "1.2.3"));
        let recipe = recipe(&dir);
        assert_eq!((recipe.module.as_str(), recipe.world.as_str()), ("app", "plugin"));
        assert_eq!(recipe.dependencies, Dependencies::Listed(vec!["attrs".to_owned()]));
    }

    #[test]
    fn pinned_requirements_come_before_listed_ones() {
        let settings = format!("{PROJECT}[tool.trellis]\nmodule = \"main\"\nworld = \"plugin-with-wasi-http\"\n");
        let dir = folder_with(&[(MANIFEST, &settings), ("main.py", ""), (REQUIREMENTS, "attrs==25.3.0\n")]);
        let recipe = recipe(&dir);
        assert_eq!((recipe.module.as_str(), recipe.world.as_str()), ("main", "plugin-with-wasi-http"));
        assert_eq!(recipe.dependencies, Dependencies::Pinned("attrs==25.3.0\n".to_owned()));
    }

    #[test]
    fn what_is_no_plugin_is_refused_with_the_place_and_the_remedy() {
        let cases = [
            ("[project", "a plugin has `[project]`"),
            ("[project]\nname = \"x\"\n", "missing field `version`"),
            ("[project]\nname = \"x\"\nversion = \"1.0\"\n", "`1.0` is no semantic version"),
            ("[project]\nname = \"x.y\"\nversion = \"1.0.0\"\n", "`x.y` cannot be a plugin's name"),
            (
                "[project]\nname = \"x\"\nversion = \"1.0.0\"\n[tool.trellis]\nmodule = \"main\"\n",
                "there is no module `main` (main.py)",
            ),
            (
                "[project]\nname = \"x\"\nversion = \"1.0.0\"\n[tool.trellis]\nmodule = \"../x\"\n",
                "`../x` is no module's name",
            ),
            ("[project]\nname = \"x\"\nversion = \"1.0.0\"\n[tool.trellis]\nmodul = \"x\"\n", "unknown field `modul`"),
        ];
        for (text, expected) in cases {
            let dir = folder_with(&[(MANIFEST, text), ("app.py", "")]);
            let problem = read_in(&dir).expect_err(text).to_string();
            assert!(problem.contains(expected) && problem.contains(MANIFEST), "{text}: {problem}");
        }
    }

    #[test]
    fn the_tools_are_pinned() {
        assert!(TOOLS.lines().all(|line| line.contains("==")), "{TOOLS}");
    }
}
