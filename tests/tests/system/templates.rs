//! What `trellis new` makes in other languages than Rust, from the first file to a run that has succeeded. (Rust is what the
//! README's tutorial uses.)

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tokio::process::Command;

use crate::{
    polyglot,
    support::{Database, PROGRAM, scratch, skip, without_settings},
};

/// A new project, in a folder of its own.
struct Project {
    folder: PathBuf,
    language: &'static str,
}

fn trellis(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    command.env("TRELLIS_BUILD_DIR", polyglot::KEPT).current_dir(folder).kill_on_drop(true);
    command
}

fn assert_success(output: &Output) -> String {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    said.into_owned()
}

impl Project {
    async fn new(language: &'static str) -> Self {
        Self::new_at(language, language).await
    }

    async fn new_at(language: &'static str, path: &str) -> Self {
        let arguments = ["new", "greeter", "--path", path, "--language", language];
        let made = trellis(scratch()).args(arguments).output().await.expect("the program runs");
        let said = assert_success(&made);
        assert!(said.contains("trellis dev --once"), "it says what comes next: {said}");
        Self { folder: scratch().join(path), language }
    }

    /// The line of its README that tests it, as it is written there.
    async fn test(&self) {
        let readme = std::fs::read_to_string(self.folder.join("README.md")).expect("it has a README");
        let line = readme.lines().find(|line| line.contains("# the transformation as a plain function"));
        let mut shell = Command::new("sh");
        shell.args(["-c", line.expect("the README says how to test it")]).current_dir(&self.folder);
        assert_success(&shell.kill_on_drop(true).output().await.expect("there is a shell"));
    }

    /// One event through all of it. What was compiled for an earlier run of this test is found again.
    async fn run_once(&self, database: &Database) -> String {
        let mut command = trellis(&self.folder);
        command.env("DATABASE_URL", &database.url).args(["dev", "--once", "--set", "uploads.compile_wall=10m"]);
        command.args(["--set", "uploads.compile_cpu=10m", "--set", "http.request_timeout=12m"]);
        command.args(["--data-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/hosts")]);
        assert_success(&command.output().await.expect("the program runs"))
    }

    async fn assert_works(self) {
        if let Err(why) = polyglot::buildable(&self.folder.join("plugins/greeter")).await {
            return skip(&format!("a plugin in {} cannot be built here: {why}", self.language));
        }
        self.test().await;
        let database = Database::fresh().await;
        let said = self.run_once(&database).await;
        for text in ["Hello, Ada!", "succeeded"] {
            assert!(said.contains(text), "`{text}` is not in:\n{said}");
        }
    }
}

#[tokio::test]
async fn a_new_project_in_javascript_is_tested_built_and_run() {
    Project::new("javascript").await.assert_works().await;
}

/// What a build says of a plugin, on a machine with nothing but this program.
async fn said_without_tools(folder: &Path) -> String {
    let mut command = trellis(folder);
    // Not where other tests have installed tools.
    command.env("TRELLIS_BUILD_DIR", folder.join("build")).env("PATH", folder.join("no-programs"));
    let output = command.args(["plugin", "build", "plugins/greeter"]).output().await.expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_machine_without_the_tools_of_a_language_is_told_what_to_install() {
    for (language, path, expected) in [
        ("javascript", "no-node", ["`node` was not found", "apt-get install nodejs npm"]),
        ("python", "no-python", ["`python3` was not found", "apt-get install python3 python3-pip"]),
    ] {
        let project = Project::new_at(language, path).await;
        let said = said_without_tools(&project.folder).await;
        for text in expected {
            assert!(said.contains(text), "`{text}` is not in: {said}");
        }
    }
}

#[tokio::test]
async fn a_new_project_in_python_is_tested_built_and_run() {
    Project::new("python").await.assert_works().await;
}
