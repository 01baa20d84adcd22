//! The first promise: a 2xx for an event means that it is committed and on disk.

use serde_json::json;

use crate::support::{
    Account, Database, HostPlan, Ledger, Outside, QUIET, Told, crash, private_postgres_with, scratch,
};

const EVENTS: usize = 50;

/// A server that says that a commit is done before it is, and takes its time.
const FORGETFUL: [(&str, &str); 3] =
    [("synchronous_commit", "off"), ("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")];

/// Sends events, crashes the server in the moment of the last answer, and counts what is not there any more.
async fn lost_in_a_crash(name: &str, settings: &[(&str, &str)], plan: impl FnOnce(HostPlan) -> HostPlan) -> usize {
    let folder = scratch().join(name);
    let postgres = private_postgres_with(&folder, settings).await;
    let database = Database::at(postgres.url().to_owned());
    let outside = Outside::start().await;
    let host = plan(HostPlan::on(&database.url)).start().await;
    let account = Account::new(&host.operator(), "acme").await;
    Ledger::deploy(&account, &outside).await;
    sqlx::query("checkpoint").execute(&database.pool).await.expect("we may");

    let ledger = Ledger::default();
    for number in 0..EVENTS {
        assert_eq!(ledger.send(&account, QUIET, &json!(number)).await, Told::Accepted);
    }
    crash(&postgres);
    drop(postgres);
    drop(host);
    let postgres = private_postgres_with(&folder, settings).await;
    let database = Database::at(postgres.url().to_owned());
    let kept = database.unfinished_count().await + database.ended_count().await;
    EVENTS - usize::try_from(kept).expect("a count")
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_of_the_server_in_the_same_moment() {
    assert_eq!(lost_in_a_crash("durable", &[], |plan| plan).await, 0);
}

#[tokio::test]
async fn a_server_that_does_not_wait_for_its_disk_forgets_what_was_acknowledged() {
    let lost = lost_in_a_crash("forgetful", &FORGETFUL, |plan| plan.set("allow_unsafe_durability", "true")).await;
    assert!(lost > 0, "nothing was lost, and so nothing is proved by losing nothing");
}

#[tokio::test]
async fn a_host_refuses_a_server_that_may_forget_and_can_be_told_not_to() {
    for (setting, name) in [("fsync", "no-fsync"), ("synchronous_commit", "no-synchronous-commit")] {
        let postgres = private_postgres_with(&scratch().join(name), &[(setting, "off")]).await;
        let refusing = HostPlan::on(postgres.url()).launch().await;
        assert!(!refusing.is_ready, "{setting} = off is accepted");
        let log = refusing.log();
        assert!(log.contains(&format!("{setting} = off")) && log.contains("--allow-unsafe-durability"), "{log}");
        let told = HostPlan::on(postgres.url()).set("allow_unsafe_durability", "true").start().await;
        drop((refusing, told));
    }
}

/// Lets a host accept one event with this fault. Answers with what the client was told, and how many events were kept.
async fn accept_one(fault: &str) -> (Told, i64) {
    let outside = Outside::start().await;
    let database = Database::fresh().await;
    let host = HostPlan::on(&database.url).fault(fault).start().await;
    let account = Account::new(&host.operator(), "acme").await;
    Ledger::deploy(&account, &outside).await;
    let told = Ledger::default().send(&account, QUIET, &json!(null)).await;
    host.kill().await;
    (told, database.unfinished_count().await + database.ended_count().await)
}

#[tokio::test]
async fn an_event_is_acknowledged_after_its_commit_and_not_before() {
    assert_eq!(accept_one("ingest-before-commit=kill@1").await, (Told::Nothing, 0));
    assert_eq!(accept_one("ingest-after-commit=kill@1").await, (Told::Nothing, 1));
    assert_eq!(accept_one("").await, (Told::Accepted, 1));
}

#[tokio::test]
async fn an_acknowledgement_without_a_commit_would_be_noticed() {
    assert_eq!(accept_one("ingest-off=off").await, (Told::Accepted, 0));
}
