//! What the end of a compiler process says about the component that it was given.
//!
//! A component that makes the compiler run out of time or memory, or break down, is at fault itself: other components are
//! compiled by the same program. Only what cannot come from the component is the host's.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

use rustix::process::Signal;
use trellis_model::fault::Fault;

use super::{not_runnable, order};
use crate::upload::{UploadError, limits::UploadLimits};

const MIB: u64 = 1024 * 1024;

/// How a compiler process came to its end.
#[derive(Debug)]
pub(super) enum Ended {
    ByItself {
        status: ExitStatus,
        /// What it wrote to standard output.
        answer: Vec<u8>,
        /// What it wrote to standard error.
        complaint: String,
    },
    /// It was killed at the deadline.
    OutOfTime,
}

/// The machine code, or why there is none.
pub(super) fn of(ended: Ended, limits: &UploadLimits) -> Result<Vec<u8>, UploadError> {
    let (status, mut answer, complaint) = match ended {
        Ended::OutOfTime => return Err(out_of_time(limits)),
        Ended::ByItself { status, answer, complaint } => (status, answer, complaint),
    };
    if answer.len() as u64 > limits.code_bytes + 1 {
        let message = format!("its machine code takes more than {} MiB", limits.code_bytes / MIB);
        return Err(too_much(message, "uploads.code_max"));
    }
    if !status.success() {
        return Err(broken_off(status, &complaint, limits));
    }
    match answer.first() {
        Some(&order::CODE) => {
            answer.remove(0);
            Ok(answer)
        }
        Some(&order::FAULT) => Err(not_runnable(&String::from_utf8_lossy(&answer[1..]))),
        _ => Err(UploadError::Unavailable("the compiler ended without an answer".to_owned())),
    }
}

fn out_of_time(limits: &UploadLimits) -> UploadError {
    let message = format!(
        "compiling it took longer than {} ms, because there is much to compile or because this machine is busy",
        limits.compile_wall.as_millis()
    );
    too_much(message, "uploads.compile_wall")
}

/// A process that did not end as it should.
fn broken_off(status: ExitStatus, complaint: &str, limits: &UploadLimits) -> UploadError {
    let signal = status.signal().and_then(Signal::from_named_raw);
    match signal {
        Some(Signal::XCPU) => {
            let message = format!("compiling it took more than {} s of CPU time", limits.compile_cpu.as_secs().max(1));
            too_much(message, "uploads.compile_cpu")
        }
        // Rust's allocator ends the process when it gets nothing.
        Some(Signal::ABORT) if complaint.contains("memory allocation of") => out_of_memory(limits),
        Some(Signal::ABORT | Signal::SEGV | Signal::BUS | Signal::ILL | Signal::TRAP | Signal::FPE) => {
            broken_down(complaint)
        }
        // Not by the host: that has said so itself, at the deadline.
        Some(Signal::KILL) => UploadError::Unavailable(
            "the compiler was killed by somebody else; perhaps this machine has no memory left".to_owned(),
        ),
        _ if status.code() == Some(EXIT_PANIC) => broken_down(complaint),
        _ => UploadError::Unavailable(format!("the compiler ended with {status}: {}", last_line(complaint))),
    }
}

/// What the standard library exits with after a panic.
const EXIT_PANIC: i32 = 101;

fn out_of_memory(limits: &UploadLimits) -> UploadError {
    let message = format!("compiling it takes more than {} MiB of memory", limits.compile_memory_bytes / MIB);
    too_much(message, "uploads.compile_memory")
}

fn too_much(message: String, setting: &str) -> UploadError {
    UploadError::Uncompilable(
        Fault::at("", message).fix(format!(
            "split large functions and leave out what the plugin does not use, or have `{setting}` raised"
        )),
    )
}

fn broken_down(complaint: &str) -> UploadError {
    UploadError::Uncompilable(
        Fault::at("", format!("the compiler broke down over it: {}", last_line(complaint)))
            .fix("build the component anew; if it is whole, report it: the compiler should have said what is wrong"),
    )
}

/// The last line that says something, or that there was none.
fn last_line(complaint: &str) -> &str {
    complaint.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(raw_status: i32, answer: &[u8], complaint: &str) -> Result<Vec<u8>, UploadError> {
        let limits = UploadLimits { code_bytes: 4, ..UploadLimits::default() };
        let status = ExitStatus::from_raw(raw_status);
        of(Ended::ByItself { status, answer: answer.to_vec(), complaint: complaint.to_owned() }, &limits)
    }

    const XCPU: i32 = 24;
    const ABORT: i32 = 6;
    const SEGV: i32 = 11;
    const KILL: i32 = 9;
    const EXITED_1: i32 = 1 << 8;
    const PANICKED: i32 = 101 << 8;

    #[test]
    fn machine_code_comes_through_as_it_is() {
        assert_eq!(ended(0, b"Ccode", "").expect("code"), b"code");
    }

    #[test]
    fn what_the_compiler_says_of_a_component_is_told() {
        let error = ended(0, b"Fno!", "").expect_err("refused");
        assert!(matches!(error, UploadError::Faults(_)), "{error}");
        assert!(error.to_string().contains("can run: no!"), "{error}");
    }

    #[test]
    fn a_component_that_takes_too_much_is_told_what_and_which_setting() {
        let limits = UploadLimits::default();
        let cases = [
            (of(Ended::OutOfTime, &limits), "longer than 30000 ms", "uploads.compile_wall"),
            (ended(XCPU, b"", ""), "more than 60 s of CPU time", "uploads.compile_cpu"),
            (
                ended(ABORT, b"", "memory allocation of 8192 bytes failed\n"),
                "more than 2048 MiB of memory",
                "uploads.compile_memory",
            ),
            (ended(0, b"Ccode!", ""), "machine code takes more than", "uploads.code_max"),
        ];
        for (verdict, says, setting) in cases {
            let error = verdict.expect_err(says);
            assert!(matches!(error, UploadError::Uncompilable(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains(says) && text.contains(setting), "{text}");
        }
    }

    #[test]
    fn a_compiler_that_breaks_down_blames_the_component_with_its_last_words() {
        for status in [ABORT, SEGV, PANICKED] {
            let error = ended(status, b"", "first\nthread 'main' has overflowed its stack\n\n").expect_err("refused");
            assert!(matches!(error, UploadError::Uncompilable(_)), "{error}");
            assert!(error.to_string().contains("overflowed its stack"), "{error}");
        }
    }

    #[test]
    fn what_cannot_come_from_the_component_is_the_hosts() {
        for (status, answer) in [(KILL, &b""[..]), (EXITED_1, b""), (0, b""), (0, b"?")] {
            let error = ended(status, answer, "").expect_err("refused");
            assert!(matches!(error, UploadError::Unavailable(_)), "{error}");
        }
    }
}
