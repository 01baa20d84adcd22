//! Events that are sent again: by clients that got no answer, by senders of webhooks that try until they are heard. Each is
//! one run.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::{Account, Answer, Database, Host, HostPlan, Stage, eventually, project};

/// A project whose trigger declares a key, or none.
fn shop(dedupe: Option<&str>) -> Value {
    let nodes =
        json!({ "same": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } });
    let mut manifest = project("shop", &nodes);
    if let Some(dedupe) = dedupe {
        manifest["triggers"][0]["dedupe"] = json!(dedupe);
    }
    manifest
}

async fn send(account: &Account, key: &str, data: &Value) -> Answer {
    account.api.post_with(&account.hook("shop"), &[("idempotency-key", key)], data).await
}

/// The run of an accepted event, and whether it is a repeat, which body and header say alike.
#[track_caller]
fn accepted(answer: Answer) -> (String, bool) {
    let header = answer.header("idempotent-replayed") == Some("true");
    let body = answer.expect(202);
    assert_eq!(body["repeat"] == true, header, "{body:#}");
    (body["run"].as_str().expect("an accepted event has a run").to_owned(), header)
}

/// Waits until everything has run; answers with how many runs there were.
async fn runs(database: &Database) -> usize {
    eventually("every run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
    database.history().await.len()
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_run_that_there_is_and_another_body_under_its_key_is_refused() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&shop(None)).await;

    let (run, is_repeat) = accepted(send(&account, "order-7", &json!({ "order": 7 })).await);
    assert!(!is_repeat);
    account.succeeded(&run).await;
    assert_eq!(accepted(send(&account, "order-7", &json!({ "order": 7 })).await), (run.clone(), true));
    let reused = send(&account, "order-7", &json!({ "order": 8 })).await.problem(422);
    assert_eq!(reused["type"], "/problems/key-reused");

    let events = "/v1/projects/shop/grids/main/events";
    let key = [("idempotency-key", "order-7")];
    let (by_api, is_repeat) = accepted(account.api.post_with(events, &key, &json!({ "order": 8 })).await);
    assert!(!is_repeat && by_api != run, "the key of a trigger means nothing to a grid");
    assert_eq!(accepted(account.api.post_with(events, &key, &json!({ "order": 8 })).await), (by_api, true));

    for _ in 0..2 {
        assert!(!accepted(account.send("shop", &json!({ "order": 7 })).await).1, "without a key nothing is a repeat");
    }
    let too_long = "k".repeat(257);
    let refused = send(&account, &too_long, &json!(1)).await.problem(400);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("has 257 bytes")), "{refused:#}");
    assert_eq!(runs(&stage.database).await, 4);
    let keys_of_runs = "select count(*) from dedup join run on run.id = dedup.run_id";
    assert_eq!(stage.database.number(keys_of_runs).await, 2);
}

#[tokio::test]
async fn a_trigger_says_where_its_events_carry_their_key() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&shop(Some("/order/id"))).await;
    let order = |id: &str, at: u32| json!({ "order": { "id": id }, "at": at });
    let (run, _) = accepted(account.send("shop", &order("a", 1)).await);
    assert_eq!(accepted(account.send("shop", &order("a", 2)).await), (run.clone(), true), "other data do not matter");
    assert!(!accepted(account.send("shop", &order("b", 1)).await).1);
    assert!(!accepted(account.send("shop", &json!({ "at": 1 })).await).1);
    assert!(!accepted(account.send("shop", &json!({ "at": 1 })).await).1, "an event without a key repeats none");
    assert_eq!(accepted(send(&account, "k", &order("a", 3)).await), (run, true), "with an Idempotency-Key besides");

    account.deploy(&shop(Some("header:X-Delivery"))).await;
    let delivery = |number: &'static str| {
        let account = account.clone();
        async move { account.api.post_with(&account.hook("shop"), &[("x-delivery", number)], &json!(1)).await }
    };
    let (run, _) = accepted(delivery("1").await);
    assert_eq!(accepted(delivery("1").await), (run, true));
    assert!(!accepted(delivery("2").await).1);
    assert_eq!(runs(&stage.database).await, 6);
}

#[tokio::test]
async fn a_repeat_for_an_account_over_its_limits_is_answered_with_its_run() {
    const EVENTS: &str = "/v1/projects/shop/grids/main/events";
    let stage = Stage::with(|plan| plan.set("limiter.long_per_day", "2")).await;
    let account = stage.account("acme").await;
    account.deploy(&shop(Some("/order"))).await;
    let order = json!({ "order": 7 });
    let (by_trigger, _) = accepted(send(&account, "order-7", &order).await);
    account.succeeded(&by_trigger).await;
    let key = [("idempotency-key", "order-7")];
    let (by_api, _) = accepted(account.api.post_with(EVENTS, &key, &order).await);
    account.succeeded(&by_api).await;

    eventually("the account is over its limits", async || {
        (account.api.post(EVENTS, &json!(1)).await.status == 429).then_some(())
    })
    .await;
    let before = stage.database.number("select count(*) from dedup").await;
    assert_eq!(accepted(send(&account, "order-7", &order).await), (by_trigger.clone(), true));
    assert_eq!(accepted(account.send("shop", &json!({ "order": 7, "at": 2 })).await), (by_trigger, true));
    assert_eq!(accepted(account.api.post_with(EVENTS, &key, &order).await), (by_api, true));
    let reused = send(&account, "order-7", &json!({ "order": 8 })).await.problem(422);
    assert_eq!(reused["type"], "/problems/key-reused");
    send(&account, "order-8", &json!({ "order": 8 })).await.problem(429);
    account.send("shop", &json!({ "order": 9 })).await.problem(429);
    account.api.post_with(EVENTS, &[("idempotency-key", "order-8")], &order).await.problem(429);
    assert_eq!(stage.database.number("select count(*) from dedup").await, before, "what is refused is not written");
}

#[tokio::test]
async fn the_same_key_of_two_accounts_makes_two_runs() {
    let stage = Stage::new().await;
    let accounts = [stage.account("acme").await, stage.account("globex").await];
    let mut runs_of = BTreeSet::new();
    for account in &accounts {
        account.deploy(&shop(Some("/order"))).await;
        let order = json!({ "order": 7 });
        let (run, is_repeat) = accepted(send(account, "order-7", &order).await);
        assert!(!is_repeat, "it is no repeat of somebody else's");
        assert_eq!(accepted(send(account, "order-7", &order).await), (run.clone(), true));
        assert_eq!(accepted(account.send("shop", &order).await), (run.clone(), true));
        runs_of.insert(account.succeeded(&run).await["run"].as_str().expect("a run").to_owned());
    }
    assert_eq!(runs_of.len(), 2);
    assert_eq!(runs(&stage.database).await, 2);
    assert_eq!(stage.database.number("select count(distinct account_id) from dedup").await, 2);
}

/// Sends one event of each key many times at once, to all hosts in turn; each is one run, and one answer is the first.
async fn all_at_once(database: &Database, account: &Account, hosts: &[&Host], keys: usize, times: usize) {
    let sent = join_all((0..keys * times).map(|number| {
        let account = account.at(hosts[number % hosts.len()]);
        async move {
            let key = format!("key-{}", number / times);
            (key.clone(), accepted(send(&account, &key, &json!({ "key": key })).await))
        }
    }))
    .await;
    for key in (0..keys).map(|key| format!("key-{key}")) {
        let of_key: Vec<&(String, bool)> =
            sent.iter().filter(|(own, _)| *own == key).map(|(_, answer)| answer).collect();
        assert_eq!(of_key.len(), times);
        assert_eq!(of_key.iter().map(|(run, _)| run).collect::<BTreeSet<_>>().len(), 1, "{key}: {of_key:?}");
        assert_eq!(of_key.iter().filter(|(_, is_repeat)| !is_repeat).count(), 1, "{key}: {of_key:?}");
    }
    assert_eq!(runs(database).await, keys);
}

#[tokio::test]
async fn an_event_that_comes_many_times_at_once_is_one_run() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&shop(None)).await;
    all_at_once(&stage.database, &account, &[&stage.host], 4, 32).await;
}

#[tokio::test]
async fn an_event_that_comes_to_two_hosts_at_once_is_one_run() {
    let stage = Stage::new().await;
    let other = HostPlan::on(&stage.database.url).start().await;
    let account = stage.account("acme").await;
    account.deploy(&shop(None)).await;
    eventually("the other host knows the project", async || {
        (account.at(&other).send("shop", &json!("known?")).await.status == 202).then_some(())
    })
    .await;
    assert_eq!(runs(&stage.database).await, 1);
    sqlx::query("delete from run").execute(&stage.database.pool).await.expect("the schema is there");
    all_at_once(&stage.database, &account, &[&stage.host, &other], 24, 6).await;
}

/// Sends one event until it is accepted, to the hosts in turn.
async fn insist(account: &Account, urls: &[String], number: usize) -> String {
    let mut attempt = number;
    eventually("an event is accepted", async || {
        attempt += 1;
        let (api, key) = (account.api.at(&urls[attempt % urls.len()]), format!("event-{number}"));
        let sent = api.try_post_with(&account.hook("shop"), &[("idempotency-key", &key)], &json!(number)).await;
        match sent {
            Ok(answer) if matches!(answer.status, 404 | 503) => None,
            Ok(answer) => Some(accepted(answer).0),
            // Killed: it may have been committed, and nobody said so.
            Err(_) => None,
        }
    })
    .await
}

#[tokio::test]
async fn events_that_are_sent_again_because_their_host_was_killed_are_one_run_each() {
    const EVENTS: usize = 600;
    let stage = Stage::new().await;
    let other = HostPlan::on(&stage.database.url).start().await;
    let account = stage.account("acme").await;
    account.deploy(&shop(None)).await;
    let urls = [stage.host.url.clone(), other.url.clone()];
    let sending = stream::iter(0..EVENTS).map(|number| insist(&account, &urls, number)).buffer_unordered(24);
    let killing = async {
        eventually("runs end", async || (stage.database.ended_count().await > 50).then_some(())).await;
        other.kill().await;
    };
    let (accepted, ()) = tokio::join!(sending.collect::<BTreeSet<String>>(), killing);
    assert_eq!(accepted.len(), EVENTS);
    assert_eq!(runs(&stage.database).await, EVENTS, "no event has become two runs");
}

#[tokio::test]
async fn a_key_is_good_for_its_retention_and_then_deleted() {
    let stage = Stage::with(|plan| plan.set("history.housekeeping", "1s")).await;
    let account = stage.account("acme").await;
    account.deploy(&shop(None)).await;
    let (run, _) = accepted(send(&account, "k", &json!(1)).await);
    let day = "select count(*) from dedup where expires_at between now() + '23 hours' and now() + '25 hours'";
    assert_eq!(stage.database.number(day).await, 1);
    let expire = sqlx::query("update dedup set expires_at = now() - interval '1 second'");
    expire.execute(&stage.database.pool).await.expect("the schema is there");
    let (later, is_repeat) = accepted(send(&account, "k", &json!(2)).await);
    assert!(!is_repeat && later != run, "an expired key is free, for other data, too");

    let many = "insert into dedup select $1, sha256(number::text::bytea), 1, '', now() - interval '1 hour'
                from generate_series(1, 2500) as number";
    sqlx::query(many).bind(account.id.0).execute(&stage.database.pool).await.expect("the schema is there");
    eventually("expired keys are deleted, and no others", async || {
        (stage.database.number("select count(*) from dedup").await == 1).then_some(())
    })
    .await;
    assert_eq!(accepted(send(&account, "k", &json!(2)).await), (later, true));
}

#[tokio::test]
async fn a_database_that_hangs_does_not_hold_events_for_ever() {
    let stage = Stage::with(|plan| plan.set("queue.ingest_timeout", "1s")).await;
    let account = stage.account("acme").await;
    account.deploy(&shop(None)).await;
    account.run("shop", &json!("warm")).await;

    let mut connection = sqlx::PgConnection::connect(&stage.database.url).await.expect("the server is up");
    let mut hanging = connection.begin().await.expect("the server is up");
    sqlx::query("lock table job in access exclusive mode").execute(&mut *hanging).await.expect("nobody holds it long");
    let unanswered = send(&account, "k", &json!(1)).await.problem(503);
    let detail = unanswered["detail"].as_str().expect("text");
    assert!(detail.contains("did not answer within 1s") && detail.contains("Idempotency-Key"), "{detail}");
    hanging.rollback().await.expect("the server is up");

    eventually("the event is accepted", async || (send(&account, "k", &json!(1)).await.status == 202).then_some(()))
        .await;
    assert_eq!(runs(&stage.database).await, 2);
    tokio::time::timeout(Duration::from_secs(60), stage.database.settled()).await.expect("nothing is left over");
}
