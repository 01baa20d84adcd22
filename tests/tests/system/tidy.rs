//! The rules of the layout: what lies where, who may depend on whom, and what every file begins with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::support::repository;

/// What lies at the top, besides files whose names begin with a dot and what cargo builds.
const TOP_LEVEL: [&str; 14] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "examples",
    "host",
    "migrations",
    "plugins",
    "rust-toolchain.toml",
    "sdk",
    "tests",
    "wit",
];

/// The packages whose dependencies are ruled: name, folder, and which packages of this workspace they may see.
const MAY_SEE: [(&str, &str, &[&str]); 28] = [
    ("trellis-model", "host/model", &[]),
    ("trellis-store", "host/store", &["trellis-model"]),
    ("trellis-engine", "host/engine", &["trellis-model"]),
    ("trellis-operator", "host/operator", &["trellis-model", "trellis-store", "trellis-engine"]),
    (
        "trellis",
        "host/server",
        &["trellis-model", "trellis-store", "trellis-engine", "trellis-operator", "trellis-build"],
    ),
    ("trellis-sdk", "sdk", &["trellis-sdk-macros"]),
    ("trellis-sdk-macros", "sdk/macros", &[]),
    ("trellis-build", "sdk/build", &[]),
    ("trellis-testing", "sdk/testing", &["trellis-model", "trellis-engine", "trellis-build"]),
    ("branch", "plugins/branch", &["trellis-sdk", "expression"]),
    ("changelog", "plugins/changelog", &["trellis-sdk", "service"]),
    ("csv", "plugins/csv", &["trellis-sdk"]),
    ("dedupe", "plugins/dedupe", &["trellis-sdk", "service"]),
    ("email", "plugins/email", &["trellis-sdk", "service"]),
    ("expression", "plugins/expression", &["trellis-sdk"]),
    ("filter", "plugins/filter", &["trellis-sdk", "expression"]),
    ("gather", "plugins/gather", &["trellis-sdk", "service"]),
    ("github-sync", "plugins/github-sync", &["trellis-sdk", "service"]),
    ("gitlab-sync", "plugins/gitlab-sync", &["trellis-sdk", "service"]),
    ("http-request", "plugins/http-request", &["trellis-sdk"]),
    ("issue-rules", "plugins/issue-rules", &["trellis-sdk", "service", "expression"]),
    ("join", "plugins/join", &["trellis-sdk"]),
    ("json-map", "plugins/json-map", &["trellis-sdk", "expression"]),
    ("service", "plugins/service", &["trellis-sdk"]),
    ("slack-message", "plugins/slack-message", &["trellis-sdk", "service"]),
    ("split", "plugins/split", &["trellis-sdk", "service"]),
    ("template", "plugins/template", &["trellis-sdk"]),
    ("webhook-deliver", "plugins/webhook-deliver", &["trellis-sdk", "service"]),
];

/// What the tests of any package may see besides: the builder of guests, and the harness.
const TESTS_MAY_SEE: [&str; 2] = ["trellis-build", "trellis-testing"];

/// What belongs to one package alone, by the beginning of its name, and where else only tests may use it.
const ALONE: [(&str, &[&str]); 3] = [
    ("sqlx", &["host/store", "tests", "tests/bench"]),
    ("wasmtime", &["host/engine", "tests/bench"]),
    ("axum", &["host/server", "tests", "tests/bench"]),
];

/// The package whose program is made to fail, by its folder.
const FAILS_ON_PURPOSE: &str = "tests";

/// Longest file before its tests, in lines.
const LINES_MAX: usize = 450;

/// Folders that hold source text.
const SOURCES: [&str; 5] = ["host", "sdk", "plugins", "tests", "examples"];

/// All files below a folder with this extension. What cargo builds and what begins with a dot is left out.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![repository().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().expect("entries have names").to_string_lossy().into_owned();
            if name == "target" || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files() -> Vec<PathBuf> {
    SOURCES.iter().flat_map(|folder| files(folder, "rs")).collect()
}

/// The path from the top of the repository, for messages.
fn shown(path: &Path) -> String {
    path.strip_prefix(repository()).expect("it lies in the repository").display().to_string()
}

fn assert_none(offenders: &[String], rule: &str) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn the_top_level_is_as_agreed() {
    let entries = fs::read_dir(repository()).expect("the repository is readable");
    let names: BTreeSet<String> = entries
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    let agreed: BTreeSet<String> = TOP_LEVEL.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names, agreed);
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> =
        rust_files().iter().filter(|path| !read(path).starts_with("//! ")).map(|path| shown(path)).collect();
    assert_none(&silent, "modules that do not begin with `//!`");
}

/// The lines of a file before its tests.
fn lines_before_tests(text: &str) -> usize {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count()
}

#[test]
fn files_are_short_enough_to_be_read() {
    let long: Vec<String> = rust_files()
        .iter()
        .map(|path| (path, lines_before_tests(&read(path))))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", shown(path)))
        .collect();
    assert_none(&long, &format!("files of more than {LINES_MAX} lines before their tests"));
}

#[test]
fn every_migration_begins_with_a_comment() {
    let migrations = files("migrations", "sql");
    assert!(!migrations.is_empty());
    let silent: Vec<String> =
        migrations.iter().filter(|path| !read(path).starts_with("-- ")).map(|path| shown(path)).collect();
    assert_none(&silent, "migrations that do not begin with a comment");
}

/// A package as its manifest says.
struct Package {
    name: String,
    /// What it is built from, by the packages' own names.
    uses: BTreeSet<String>,
    /// What its tests and examples need besides.
    tests_use: BTreeSet<String>,
}

impl Package {
    fn read(manifest: &toml::Table) -> Self {
        Self {
            name: manifest["package"]["name"].as_str().expect("packages have names").to_owned(),
            uses: dependencies(manifest, &["dependencies", "build-dependencies"]),
            tests_use: dependencies(manifest, &["dev-dependencies"]),
        }
    }
}

/// The packages in some tables of a manifest, those for single targets included.
fn dependencies(manifest: &toml::Table, kinds: &[&str]) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flatten();
    let tables = targets.filter_map(|(_, table)| table.as_table()).chain([manifest]);
    let listed = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    listed
        .flatten()
        .map(|(name, how)| how.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned())
        .collect()
}

/// Every package of the workspace, by its folder.
fn packages() -> BTreeMap<String, Package> {
    let manifests = SOURCES.iter().flat_map(|folder| files(folder, "toml"));
    manifests
        .filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml"))
        .map(|path| {
            let manifest = read(&path).parse().expect("cargo reads it, too");
            (shown(path.parent().expect("a file lies in a folder")), Package::read(&manifest))
        })
        .collect()
}

#[test]
fn packages_depend_on_each_other_as_the_architecture_says() {
    let packages = packages();
    let own: BTreeSet<&str> = packages.values().map(|package| package.name.as_str()).collect();
    let mut offenders = Vec::new();
    for (name, folder, may_see) in MAY_SEE {
        let package = packages.get(folder).unwrap_or_else(|| panic!("there is no package in {folder}"));
        assert_eq!(package.name, name, "the package in {folder}");
        let is_free = |dependency: &str| !own.contains(dependency) || may_see.contains(&dependency);
        let wrong = package.uses.iter().filter(|dependency| !is_free(dependency));
        let is_free_for_tests = |dependency: &str| is_free(dependency) || TESTS_MAY_SEE.contains(&dependency);
        let wrong_in_tests = package.tests_use.iter().filter(|dependency| !is_free_for_tests(dependency));
        offenders.extend(wrong.chain(wrong_in_tests).map(|dependency| format!("{name} sees {dependency}")));
    }
    for (folder, package) in &packages {
        let sees_the_server = package.uses.contains("trellis") || package.tests_use.contains("trellis");
        if sees_the_server && !folder.starts_with("tests") {
            offenders.push(format!("{} sees the server", package.name));
        }
    }
    assert_none(&offenders, "packages that see what they must not");
}

#[test]
fn only_the_program_of_the_tests_has_fail_points() {
    let manifests = SOURCES.iter().flat_map(|folder| files(folder, "toml"));
    let switches_on = |text: &str| {
        let (_, dependencies) = text.split_once("dependencies]").unwrap_or_default();
        // Where a package passes the feature on, it is behind one of its own name.
        dependencies.contains("\"failpoints\"")
            || text.lines().any(|line| line.starts_with("default") && line.contains("failpoints"))
    };
    let folders: Vec<String> = manifests
        .filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml") && switches_on(&read(path)))
        .map(|path| shown(path.parent().expect("a file lies in a folder")))
        .collect();
    assert_eq!(folders, [FAILS_ON_PURPOSE]);
}

#[test]
fn every_package_of_the_host_the_sdk_and_the_plugins_is_under_a_rule() {
    let ruled: BTreeSet<&str> = MAY_SEE.iter().map(|(_, folder, _)| *folder).collect();
    let unruled: Vec<String> = packages()
        .into_keys()
        .filter(|folder| ["host/", "sdk", "plugins/"].iter().any(|begin| folder.starts_with(begin)))
        .filter(|folder| !ruled.contains(folder.as_str()))
        .collect();
    assert_none(&unruled, "packages that no rule of this file speaks of");
}

#[test]
fn sql_wasmtime_and_axum_each_have_one_home() {
    let mut offenders = Vec::new();
    for (folder, Package { name, uses, tests_use }) in packages() {
        for (begin, homes) in ALONE {
            let found = uses.union(&tests_use).find(|dependency| dependency.starts_with(begin));
            if let Some(dependency) = found.filter(|_| !homes.contains(&folder.as_str())) {
                offenders.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    assert_none(&offenders, "what has another home");
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    // Put together here, so that this file does not name them either. `/home` alone is no sign: packages install there.
    let mut roots: Vec<String> = ["root", "Users", "work"].map(|root| format!("/{root}/")).into();
    roots.push(format!("{}/", repository().display()));
    roots.extend(std::env::var("HOME").ok().filter(|home| home.len() > 1).map(|home| format!("{home}/")));
    let extensions = ["rs", "toml", "sql", "wit", "md"];
    let folders = SOURCES.iter().chain(&["migrations", "wit"]);
    let mut paths: Vec<PathBuf> =
        folders.flat_map(|folder| extensions.iter().flat_map(|extension| files(folder, extension))).collect();
    paths.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.toml", ".ci/run"].map(|name| repository().join(name)),
    );
    let mut offenders = Vec::new();
    for path in paths {
        for (number, line) in read(&path).lines().enumerate() {
            // At the beginning of a word: a folder in the middle of an address is none.
            let is_path = |root: &String| {
                line.match_indices(root.as_str()).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|before| !before.is_alphanumeric() && !"/.-_}~".contains(before))
                })
            };
            if roots.iter().any(is_path) {
                offenders.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert_none(&offenders, "absolute paths");
}

/// A route that is given to the router by hand would have no scope, and no test would try it.
#[test]
fn whatever_is_served_is_declared() {
    let home = "host/server/src/api/mod.rs";
    let by_hand: Vec<String> = files("host/server", "rs")
        .iter()
        .filter(|path| !shown(path).ends_with("tests.rs"))
        .filter(|path| {
            let text = read(path);
            let before_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
            before_tests.matches(".route(").count() > usize::from(shown(path) == home)
        })
        .map(|path| shown(path))
        .collect();
    assert_none(&by_hand, "files that give routes to the router themselves");
}
