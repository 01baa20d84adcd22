//! Connections to Postgres that break: one by one, all at once, at the worst moment, for half a minute.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;

use super::rig::Rig;
use crate::support::{Cut, Database, Host, Weather, eventually};

/// Statements by whose beginning the proxy knows them.
const COMMIT: &str = "COMMIT";
const INGEST: &str = "insert into job ";

/// Cuts connections around statements of a kind, under load. Between two cuts something must get done.
async fn cut_around(rig: &Rig, statement: &str, times: usize) {
    rig.under_load(async {
        for number in 0..times {
            let (cuts, ended) = (rig.proxy.cut_count(), rig.database.ended_count().await);
            rig.proxy.trap(statement, if number % 2 == 0 { Cut::After } else { Cut::Before }, 1);
            eventually("a connection is cut", async || (rig.proxy.cut_count() > cuts).then_some(())).await;
            eventually("runs end", async || (rig.database.ended_count().await > ended + 1).then_some(())).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_applied_once() {
    let rig = Rig::new(2).await;
    cut_around(&rig, COMMIT, 40).await;
    rig.balance("40 connections cut around COMMIT").await;
}

#[tokio::test]
async fn without_the_check_for_repeated_commits_a_lost_answer_counts_twice() {
    let rig = Rig::on(Database::fresh().await, 1, |plan| plan.fault("repeat-check-off=off")).await;
    cut_around(&rig, COMMIT, 10).await;
    eventually("every run has ended", async || (rig.database.unfinished_count().await == 0).then_some(())).await;
    let faults = rig.ledger.books(&rig.database).await.faults();
    assert!(faults.iter().any(|fault| fault.contains("has succeeded and is counted")), "{faults:?}");
}

#[tokio::test]
async fn an_event_whose_acknowledgement_is_lost_on_the_way_is_kept_or_not_but_not_half() {
    let rig = Rig::new(2).await;
    cut_around(&rig, INGEST, 40).await;
    let books = rig.balance("40 connections cut around the insert of events").await;
    assert!(books.unanswered > 0, "no answer was lost");
}

#[tokio::test]
async fn connections_that_the_server_ends_at_any_moment_cost_nothing_but_time() {
    const ENDS: usize = 60;
    let rig = Rig::new(2).await;
    rig.under_load(async {
        for _ in 0..ENDS {
            sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name = 'trellis' order by random() limit 2",
            )
            .execute(&rig.database.pool)
            .await
            .expect("we may");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    rig.balance("120 connections ended by the server").await;
}

/// The status of a host's answer to whether it is ready; none if it does not answer in time.
async fn readiness(rig: &Rig, host: &Host) -> Option<u16> {
    let account = rig.account.at(host);
    let asked = account.api.try_send(Method::GET, "/readyz", "", Bytes::new());
    Some(tokio::time::timeout(Duration::from_secs(10), asked).await.ok()?.ok()?.status)
}

/// Cuts the hosts off, sees them turn unready and refuse events, and lets them come back.
async fn cut_off(rig: &Rig, weather: Weather, duration: Duration) {
    rig.under_load(async {
        eventually("runs end", async || (rig.database.ended_count().await > 20).then_some(())).await;
        let begun = tokio::time::Instant::now();
        rig.proxy.set(weather);
        for host in &rig.hosts {
            eventually("the host says that it is not ready", async || {
                (readiness(rig, host).await == Some(503)).then_some(())
            })
            .await;
        }
        let unanswered = rig.ledger.unanswered_count();
        eventually("events are refused", async || (rig.ledger.unanswered_count() > unanswered).then_some(())).await;
        tokio::time::sleep_until(begun + duration).await;
        rig.proxy.set(Weather::Fair);
        for host in &rig.hosts {
            eventually("the host is ready again", async || (readiness(rig, host).await == Some(200)).then_some(()))
                .await;
        }
        let accepted = rig.ledger.accepted_count();
        eventually("events are accepted again", async || (rig.ledger.accepted_count() > accepted).then_some(())).await;
    })
    .await;
}

#[tokio::test]
async fn half_a_minute_without_a_database_is_survived_and_said() {
    let rig = Rig::new(2).await;
    cut_off(&rig, Weather::Refused, Duration::from_secs(30)).await;
    rig.balance("30 s without a database").await;
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_noticed_and_got_over() {
    let rig = Rig::new(2).await;
    cut_off(&rig, Weather::Lost, Duration::from_secs(5)).await;
    rig.balance("5 s of silence").await;
}
