//! Builds real crates with the real cargo. They have no dependencies, so no network is needed.

use std::{fs, path::Path};

use tempfile::TempDir;
use trellis_build::{BuildError, BuildProgress, BuiltPlugin, build_plugin, build_plugins};

/// The first eight bytes of every component: magic, version 13, layer 1.
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
const GUEST_PROFILE: &str =
    "[profile.guest]\ninherits = \"release\"\nopt-level = \"s\"\nstrip = true\npanic = \"abort\"\n";

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("directories can be made");
    fs::write(path, text).expect("files can be written");
}

fn write_crate(dir: &Path, name: &str, extra_manifest: &str, source: &str) {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"1.2.3\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n{extra_manifest}"
    );
    write(&dir.join("Cargo.toml"), &manifest);
    write(&dir.join("src/lib.rs"), source);
}

fn lone_crate(source: &str) -> TempDir {
    let dir = TempDir::new().expect("a temporary directory");
    write_crate(dir.path(), "lone", "[workspace]\n", source);
    dir
}

fn quiet(dir: &Path) -> Result<BuiltPlugin, BuildError> {
    build_plugin(dir, &mut |_| {})
}

#[test]
fn a_crate_becomes_a_component_and_is_fresh_the_second_time() {
    let dir = lone_crate("pub fn nothing() {}");
    let first = quiet(dir.path()).expect("it compiles");
    assert_eq!((first.name.as_str(), first.version.as_str()), ("lone", "1.2.3"));
    assert!(first.bytes.starts_with(COMPONENT_PREAMBLE));
    assert!(!first.fresh);
    let guests = dir.path().canonicalize().expect("it exists").join("target/guests");
    assert!(first.wasm_path.canonicalize().expect("it exists").starts_with(guests), "{first:?}");

    // The lock file that the first build wrote makes the second one `--locked`.
    assert!(dir.path().join("Cargo.lock").is_file());
    let second = quiet(dir.path()).expect("it compiles");
    assert!(second.fresh);
    assert_eq!(second.bytes, first.bytes);
}

#[test]
fn crates_of_one_workspace_are_built_by_one_call_and_answered_in_order() {
    let root = TempDir::new().expect("a temporary directory");
    write(
        &root.path().join("Cargo.toml"),
        &format!("[workspace]\nresolver = \"3\"\nmembers = [\"a\", \"b\"]\n{GUEST_PROFILE}"),
    );
    write_crate(&root.path().join("a"), "first", "", "");
    write_crate(&root.path().join("b"), "second", "", "");
    let other = lone_crate("");

    let dirs = [root.path().join("b"), other.path().to_owned(), root.path().join("a"), root.path().join("b")];
    let mut calls = Vec::new();
    let built = build_plugins(&dirs, &mut |step| {
        if let BuildProgress::Started { packages, .. } = step {
            calls.push(packages.join("+"));
        }
    });
    let built = built.expect("all compile");
    let names: Vec<&str> = built.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["second", "lone", "first", "second"]);
    assert_eq!(calls, ["second+first", "lone"]);
    let profile_of = |at: usize| built[at].wasm_path.parent().and_then(Path::file_name).expect("a profile's directory");
    assert_eq!(profile_of(0), "guest");
    assert_eq!(profile_of(1), "release");
}

#[test]
fn steps_are_told_while_cargo_runs() {
    let dir = lone_crate("");
    let mut steps = Vec::new();
    let plugin = build_plugin(dir.path(), &mut |step| match step {
        BuildProgress::CrateReady { name, fresh, ready } => steps.push(format!("{ready} {name} {fresh}")),
        BuildProgress::PluginReady { name, .. } => steps.push(format!("done {name}")),
        _ => {}
    });
    plugin.expect("it compiles");
    assert_eq!(steps, ["1 lone false", "done lone"]);
}

#[test]
fn a_compile_error_shows_what_the_compiler_said() {
    let dir = lone_crate("pub fn broken() -> u32 { \"text\" }");
    let error = quiet(dir.path()).expect_err("the types do not match");
    assert!(matches!(error, BuildError::Compilation { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("failed to build lone") && text.contains("mismatched types"), "{text}");
    assert!(text.contains("src/lib.rs:1") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_lock_file_that_does_not_fit_is_named_with_its_remedy() {
    let dir = lone_crate("");
    quiet(dir.path()).expect("it compiles");
    write_crate(&dir.path().join("dep"), "dep", "", "");
    write_crate(dir.path(), "lone", "[dependencies]\ndep = { path = \"dep\" }\n[workspace]\n", "");
    let error = quiet(dir.path()).expect_err("the lock file knows no `dep`");
    assert!(matches!(error, BuildError::LockOutdated { .. }), "{error:?}");
    assert!(error.to_string().contains("cargo update --workspace"), "{error}");
}

#[test]
fn what_is_no_plugin_crate_is_refused_with_the_reason() {
    let dir = TempDir::new().expect("a temporary directory");
    let refusal = |dir: &Path| quiet(dir).expect_err("no plugin crate");

    assert!(matches!(refusal(dir.path()), BuildError::NoManifest(_)));

    write(&dir.path().join("Cargo.toml"), "[workspace]\nmembers = [\"rlib\"]\n");
    write(
        &dir.path().join("rlib/Cargo.toml"),
        "[package]\nname = \"plain\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    write(&dir.path().join("rlib/src/lib.rs"), "");
    assert!(matches!(refusal(dir.path()), BuildError::NoPackage(_)));

    let error = refusal(&dir.path().join("rlib"));
    assert!(error.to_string().contains("crate-type = [\"cdylib\""), "{error}");

    write(&dir.path().join("rlib/Cargo.toml"), "[package\n");
    assert!(matches!(refusal(&dir.path().join("rlib")), BuildError::UnreadableManifest { .. }));
}
