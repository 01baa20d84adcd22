//! The first command of the README, `trellis dev examples/quickstart --once`, and a host that starts a Postgres of its
//! own, as anybody.

use std::{os::unix::fs::chown, process::Output};

use serde_json::json;
use tokio::process::Command;

use crate::support::{
    Account, Database, HostPlan, PROGRAM, action, project, repository, scratch, skip, without_settings,
};

/// Runs the quickstart once, with its data in `data_dir`.
async fn quickstart(data_dir: &str, database_url: Option<&str>) -> Output {
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    let data_dir = scratch().join(data_dir);
    command.args(["dev", "examples/quickstart", "--once", "--data-dir"]).arg(data_dir);
    command.current_dir(repository()).kill_on_drop(true).output().await.expect("the program runs")
}

fn assert_quickstart(output: &Output) {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    for text in
        ["POST http://", "/hooks/dev/quickstart/orders", "202 run_", "succeeded", "rate", "tally", "alert", "skipped"]
    {
        assert!(said.contains(text), "`{text}` is not in:\n{said}\n{errors}");
    }
}

#[tokio::test]
async fn the_first_command_passes_twice_in_a_row() {
    for _ in 0..2 {
        assert_quickstart(&quickstart("quickstart", None).await);
    }
}

#[tokio::test]
async fn the_first_command_passes_twice_in_a_row_on_a_postgres_that_is_there() {
    let database = Database::fresh().await;
    for count in 1..=2 {
        assert_quickstart(&quickstart("quickstart-elsewhere", Some(&database.url)).await);
        assert_eq!(database.ended_count().await, count, "the run is in that database");
    }
}

/// A user without any rights, if this process may become one.
fn nobody() -> Option<(u32, u32)> {
    let user = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = user.lines().find(|line| line.starts_with("nobody:"))?.split(':').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

#[tokio::test]
async fn a_host_of_a_user_without_rights_starts_a_postgres_of_its_own() {
    let we_are_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(scratch()).expect("it is there")) == 0;
    let folder = scratch().join("nobody");
    std::fs::create_dir(&folder).expect("the scratch folder is ours");
    let mut command = Command::new(PROGRAM);
    if we_are_root {
        let Some((user, group)) = nobody() else { return skip("there is no user `nobody`") };
        // Where the build put it that user may not get to.
        let program = folder.join("trellis-host");
        std::fs::copy(PROGRAM, &program).expect("a copy of the program");
        chown(&folder, Some(user), Some(group)).expect("root gives away what it likes");
        command = Command::new(program);
        command.uid(user).gid(group).current_dir(&folder).env("HOME", &folder);
    }
    let plan = HostPlan::with_own_postgres(&folder.join("data").display().to_string());
    let host = plan.start_as(command).await;
    let account = Account::new(&host.operator(), "acme").await;
    let write = action(&json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] }));
    account.deploy(&project("counter", &json!({ "count": write }))).await;
    account.run("counter", &json!(null)).await;
    host.terminate().await;
    let status = host.ended().await;
    assert!(status.success(), "{status}");
    assert!(!folder.join("data/postgres/data/postmaster.pid").exists(), "its Postgres has gone with it");
}
