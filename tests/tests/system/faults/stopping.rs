//! The fifth promise: a host that is asked to stop lets nobody in, starts nothing, finishes what runs or gives it back
//! uncounted, and leaves nothing that others must wait for.

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;

use super::rig::Rig;
use crate::support::{Account, Audit, Database, HELD, HostPlan, Outside, deploy_held, eventually, node};

#[tokio::test]
async fn hosts_that_are_stopped_under_load_lose_nothing_and_count_nothing() {
    const STOPS: usize = 4;
    let mut rig = Rig::new(2).await;
    let audit = Audit::install(&rig.database).await;
    for _ in 0..STOPS {
        let ended = rig.database.ended_count().await;
        rig.under_load(async {
            eventually("runs end", async || (rig.database.ended_count().await > ended + 50).then_some(())).await;
            rig.hosts[0].terminate().await;
            eventually("it is gone", async || rig.hosts[0].is_gone().then_some(())).await;
        })
        .await;
        let status = rig.hosts.remove(0).ended().await;
        assert!(status.success(), "{status}");
        rig.hosts.push(rig.plan.start().await);
    }
    let lost = audit.lost_hosts().await;
    rig.balance(&format!("{STOPS} hosts stopped under load")).await;
    assert_eq!(lost, 0, "runs have lost their host");
}

/// What a host has left behind that was asked to stop with one run under way, and one behind it.
struct Stopped {
    outside: Outside,
    database: Database,
    account: Account,
    plan: HostPlan,
    runs: [String; 2],
}

impl Stopped {
    /// With `patience`, the run under way comes to its end while the host waits for it.
    async fn with(patience: bool, settings: impl FnOnce(HostPlan) -> HostPlan) -> Self {
        let outside = Outside::start().await;
        let database = Database::fresh().await;
        // Long enough that a test that waits for it to run out fails.
        let plan = HostPlan::on(&database.url).allow(&outside).set("queue.lease", "200s").set("queue.runs_max", "1");
        let host = settings(plan.clone()).start().await;
        let account = Account::new(&host.operator(), "acme").await;
        deploy_held(&account, &outside).await;
        let runs = [account.start("held", &json!(0)).await, account.start("held", &json!(1)).await];
        outside.asked(HELD).await;
        host.terminate().await;
        eventually("the host lets nobody in any more", async || {
            let asked = account.api.try_send(Method::GET, "/readyz", "", Bytes::new());
            asked.await.is_err().then_some(())
        })
        .await;
        if patience {
            eventually("the host gives its shards to others", async || {
                let leaving = "select count(*) from host where is_leaving";
                (database.number(leaving).await == 1).then_some(())
            })
            .await;
            outside.release(HELD);
        }
        let status = host.ended().await;
        assert!(status.success(), "{status}");
        Self { outside, database, account, plan, runs }
    }

    /// Shards that others must wait for.
    async fn shards_kept(&self) -> i64 {
        self.database.number("select count(*) from shard where owner is not null").await
    }

    async fn claims_kept(&self) -> i64 {
        self.database.number("select count(*) from claim").await
    }

    fn calls(&self) -> usize {
        self.outside.received(HELD).len()
    }
}

#[tokio::test]
async fn a_host_that_stops_finishes_what_runs_begins_nothing_and_leaves_nothing_behind() {
    let stopped = Stopped::with(true, |plan| plan).await;
    let history = stopped.database.history().await;
    assert_eq!(history.get(&stopped.runs[0]).map(String::as_str), Some("succeeded"), "{history:?}");
    assert_eq!((history.len(), stopped.calls()), (1, 1), "the other run was not begun");
    assert_eq!((stopped.shards_kept().await, stopped.claims_kept().await), (0, 0));
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_given_back_and_no_attempt_is_counted() {
    let stopped = Stopped::with(false, |plan| plan.set("http.drain", "0s")).await;
    assert_eq!((stopped.shards_kept().await, stopped.claims_kept().await), (0, 0));
    let audit = Audit::install(&stopped.database).await;
    stopped.outside.release(HELD);
    let next = stopped.plan.start().await;
    for run in &stopped.runs {
        let shown = stopped.account.at(&next).succeeded(run).await;
        assert_eq!(node(&shown, "ask")["attempts"], 1, "{shown:#}");
    }
    assert_eq!(audit.lost_hosts().await, 0);
    assert_eq!(stopped.calls(), 3, "what the grace is for: one of two runs was cut off, and called again");
}

#[tokio::test]
async fn a_host_that_does_not_say_that_it_goes_keeps_others_waiting() {
    let stopped = Stopped::with(true, |plan| plan.fault("deregister-off=off")).await;
    assert_eq!(stopped.shards_kept().await, 256);
}

#[tokio::test]
async fn a_host_that_does_not_give_its_claims_back_is_counted_as_lost() {
    let stopped = Stopped::with(false, |plan| plan.set("http.drain", "0s").fault("release-claims-off=off")).await;
    let audit = Audit::install(&stopped.database).await;
    stopped.outside.release(HELD);
    let next = stopped.plan.start().await;
    eventually("a lost host is counted", async || (audit.lost_hosts().await == 1).then_some(())).await;
    drop(next);
}
