//! What a build tells while it runs, for whoever draws a bar or writes a line.

use std::path::Path;

/// One step of a build. New variants may come: match with a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildProgress<'a> {
    /// The Wasm target is being downloaded; happens once on a machine.
    AddingTarget { target: &'static str },
    /// What makes components of another language is being downloaded; happens once in a project.
    InstallingTools { language: &'static str },
    /// Cargo, or what another language has in its place, starts on these packages of one workspace.
    Started { workspace: &'a Path, packages: &'a [&'a str] },
    /// One crate, a plugin or a dependency, is ready. `ready` counts from 1 within this workspace; how many there will
    /// be is not known beforehand.
    CrateReady { name: &'a str, fresh: bool, ready: usize },
    /// One plugin's component is on disk.
    PluginReady { name: &'a str, wasm_path: &'a Path, fresh: bool },
}
