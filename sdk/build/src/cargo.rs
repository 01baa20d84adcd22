//! How cargo and its relatives are called: which program, in which environment, and what is kept of their output.

use std::{
    collections::VecDeque,
    env, io,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::BuildError;

/// Lines of a tool's output that an error shows: more than the usual chain of notes, less than a screenful of pages.
const TAIL_LINES_MAX: usize = 200;
/// A line longer than this (in bytes) is cut: a linker's command line says nothing to the author.
const LINE_BYTES_MAX: usize = 2_000;

/// What an outer cargo, clippy, miri or coverage run sets for the *host* build. In a guest build it would at best cause
/// a full rebuild at every change between the two, at worst instrument the component.
const LEAKING: [&str; 19] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_MAKEFLAGS",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "LD_LIBRARY_PATH",
    "LLVM_PROFILE_FILE",
    "MAKEFLAGS",
    "MIRI_SYSROOT",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];
/// Families of such variables.
const LEAKING_PREFIXES: [&str; 7] = [
    "CARGO_BIN_",
    "CARGO_BUILD_RUSTC",
    "CARGO_CRATE_",
    "CARGO_LLVM_COV",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PROFILE_",
];

/// The folder to use instead of a project's own: for machines that build many projects.
pub(crate) const BUILD_DIR: &str = "TRELLIS_BUILD_DIR";

/// Cargo, in `dir`: the one that runs this very process if there is one, so that both builds share a toolchain.
pub(crate) fn cargo(dir: &Path) -> Command {
    match env::var_os("CARGO") {
        Some(program) => tool(&program.to_string_lossy(), dir),
        None => tool("cargo", dir),
    }
}

/// A tool in `dir`, without the variables that a host build leaks and without colours, as its output goes into errors.
pub(crate) fn tool(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null()).env("CARGO_TERM_COLOR", "never");
    command.env("CARGO_TERM_PROGRESS_WHEN", "never").env_remove("CARGO_TERM_QUIET").env_remove("CARGO_TERM_VERBOSE");
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            command.env_remove(&name);
        }
    }
    command
}

fn leaks(name: &str) -> bool {
    LEAKING.contains(&name)
        || LEAKING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || is_target_flags(name)
        || is_the_hosts(name)
}

/// Tokens, master keys and the database's password are none of a build's: it runs what dependencies bring along.
fn is_the_hosts(name: &str) -> bool {
    name == "DATABASE_URL" || (name.starts_with("TRELLIS_") && name != BUILD_DIR)
}

/// `CARGO_TARGET_<triple>_RUSTFLAGS` and its siblings.
fn is_target_flags(name: &str) -> bool {
    name.starts_with("CARGO_TARGET_")
        && ["_RUSTFLAGS", "_RUNNER", "_LINKER", "_RUSTDOCFLAGS"].iter().any(|end| name.ends_with(end))
}

/// Runs a tool that is done quickly and says little.
pub(crate) fn output(command: &mut Command) -> Result<Output, BuildError> {
    command.output().map_err(|source| start_failure(command, source))
}

/// A tool that could not be started: missing, or worse.
pub(crate) fn start_failure(command: &Command, source: io::Error) -> BuildError {
    let program = command.get_program().to_string_lossy().into_owned();
    match source.kind() {
        // A missing working directory is also "not found": only blame the program if the directory is there.
        io::ErrorKind::NotFound if command.get_current_dir().is_none_or(Path::is_dir) => {
            BuildError::ToolMissing { program }
        }
        _ => BuildError::ToolFailed { program, source },
    }
}

/// The last lines of a tool's output, bounded in number and length.
pub(crate) fn tail(output: impl Read) -> String {
    let mut lines = VecDeque::with_capacity(TAIL_LINES_MAX);
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    // A read error means that the tool is gone: what was read until then is what there is to show.
    while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        if lines.len() == TAIL_LINES_MAX {
            lines.pop_front();
        }
        let shown = &line[..line.len().min(LINE_BYTES_MAX)];
        lines.push_back(String::from_utf8_lossy(shown).trim_end().to_owned());
        line.clear();
    }
    Vec::from(lines).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_host_build_leak_and_others_do_not() {
        for name in
            ["RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_PROFILE_GUEST_DEBUG", "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS"]
        {
            assert!(leaks(name), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN", "CARGO_REGISTRIES_MY_INDEX"] {
            assert!(!leaks(name), "{name}");
        }
    }

    #[test]
    fn a_build_is_told_nothing_of_the_hosts_own_environment() {
        for name in ["DATABASE_URL", "TRELLIS_TOKEN", "TRELLIS_CREDENTIALS_MASTER_KEY"] {
            assert!(leaks(name), "{name}");
        }
        for name in [BUILD_DIR, "MY_TRELLIS_NAME"] {
            assert!(!leaks(name), "{name}");
        }
    }

    #[test]
    fn a_tail_keeps_the_last_lines_and_cuts_long_ones() {
        let long = "x".repeat(3_000);
        let text = (0..300).map(|n| format!("line {n}\n")).collect::<String>() + &long;
        let tail = tail(text.as_bytes());
        let lines: Vec<&str> = tail.lines().collect();
        assert_eq!(lines.len(), TAIL_LINES_MAX);
        assert_eq!(lines[0], "line 101");
        assert_eq!(lines[TAIL_LINES_MAX - 1].len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_missing_tool_is_named() {
        let error = output(&mut tool("no-such-tool-anywhere", Path::new("/"))).expect_err("there is no such tool");
        assert!(error.to_string().contains("`no-such-tool-anywhere` was not found"), "{error}");
    }
}
