//! Hosts whose clocks are wrong: they agree about time all the same, because the database's clock is everybody's.

use std::path::PathBuf;

use trellis_model::RunId;

use super::rig::Rig;
use crate::support::{Audit, Database, eventually, skip};

/// How far the clocks are off, as libfaketime takes it.
const SKEWS: [&str; 2] = ["+1h", "-1h"];
const HOUR_MS: i64 = 3_600_000;

/// The library that lies to a program about the time, where Debian puts it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut found = folders.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.is_file())
}

#[tokio::test]
async fn hosts_whose_clocks_are_an_hour_off_agree_about_leases_and_arrivals() {
    let Some(library) = library() else {
        return skip("libfaketime is not installed");
    };
    let mut rig = Rig::new(1).await;
    let honest = rig.hosts.remove(0);
    for skew in SKEWS {
        let plan = rig.plan.clone().with_variable("LD_PRELOAD", library.to_string_lossy());
        // Monotonic time goes on as it does; it is the wall clock that is wrong.
        let plan = plan.with_variable("FAKETIME", skew).with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        rig.hosts.push(plan.start().await);
    }
    honest.terminate().await;
    honest.ended().await;
    let audit = Audit::install(&rig.database).await;
    assert_clocks_are_off(&rig).await;
    balanced(&rig.database).await;
    rig.under_load(async {
        eventually("runs end", async || (rig.database.ended_count().await > 200).then_some(())).await;
    })
    .await;
    let lost = audit.lost_hosts().await;
    let books = rig.balance("two hosts, two hours apart").await;
    assert_eq!(lost, 0, "a host took the other one for dead");
    let now_ms = rig.database.number("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await;
    for run in books.history.keys() {
        let accepted_at_ms = run.parse::<RunId>().expect("a run id").accepted_at_ms();
        assert!(
            (now_ms - HOUR_MS / 2..=now_ms + 1_000).contains(&accepted_at_ms),
            "{run} was accepted at {accepted_at_ms}"
        );
    }
    let odd = "select count(*) from run where abs(extract(epoch from started_at - ended_at)) > 600";
    assert_eq!(rig.database.number(odd).await, 0, "runs began or ended an hour off");
}

/// What the hosts write into their logs is their own time: this test would else prove nothing.
async fn assert_clocks_are_off(rig: &Rig) {
    for host in &rig.hosts {
        let log = host.log();
        let line = log.lines().find(|line| line.contains("registered host=")).expect("it has registered");
        let said = line.split_whitespace().next().expect("a line begins with the time");
        let is_off: bool =
            sqlx::query_scalar("select abs(extract(epoch from clock_timestamp() - $1::text::timestamptz)) > 1800")
                .bind(said)
                .fetch_one(&rig.database.pool)
                .await
                .expect("it is a time");
        assert!(is_off, "the clock is right: {line}");
    }
}

async fn balanced(database: &Database) {
    eventually("two hosts share the shards evenly", async || {
        (database.shard_counts().await == [128, 128]).then_some(())
    })
    .await;
}
