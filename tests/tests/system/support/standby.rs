//! A standby of a private Postgres: copied from it, fed by it, and promoted when it is gone.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use trellis::postgres::EmbeddedPostgres;

use super::{Database, eventually, private_postgres};

/// Copies a running server to where a standby of it can be started.
pub fn copy(primary: &EmbeddedPostgres, folder: &Path) {
    fs::create_dir(folder).expect("the scratch folder is ours");
    // What says that it is a host's folder.
    File::create(folder.join("host.lock")).expect("it is ours");
    let socket = primary.url().split("host=").nth(1).and_then(|rest| rest.split('&').next()).expect("a directory");
    let socket = socket.replace("%2F", "/");
    let mut copying = Command::new(program("pg_basebackup"));
    copying.args(["-h", &socket, "-p", "5432", "-U", "trellis", "-X", "stream", "-c", "fast", "-R", "-D"]);
    run(copying.arg(folder.join("data")));
    // As the primary's data: Postgres runs as their owner.
    let owner = format!("--reference={}", primary.folder().join("data").display());
    run(Command::new("chown").arg("-R").arg(owner).arg(folder));
}

/// Starts a standby that was copied. It follows its primary, if that is there.
pub async fn start(folder: &Path) -> EmbeddedPostgres {
    private_postgres(folder).await
}

/// Makes the primary wait for its standbys with every commit, once one is there.
pub async fn demand(primary: &Database) {
    eventually("the standby follows", async || {
        (primary.number("select count(*) from pg_stat_replication where state = 'streaming'").await == 1).then_some(())
    })
    .await;
    for statement in ["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"] {
        sqlx::query(statement).execute(&primary.pool).await.expect("we may");
    }
    eventually("commits wait for the standby", async || {
        let waited_for = "select count(*) from pg_stat_replication where sync_state = 'sync'";
        (primary.number(waited_for).await == 1).then_some(())
    })
    .await;
}

/// Makes a standby a server of its own.
pub async fn promote(standby: &Database) {
    let is_promoted: bool =
        sqlx::query_scalar("select pg_promote()").fetch_one(&standby.pool).await.expect("it is a standby");
    assert!(is_promoted, "the standby was not promoted in time");
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program of the newest Postgres, where Debian puts it; else from the path.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file()).max();
    newest.unwrap_or_else(|| name.into())
}
