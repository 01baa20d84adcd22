//! A primary that dies, and a standby that takes its place.

use serde_json::json;

use super::rig::Rig;
use crate::support::{Database, QUIET, Told, crash, eventually, private_postgres, scratch, standby};

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_a_primary_whose_standby_takes_over() {
    let primary = private_postgres(&scratch().join("primary")).await;
    let mut rig = Rig::on(Database::at(primary.url().to_owned()), 2, |plan| plan).await;
    let folder = scratch().join("standby");
    standby::copy(&primary, &folder);
    let successor = standby::start(&folder).await;
    standby::demand(&rig.database).await;

    let database = Database::at(successor.url().to_owned());
    rig.under_load(async {
        eventually("runs end", async || (rig.database.ended_count().await > 200).then_some(())).await;
        crash(&primary);
        drop(primary);
        standby::promote(&database).await;
        rig.proxy.lead_to(successor.url());
        let accepted = rig.ledger.accepted_count();
        eventually("events are accepted again", async || (rig.ledger.accepted_count() > accepted + 100).then_some(()))
            .await;
    })
    .await;
    rig.database = database;
    rig.balance("a failover to a synchronous standby").await;
}

#[tokio::test]
async fn without_waiting_for_the_standby_a_failover_loses_what_was_acknowledged() {
    const EVENTS: usize = 20;
    let primary = private_postgres(&scratch().join("hasty-primary")).await;
    let mut rig = Rig::on(Database::at(primary.url().to_owned()), 1, |plan| plan).await;
    let folder = scratch().join("late-standby");
    standby::copy(&primary, &folder);
    // It was away when the last events came, and nobody waited for it.
    for number in 0..EVENTS {
        let host = rig.account.at(&rig.hosts[0]);
        let sent = async || (rig.ledger.send(&host, QUIET, &json!(number)).await == Told::Accepted).then_some(());
        eventually("an event is accepted", sent).await;
    }
    crash(&primary);
    drop(primary);
    rig.hosts.clear();
    let successor = standby::start(&folder).await;
    rig.database = Database::at(successor.url().to_owned());
    standby::promote(&rig.database).await;
    let faults = rig.ledger.books(&rig.database).await.faults();
    let lost = faults.iter().filter(|fault| fault.contains("was accepted and is lost")).count();
    assert_eq!(lost, EVENTS, "{faults:?}");
}
