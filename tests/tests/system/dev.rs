//! `trellis dev`, left running: what makes it deploy again.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::support::{Database, PROGRAM, repository, scratch, without_settings};

/// What it says, line by line. Killed when it is dropped.
struct Dev {
    _process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    fn start(folder: &Path, database: &Database, more: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        without_settings(&mut command);
        command
            .args(["dev", ".", "--listen", "127.0.0.1:0"])
            .args(more)
            .current_dir(folder)
            .env("DATABASE_URL", &database.url);
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true).spawn().expect("it runs");
        let said = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self { _process: process, said }
    }

    async fn says(&mut self, text: &str) {
        loop {
            let line =
                self.said.next_line().await.expect("readable").unwrap_or_else(|| panic!("it ends before `{text}`"));
            if line.contains(text) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_deployment_that_lacked_a_credential_is_tried_again_when_it_is_set() {
    let database = Database::fresh().await;
    let folder = scratch().join("dev-credential");
    std::fs::create_dir(&folder).expect("the scratch folder is ours");
    let manifest = format!(
        "[project]\nname = \"shop\"\n[plugins]\nmap = {{ path = {:?} }}\n[grids.main.nodes.told]\nplugin = \"map\"\n\
         inputs = {{ in = \"event\" }}\nconfig = {{ expression = \".\" }}\ngrants = {{ secret = [\"key\"] }}\n",
        repository().join("plugins/json-map")
    );
    std::fs::write(folder.join("trellis.toml"), manifest).expect("the scratch folder is ours");
    let mut dev = Dev::start(&folder, &database, &[]);
    dev.says("waiting for a change").await;

    let mut set = Command::new(PROGRAM);
    without_settings(&mut set);
    set.args(["credential", "set", "key"]).current_dir(&folder).stdin(Stdio::piped()).kill_on_drop(true);
    let mut set = set.spawn().expect("it runs");
    set.stdin.take().expect("it is piped").write_all(b"correct horse battery\n").await.expect("it reads");
    assert!(set.wait().await.expect("it ends").success());
    dev.says("project shop is deployed").await;

    drop(dev);
    let mut for_programs = Dev::start(&folder, &database, &["--json"]);
    for_programs.says("\"project\":\"shop\"").await;
}
