//! What a new project consists of, and where none is made.

use tempfile::TempDir;
use trellis_model::manifest::{Manifest, PluginReference};

use super::*;

fn new(name: &str, path: PathBuf) -> Result<CreatedProject, NewError> {
    new_in(Language::Rust, name, path)
}

fn new_in(language: Language, name: &str, path: PathBuf) -> Result<CreatedProject, NewError> {
    create(&NewArgs { name: name.to_owned(), path: Some(path), language, sdk: None })
}

fn read(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).expect(file)
}

#[test]
fn a_new_project_is_whole_and_consistent() {
    for language in [Language::Rust, Language::JavaScript, Language::Python] {
        assert_whole(language);
    }
}

fn assert_whole(language: Language) {
    let dir = TempDir::new().expect("a temporary directory");
    let directory = dir.path().join("deep/hello-world");
    let created = new_in(language, "hello-world", directory.clone()).expect("nothing is in the way");
    assert_eq!(created.directory, directory);
    for file in &created.files {
        let text = read(&directory, file.to_str().expect("plain"));
        assert!(!text.contains("{{") && text.ends_with('\n'), "{file:?}: {text}");
    }

    let manifest_text = read(&directory, "trellis.toml");
    let manifest = Manifest::from_toml(&manifest_text).expect("a manifest without faults");
    assert_eq!(manifest.project, "hello-world");
    let local = PluginReference::Local { path: "plugins/hello-world".to_owned() };
    assert_eq!(manifest.plugins["hello-world"], local);
    assert_eq!(manifest.triggers[0].grid, "main");
    assert_eq!(manifest.grids["main"].nodes["greet"].plugin, "hello-world");

    let table: toml::Table = manifest_text.parse().expect("TOML");
    let event = &table["dev"]["event"];
    assert_eq!(event["trigger"].as_str(), Some(manifest.triggers[0].name.as_str()));
    let event_file = event["file"].as_str().expect("a path");
    let event: serde_json::Value = serde_json::from_str(&read(&directory, event_file)).expect("JSON");
    assert!(event["name"].is_string());
}

#[test]
fn how_to_test_it_is_told_as_its_readme_has_it() {
    for language in [Language::Rust, Language::JavaScript, Language::Python] {
        let folder = tempfile::tempdir().expect("a folder");
        let args = NewArgs { name: "hello".to_owned(), path: Some(folder.path().join("hello")), language, sdk: None };
        let made = create(&args).expect("a project");
        let readme = fs::read_to_string(made.directory.join("README.md")).expect("a README");
        assert!(readme.lines().any(|line| line.starts_with(&made.test)), "{} is not in {readme}", made.test);
    }
}

#[test]
fn the_plugin_is_a_crate_that_cargo_understands() {
    let dir = TempDir::new().expect("a temporary directory");
    new("hello", dir.path().to_owned()).expect("an empty directory is no obstacle");
    let plugin = dir.path().join("plugins/hello");
    let cargo = std::env::var_os("CARGO").expect("cargo runs this test");
    let mut metadata = std::process::Command::new(cargo);
    metadata.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(plugin.join("Cargo.toml"));
    let output = metadata.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let package = &metadata["packages"][0];
    assert_eq!(package["name"], "hello");
    assert_eq!(package["targets"][0]["crate_types"], serde_json::json!(["cdylib"]));
    let sdk = &package["dependencies"][0];
    assert_eq!(sdk["name"], "trellis-sdk");
    assert!(Path::new(sdk["path"].as_str().expect("a path")).join("Cargo.toml").is_file());
    assert_eq!(Path::new(metadata["workspace_root"].as_str().expect("a path")).file_name(), plugin.file_name());
}

#[test]
fn a_directory_in_use_is_left_as_it_is() {
    let dir = TempDir::new().expect("a temporary directory");
    fs::write(dir.path().join("thesis.txt"), "years of work").expect("written");
    let error = new("hello", dir.path().to_owned()).expect_err("it is not empty");
    assert!(matches!(error, NewError::NotEmpty(_)) && error.to_string().contains("--path"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);

    let error = new("hello", dir.path().join("thesis.txt")).expect_err("a file is in the way");
    assert!(matches!(error, NewError::NoDirectory(_)), "{error:?}");
}

#[test]
fn a_bad_name_or_sdk_leaves_nothing_behind() {
    let dir = TempDir::new().expect("a temporary directory");
    let path = dir.path().join("new");
    let refused = new("No Name", path.clone()).expect_err("a space");
    assert!(matches!(refused, NewError::Name(_)));
    assert_eq!(refused.exit(), Exit::Usage);
    let sdk = Some(dir.path().to_owned());
    let args = NewArgs { name: "hello".to_owned(), path: Some(path.clone()), language: Language::Rust, sdk };
    assert!(matches!(create(&args), Err(NewError::Sdk(_))));
    let args = NewArgs { language: Language::Python, ..args };
    assert!(matches!(create(&args), Err(NewError::SdkOfOtherLanguage)));
    assert!(!path.exists());
}
