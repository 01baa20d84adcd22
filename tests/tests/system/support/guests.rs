//! The components that tests upload, built once per process by the same code as `trellis plugin build`.

use std::sync::OnceLock;

use trellis_build::BuiltPlugin;

use super::repository;

const CRATES: [&str; 4] = ["plugins/filter", "plugins/http-request", "plugins/json-map", "tests/guests/misbehave"];

/// One of the plugins of the workspace, by its name.
pub fn guest(name: &str) -> &'static BuiltPlugin {
    static BUILT: OnceLock<Vec<BuiltPlugin>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folders = CRATES.map(|path| repository().join(path));
        trellis_build::build_plugins(&folders, &mut |_| {}).expect("the guests build")
    });
    built.iter().find(|plugin| plugin.name == name).unwrap_or_else(|| panic!("no guest is called {name}"))
}
