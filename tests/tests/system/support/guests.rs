//! The components that tests upload, built once per process by the same code as `trellis plugin build`.

use std::sync::OnceLock;

use trellis_build::BuiltPlugin;

use super::repository;

const CRATES: [&str; 5] =
    ["plugins/filter", "plugins/http-request", "plugins/json-map", "tests/guests/keyvalue", "tests/guests/misbehave"];

/// One of the plugins of the workspace, by its name.
pub fn guest(name: &str) -> &'static BuiltPlugin {
    build().iter().find(|plugin| plugin.name == name).unwrap_or_else(|| panic!("no guest is called {name}"))
}

/// Builds all of them, unless they are built. Blocks for as long as that takes: before there is anything that could miss
/// this thread.
pub fn build() -> &'static [BuiltPlugin] {
    static BUILT: OnceLock<Vec<BuiltPlugin>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folders = CRATES.map(|path| repository().join(path));
        trellis_build::build_plugins(&folders, &mut |_| {}).expect("the guests build")
    })
}

/// The plugins of the folder `plugins`, but for the libraries that they share.
const LIBRARIES: [&str; 2] = ["expression", "service"];

/// One of the ready-made plugins, by its name.
pub fn ready_made(name: &str) -> &'static BuiltPlugin {
    build_ready_made().iter().find(|plugin| plugin.name == name).unwrap_or_else(|| panic!("no plugin is called {name}"))
}

/// Builds all ready-made plugins, unless they are built; for the few tests that need more than [`guest`] has. Blocks as
/// [`build`] does.
pub fn build_ready_made() -> &'static [BuiltPlugin] {
    static BUILT: OnceLock<Vec<BuiltPlugin>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let entries = std::fs::read_dir(repository().join("plugins")).expect("the folder is readable");
        let mut folders: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
        folders
            .retain(|folder| folder.file_name().is_none_or(|name| !LIBRARIES.iter().any(|library| name == *library)));
        folders.sort();
        trellis_build::build_plugins(&folders, &mut |_| {}).expect("the ready-made plugins build")
    })
}
