//! The compiler's Wasm target: is it there, and if not, can it be added.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{BuildError, BuildProgress, cargo};

/// What plugins are compiled for: WASI 0.2, the linker makes a component of it.
pub const WASM_TARGET: &str = "wasm32-wasip2";

/// Sees to it that the toolchain that is active in the current directory can build for [`WASM_TARGET`], downloading its
/// standard library with rustup when it is missing. Called by every build; of use by itself to find out early.
///
/// # Errors
/// [`BuildError::ToolMissing`] without Rust, [`BuildError::TargetWithoutRustup`] and [`BuildError::TargetNotAdded`].
pub fn ensure_wasm_target(progress: &mut dyn FnMut(BuildProgress<'_>)) -> Result<(), BuildError> {
    ensure_wasm_target_in(Path::new("."), progress)
}

/// The same for the toolchain that is active in `dir` (a `rust-toolchain.toml` may choose another one there).
pub(crate) fn ensure_wasm_target_in(dir: &Path, progress: &mut dyn FnMut(BuildProgress<'_>)) -> Result<(), BuildError> {
    if is_installed(dir)? {
        return Ok(());
    }
    progress(BuildProgress::AddingTarget { target: WASM_TARGET });
    add(cargo::tool("rustup", dir))?;
    match is_installed(dir)? {
        true => Ok(()),
        false => Err(BuildError::TargetNotAdded {
            target: WASM_TARGET,
            output: "rustup reported success, but rustc on the PATH does not belong to it".to_owned(),
        }),
    }
}

fn is_installed(dir: &Path) -> Result<bool, BuildError> {
    let mut command = cargo::tool("rustc", dir);
    let output = cargo::output(command.args(["--print", "target-libdir", "--target", WASM_TARGET]))?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    // A compiler that does not even know the target prints nothing, and the empty path is no directory.
    Ok(output.status.success() && libdir.is_dir())
}

fn add(mut rustup: Command) -> Result<(), BuildError> {
    let output = match cargo::output(rustup.args(["target", "add", WASM_TARGET])) {
        Err(BuildError::ToolMissing { .. }) => {
            return Err(BuildError::TargetWithoutRustup { target: WASM_TARGET });
        }
        other => other?,
    };
    match output.status.success() {
        true => Ok(()),
        false => {
            let output = cargo::tail(output.stderr.as_slice());
            Err(BuildError::TargetNotAdded { target: WASM_TARGET, output })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_rustup_is_told_how_to_get_the_target() {
        let error = add(cargo::tool("no-such-rustup", Path::new("/"))).expect_err("there is no such program");
        assert!(matches!(error, BuildError::TargetWithoutRustup { .. }));
        assert!(error.to_string().contains(WASM_TARGET), "{error}");
    }

    #[test]
    fn a_failing_rustup_is_quoted() {
        let mut failing = cargo::tool("sh", Path::new("/"));
        failing.args(["-c", "echo no network >&2; exit 1"]);
        let error = add(failing).expect_err("it exits with 1");
        assert!(error.to_string().ends_with("no network"), "{error}");
    }

    #[test]
    fn an_installed_target_is_left_alone() {
        let mut steps = 0;
        ensure_wasm_target(&mut |_| steps += 1).expect("the target is installed or can be");
        let after_first = steps;
        ensure_wasm_target(&mut |_| steps += 1).expect("the target is installed now");
        assert_eq!(steps, after_first);
    }
}
