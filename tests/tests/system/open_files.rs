//! The limit of open files: raised at the start, or the start is refused.

use tokio::process::Command;

use crate::support::{Database, HostPlan, PROGRAM};

/// The program, after a shell has set its limits.
fn limited(limits: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec \"$0\" \"$@\""), PROGRAM]);
    command
}

#[tokio::test]
async fn a_host_raises_its_limit_of_open_files() {
    let database = Database::fresh().await;
    let host = HostPlan::on(&database.url).start_as(limited("ulimit -Sn 256")).await;
    assert!(host.open_files_max() > 256, "{}", host.open_files_max());
}

#[tokio::test]
async fn a_host_that_could_run_out_of_files_does_not_start_and_says_how_to_mend_it() {
    let database = Database::fresh().await;
    let host = HostPlan::on(&database.url).launch_as(limited("ulimit -n 300")).await;
    assert!(!host.is_ready);
    let log = host.log();
    assert!(log.contains("this process may open 300 files, and this configuration can need 4613"), "{log}");
    let small = HostPlan::on(&database.url).set("http.connections_max", "20").set("sandbox.instances_max", "8");
    assert!(small.launch_as(limited("ulimit -n 300")).await.is_ready);
}
