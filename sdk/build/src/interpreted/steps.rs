//! One program of a build: run to its end, the last of what it said kept for a message.

use std::{
    process::{Command, Stdio},
    thread,
};

use crate::{BuildError, cargo};

/// How a program ended that was told to do one thing.
pub(crate) struct Ended {
    pub is_success: bool,
    /// The end of what it said, standard output first.
    pub output: String,
}

/// Runs a program. `missing` is the failure if there is no such program.
pub(crate) fn run(command: &mut Command, missing: impl FnOnce(String) -> BuildError) -> Result<Ended, BuildError> {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|source| match cargo::start_failure(command, source) {
        BuildError::ToolMissing { program } => missing(program),
        other => other,
    })?;
    let said = child.stdout.take().expect("stdout is piped");
    let complaints = child.stderr.take().expect("stderr is piped");
    // Both pipes are read at the same time: the program would stand still if one of them filled up.
    let (said, complaints) = thread::scope(|scope| {
        let complaints = scope.spawn(|| cargo::tail(complaints));
        (cargo::tail(said), complaints.join().expect("reading lines does not panic"))
    });
    let program = command.get_program().to_string_lossy().into_owned();
    let status = child.wait().map_err(|source| BuildError::ToolFailed { program, source })?;
    let output = [said, complaints].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    Ok(Ended { is_success: status.success(), output })
}

impl Ended {
    /// What it said, if it did what it was told.
    pub fn or(self, failure: impl FnOnce(String) -> BuildError) -> Result<String, BuildError> {
        if self.is_success { Ok(self.output) } else { Err(failure(self.output)) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sh(script: &str) -> Ended {
        let mut command = cargo::tool("sh", Path::new("/"));
        run(command.args(["-c", script]), |program| BuildError::NodeMissing { program }).expect("there is a shell")
    }

    #[test]
    fn what_a_program_said_is_kept_for_its_failure() {
        let ended = sh("echo said; echo complained >&2; exit 3");
        let failure = ended.or(|output| BuildError::Compilation { packages: "x".to_owned(), output });
        assert!(failure.expect_err("3 is no success").to_string().ends_with("said\ncomplained"));
        assert_eq!(
            sh("echo fine").or(|output| BuildError::UnexpectedOutput { reason: output }).expect("success"),
            "fine"
        );
    }

    #[test]
    fn a_missing_program_is_told_as_the_language_wants_it() {
        let mut command = cargo::tool("no-such-program-anywhere", Path::new("/"));
        let failure = run(&mut command, |program| BuildError::NodeMissing { program }).err().expect("there is none");
        let text = failure.to_string();
        assert!(
            text.contains("no-such-program-anywhere") && text.contains("Node.js") && !text.contains("Rust"),
            "{text}"
        );
    }
}
