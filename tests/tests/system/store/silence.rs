//! Servers that do not answer, and statements that nobody waits for any more.

use std::time::Duration;

use trellis_store::{StoreError, projects::NewRevision};

use super::{LEASE, open, register, stage};
use crate::support::{Database, Proxy, Weather, eventually};

/// Far beyond the time after which a statement is given up.
const LONGEST: Duration = Duration::from_secs(60);

/// Statements of hosts that the server is at.
const UNDER_WAY: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and application_name = 'trellis' and state = 'active' and wait_event_type = 'Lock'";

#[tokio::test]
async fn a_statement_that_was_given_up_ends_on_the_server() {
    let (database, store) = stage().await;
    let host = register(&store).await;
    let lock = database.hold_host(0).await;
    let renewing = tokio::spawn({
        let store = store.clone();
        async move { store.renew_host(host, LEASE, &[]).await }
    });
    let waiting = Database::at(database.url.clone());
    eventually("it waits for the lock", async || (waiting.number(UNDER_WAY).await == 1).then_some(())).await;
    let given_up = renewing.await.expect("no panic");
    assert!(matches!(given_up, Err(StoreError::Unavailable(_))), "{given_up:?}");
    eventually("the server has given it up, too", async || (waiting.number(UNDER_WAY).await == 0).then_some(())).await;
    lock.rollback().await.expect("it was held all the time");
    store.renew_host(host, LEASE, &[]).await.expect("another one passes");
}

#[tokio::test]
async fn nothing_waits_for_a_silent_server_without_end() {
    let (database, _store) = stage().await;
    let proxy = Proxy::before(&database.url).await;
    let store = open(&proxy.url(&database.url)).await;
    proxy.set(Weather::Lost);
    let asked = Box::pin(async {
        let plugins = std::collections::BTreeMap::new();
        let manifest = serde_json::json!({});
        tokio::join!(async { store.listen().await.map(drop) }, store.release_claims(&[]), async {
            let (account, project) = (super::ACCOUNT, "shop");
            let new = NewRevision { account, project, manifest: &manifest, plugins: &plugins, made_from: None };
            store.deploy(&new, 10).await.map(|_| ())
        },)
    });
    let (listened, released, deployed) = tokio::time::timeout(LONGEST, asked).await.expect("all are given up");
    for outcome in [listened, released, deployed] {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
}
