//! The tutorial of the README, followed to the letter.
//!
//! Every `sh` block between the markers `tutorial:begin` and `tutorial:end` is run, in order and in one shell, beginning in
//! an empty folder, with the program on the `PATH`. A block marked `background` is started and left running; the next block
//! begins when it has said that it watches for changes.

use std::{fmt::Write, fs, os::unix::fs::symlink, path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::support::{PROGRAM, repository, scratch, without_settings};

const LONGEST: Duration = Duration::from_secs(900);

/// The component that a new project begins with, JSON, schemas and all, in bytes. It is made, loaded and kept for every plugin
/// that anybody begins with: what the SDK costs is paid there first.
const HELLO_BYTES_MAX: u64 = 160_000;

struct Block {
    text: String,
    is_background: bool,
}

/// The blocks of the README's tutorial.
fn blocks(readme: &str) -> Vec<Block> {
    let (_, tutorial) =
        readme.split_once("<!-- tutorial:begin -->").expect("the README marks where its tutorial begins");
    let (tutorial, _) = tutorial.split_once("<!-- tutorial:end -->").expect("the README marks where its tutorial ends");
    let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for line in tutorial.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(kind)) => {
                assert!(matches!(kind, "sh" | "sh background"), "a block of `{kind}` cannot be followed");
                open = Some(Block { text: String::new(), is_background: kind == "sh background" });
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// All blocks as one script.
fn script(blocks: &[Block]) -> String {
    // Job control gives each background block a process group, by which all of it can be stopped.
    let mut script =
        String::from("set -euxmo pipefail\ntrap 'kill -TERM $(jobs -p | sed s/^/-/) 2>/dev/null || true; wait' EXIT\n");
    for (number, block) in blocks.iter().enumerate() {
        if block.is_background {
            let log = format!("\"$SCRATCH/background-{number}.log\"");
            writeln!(
                script,
                "(\n{}) >{log} 2>&1 </dev/null &\n\
                 until grep -q 'watching for changes' {log}; do\n\
                     kill -0 $! || {{ cat {log}; exit 1; }}\n\
                     sleep 0.1\n\
                 done",
                block.text,
            )
            .expect("a string takes all");
        } else {
            script.push_str(&block.text);
        }
    }
    script
}

#[tokio::test]
async fn the_tutorial_of_the_readme_works_as_it_is_written() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("there is a README");
    let blocks = blocks(&readme);
    let all: String = blocks.iter().map(|block| block.text.as_str()).collect();
    for command in ["trellis new", "cargo test", "trellis dev", "trellis send", "trellis runs"] {
        assert!(all.contains(command), "the tutorial does not show `{command}`");
    }

    let folder = scratch().join("tutorial");
    let programs = folder.join("bin");
    fs::create_dir_all(&programs).expect("the scratch folder is ours");
    symlink(PROGRAM, programs.join("trellis")).expect("a link");
    let start = folder.join("start");
    fs::create_dir(&start).expect("the scratch folder is ours");

    let mut command = Command::new("bash");
    without_settings(&mut command);
    let path = std::env::var("PATH").expect("there is a PATH");
    command
        .arg("-c")
        .arg(script(&blocks))
        .current_dir(&start)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("SCRATCH", &folder)
        // Whatever else listens on this machine.
        .env("TRELLIS_LISTEN", "127.0.0.1:0")
        // What was compiled for an earlier run of this test need not be compiled again.
        .env("CARGO_BUILD_BUILD_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/tutorial"))
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONGEST, command.output()).await.expect("it ends").expect("`bash` runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    // The greeting: once of `trellis dev --once`, once of the event that was sent.
    assert_eq!(said.matches("Hello, Ada!").count(), 2, "{said}\n{errors}");
    assert!(said.contains("succeeded"), "{said}\n{errors}");
    assert_small(&start);
}

/// Holds the component that the tutorial has built to its size.
fn assert_small(start: &Path) {
    let mut folders = vec![start.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == "wasm") {
                found.push((fs::metadata(&path).expect("it is there").len(), path));
            }
        }
    }
    assert!(!found.is_empty(), "the tutorial has left no component in {}", start.display());
    for (bytes, path) in found {
        assert!(bytes <= HELLO_BYTES_MAX, "{} has {bytes} bytes, more than {HELLO_BYTES_MAX}", path.display());
    }
}
