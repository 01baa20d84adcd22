//! Cancelling runs: wherever they stand, through whichever host, and once.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::{
    Account, Answer, Database, HELD, Host, HostPlan, Outside, Stage, action, after, command, deploy_held,
    deploy_held_as, eventually, grants, held_run, node, project, reason,
};

async fn cancel(account: &Account, run: &str) -> Answer {
    account.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await
}

/// Cancels a run that must be over by the time of the answer.
async fn cancelled(account: &Account, run: &str) -> Value {
    let answer = cancel(account, run).await.expect(200);
    assert_eq!((&answer["run"], &answer["state"]), (&json!(run), &json!("cancelled")));
    let shown = account.show(run).await;
    assert_eq!(shown["state"], "cancelled", "{shown:#}");
    shown
}

/// Nothing is left of any run but its history, and of no request to cancel one.
pub async fn settled(database: &Database) {
    database.settled().await;
    eventually("no request to cancel is left", async || {
        (database.number("select count(*) from cancel_request").await == 0).then_some(())
    })
    .await;
}

fn request(outside: &Outside, method: &str, path: &str, input: &str) -> Value {
    json!({
        "plugin": "http-request",
        "inputs": { "in": input },
        "config": { "method": method, "url": format!("{}{path}", outside.url) },
        "grants": grants(outside),
    })
}

#[tokio::test]
async fn a_queued_run_is_cancelled_at_once_and_keeps_its_event() {
    let outside = Outside::start().await;
    let stage = Stage::with(|plan| plan.allow(&outside).set("queue.runs_max", "1")).await;
    let account = stage.account("acme").await;
    let running = held_run(&account, &outside).await;
    let queued = account.start("held", &json!({ "order": 2 })).await;
    assert_eq!(account.show(&queued).await["state"], "queued");

    let shown = cancelled(&account, &queued).await;
    assert_eq!(shown["event"]["data"], json!({ "order": 2 }));
    assert_eq!((&shown["nodes"], &shown["error"]), (&json!([]), &Value::Null), "{shown:#}");
    let listed = account.api.get("/v1/runs?state=cancelled").await.expect(200);
    assert_eq!(listed["items"][0]["run"], json!(queued), "{listed:#}");

    outside.release(HELD);
    account.succeeded(&running).await;
    assert_eq!(outside.received(HELD).len(), 1, "the cancelled run was never begun");
    settled(&stage.database).await;
}

#[tokio::test]
async fn a_running_run_is_cut_off_whatever_it_does_and_keeps_what_it_had_committed() {
    let outside = Outside::start().await;
    // None of them ends by itself while this test waits.
    let patient = |plan: HostPlan| plan.allow(&outside).set("sandbox.wall", "600s").set("sandbox.cpu", "600s");
    let stage = Stage::with(patient).await;
    let account = stage.account("acme").await;
    let count = action(&json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] }));
    let busy = [
        ("spin", after(action(&json!({ "do": "spin" })), "count.out")),
        ("sleep", after(action(&json!({ "do": "sleep", "ms": 600_000 })), "count.out")),
        ("hold", request(&outside, "GET", "/hold/for-ever", "count.out")),
    ];
    for (name, busy) in busy {
        let mut nodes = json!({
            "order": request(&outside, "POST", &format!("/order/{name}"), "event"),
            "count": after(count.clone(), "order.response"),
            "busy": busy,
        });
        if name != "spin" {
            // Nodes beside each other run on tasks of their own, one alone on the run's.
            nodes["beside"] = after(action(&json!({ "do": "sleep", "ms": 600_000 })), "order.response");
        }
        account.deploy(&project(name, &nodes)).await;
        let run = account.start(name, &json!(null)).await;
        eventually(&format!("{name}: the first node is committed"), async || {
            (account.show(&run).await["nodes"][0]["state"] == "succeeded").then_some(())
        })
        .await;
        let shown = cancelled(&account, &run).await;
        assert_eq!(node(&shown, "order")["state"], "succeeded", "{shown:#}");
        assert_eq!(shown["nodes"].as_array().map(Vec::len), Some(1), "what was not committed never was: {shown:#}");
        assert_eq!(outside.received(&format!("/order/{name}")).len(), 1);
    }
    assert_eq!(stage.database.stored(&account, "count").await, None, "quiet nodes behind the last commit point");
    settled(&stage.database).await;
    // The host has its places for guests back.
    account.deploy(&project("small", &json!({ "count": count }))).await;
    account.run("small", &json!(null)).await;
}

#[tokio::test]
async fn a_run_that_waits_for_an_attempt_in_an_hour_is_cancelled_at_once() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let mut fail = action(&json!({ "do": "fail", "kind": "retryable", "message": "come back", "after_ms": 3_600_000 }));
    fail["retry"] = json!({ "attempts": 3, "max": "2h" });
    account.deploy(&project("later", &json!({ "fail": fail }))).await;
    let run = account.start("later", &json!(7)).await;
    eventually("the run waits", async || (account.show(&run).await["state"] == "waiting").then_some(())).await;
    let shown = cancelled(&account, &run).await;
    assert_eq!(reason(&shown, "fail"), ("retryable", "come back"), "its attempt is told");
    assert_eq!((&node(&shown, "fail")["attempts"], &shown["event"]["data"]), (&json!(1), &json!(7)));
    settled(&stage.database).await;
}

#[tokio::test]
async fn of_a_cancelled_run_that_history_does_not_keep_it_is_told_that_it_is_over() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let retention = json!({ "retention": { "history": "none" } });
    stage.host.operator().put("/v1/accounts/acme", &retention).await.expect(200);
    let run = held_run(&account, &outside).await;
    assert_eq!(cancel(&account, &run).await.expect(200), json!({ "run": run }));
    assert_eq!(stage.database.ended_count().await, 0);
    settled(&stage.database).await;
}

/// Two hosts that share the shards, and an account whose work the second one does.
pub async fn account_of_the_other(settings: impl Fn(HostPlan) -> HostPlan) -> (Stage, Host, Account) {
    let stage = Stage::with(&settings).await;
    let other = settings(HostPlan::on(&stage.database.url)).start().await;
    eventually("two hosts share the shards", async || (stage.database.shard_counts().await.len() == 2).then_some(()))
        .await;
    for number in 0..64 {
        let account = stage.account(&format!("account-{number}")).await;
        if stage.database.owner(account.shard()).await == Some(1) {
            return (stage, other, account);
        }
    }
    panic!("no account falls to the other host");
}

#[tokio::test]
async fn a_host_that_does_not_own_the_run_cancels_it_all_the_same() {
    let outside = Outside::start().await;
    let (stage, _other, account) = account_of_the_other(|plan| plan.allow(&outside).set("queue.runs_max", "4")).await;
    let running = held_run(&account, &outside).await;
    let queued = account.start("held", &json!(2)).await;
    for run in [&queued, &running] {
        cancelled(&account, run).await;
    }
    settled(&stage.database).await;
}

#[tokio::test]
async fn a_request_outlives_the_owner_and_the_run_is_not_begun_again() {
    let outside = Outside::start().await;
    // Nobody takes over before the first answer is given.
    let (stage, other, account) = account_of_the_other(|plan| plan.allow(&outside).set("queue.lease", "6s")).await;
    let run = held_run(&account, &outside).await;
    other.pause().await;

    let answer = cancel(&account, &run).await.expect(202);
    assert_ne!(answer["state"], "cancelled", "nobody can have done it yet");
    let again = cancel(&account, &run).await;
    assert!(matches!(again.status, 200 | 202), "asking twice is the same: {:#}", again.body);
    assert_eq!(account.ended(&run).await["state"], "cancelled");
    assert_eq!(outside.received(HELD).len(), 1, "the new owner has begun it again");

    outside.release(HELD);
    other.wake().await;
    eventually("the former owner knows", async || other.log().contains("silent for longer").then_some(())).await;
    settled(&stage.database).await;
    assert_eq!(account.show(&run).await["state"], "cancelled", "what it came to there does not count");
}

#[tokio::test]
async fn of_many_runs_that_are_to_be_cancelled_a_new_owner_begins_none_again() {
    // More than a look of the canceller takes in at once, so that the scheduler could be first.
    const RUNS: usize = 200;
    let outside = Outside::start().await;
    let plenty = |plan: HostPlan| plan.allow(&outside).set("queue.lease", "6s").set("queue.runs_max", "2000");
    let (stage, other, account) = account_of_the_other(plenty).await;
    deploy_held(&account, &outside).await;
    let started: Vec<String> = stream::iter(0..RUNS)
        .map(|number| {
            let account = &account;
            async move { account.start("held", &json!(number)).await }
        })
        .buffer_unordered(16)
        .collect()
        .await;
    let begun = || outside.received(HELD).len();
    eventually("all of them are in flight", async || (begun() == RUNS).then_some(())).await;
    other.pause().await;
    let wanted = json!({ "project": "held", "limit": 500 });
    let answer = account.api.post("/v1/runs/cancel", &wanted).await.expect(202);
    assert_eq!(answer["requested"], json!(RUNS));
    eventually("all of them are over", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    let history = stage.database.history().await;
    assert!(started.iter().all(|run| history[run] == "cancelled"), "{history:?}");
    assert_eq!(begun(), RUNS, "the new owner has begun some of them again");
    outside.release(HELD);
    other.wake().await;
    settled(&stage.database).await;
}

#[tokio::test]
async fn a_request_whose_notice_got_lost_is_found() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let run = held_run(&account, &outside).await;
    sqlx::query("insert into cancel_request (shard, account_id, id) select shard, account_id, id from job")
        .execute(&stage.database.pool)
        .await
        .expect("the schema is there");
    assert_eq!(account.ended(&run).await["state"], "cancelled");
    settled(&stage.database).await;
}

#[tokio::test]
async fn a_run_that_ends_first_wins_and_either_way_it_ends_once() {
    const EVENTS: usize = 200;
    let stage = Stage::with(|plan| plan.set("queue.runs_max", "4")).await;
    let account = stage.account("acme").await;
    let nodes = json!({
        "count": action(&json!({ "do": "storage", "operations": [{ "add": ["s", "count", 1] }] })),
        "wait": action(&json!({ "do": "sleep", "ms": 30 })),
    });
    account.deploy(&project("counter", &nodes)).await;
    let runs: Vec<String> = stream::iter(0..EVENTS)
        .map(|number| {
            let account = &account;
            async move { account.start("counter", &json!(number)).await }
        })
        .buffer_unordered(16)
        .collect()
        .await;
    eventually("some have ended", async || (stage.database.ended_count().await >= 10).then_some(())).await;
    let answers: BTreeMap<String, Answer> = stream::iter(&runs)
        .map(|run| {
            let account = &account;
            async move { (run.clone(), cancel(account, run).await) }
        })
        .buffer_unordered(8)
        .collect()
        .await;
    settled(&stage.database).await;

    let history = stage.database.history().await;
    assert_eq!(history.len(), EVENTS);
    for (run, answer) in &answers {
        match answer.status {
            200 => assert_eq!(answer.body["state"], json!(history[run]), "{run}"),
            409 => assert_eq!(history[run], "succeeded", "{run}"),
            status => panic!("{run}: {status} {:#}", answer.body),
        }
    }
    let succeeded = history.values().filter(|state| *state == "succeeded").count();
    let cancelled = history.values().filter(|state| *state == "cancelled").count();
    assert_eq!(succeeded + cancelled, EVENTS, "{history:?}");
    assert!(succeeded >= 10 && cancelled >= 10, "{succeeded} succeeded, {cancelled} cancelled");
    let counted = stage.database.stored(&account, "count").await;
    assert_eq!(counted, Some(succeeded.to_string()), "what was cancelled has no effect, what was not has one");
}

#[tokio::test]
async fn what_is_over_or_not_there_or_not_allowed_is_refused() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let stranger = stage.account("stranger").await;
    let fail = action(&json!({ "do": "fail", "kind": "permanent", "message": "no" }));
    account.deploy(&project("good", &json!({ "emit": action(&json!({ "do": "emit", "emissions": [] })) }))).await;
    account.deploy(&project("bad", &json!({ "fail": fail }))).await;
    let succeeded = account.start("good", &json!(1)).await;
    account.succeeded(&succeeded).await;
    let dead = account.start("bad", &json!(1)).await;
    account.ended(&dead).await;

    for (run, says) in [(&succeeded, "its state is `succeeded`"), (&dead, "its state is `dead`")] {
        let problem = cancel(&account, run).await.problem(409);
        assert_eq!(problem["type"], "/problems/run-state");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{problem:#}");
    }
    for run in ["run_nonsense", "run_00000000000zz"] {
        cancel(&account, run).await.problem(404);
    }
    cancel(&stranger, &dead).await.problem(404);
    let scoped = |scope: &'static str, project: Option<&'static str>| {
        let account = &account;
        async move {
            let wanted = json!({ "name": scope, "scopes": [scope], "project": project });
            let made = account.api.post("/v1/tokens", &wanted).await.expect(201);
            account.api.with_token(made["token"].as_str())
        }
    };
    let all = json!({ "project": "bad" });
    for scope in ["runs:read", "events:write", "projects:write"] {
        let api = scoped(scope, None).await;
        for (path, body) in [(format!("/v1/runs/{dead}/cancel"), &json!({})), ("/v1/runs/cancel".to_owned(), &all)] {
            let problem = api.post(&path, body).await.problem(403);
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("runs:write")), "{problem:#}");
        }
    }
    let of_good = scoped("runs:write", Some("good")).await;
    of_good.post(&format!("/v1/runs/{dead}/cancel"), &json!({})).await.problem(404);
    of_good.post(&format!("/v1/runs/{succeeded}/cancel"), &json!({})).await.problem(409);
    of_good.post("/v1/runs/cancel", &all).await.problem(404);
    stranger.api.post("/v1/runs/cancel", &all).await.problem(404);
    for (body, says) in [
        (json!({}), "missing field `project`"),
        (json!({ "project": "bad", "stat": "queued" }), "unknown field `stat`"),
        (json!({ "project": "bad", "state": "dead" }), "runs in the state `dead` are over"),
        (json!({ "project": "bad", "limit": 501 }), "from 1 to 500"),
        (json!({ "project": "bad", "grid": "g".repeat(65) }), "grid has 65 bytes; at most 64"),
        (json!({ "project": "bad", "after": "run_nonsense" }), "`after` is not the `next` of an answer"),
    ] {
        let problem = account.api.post("/v1/runs/cancel", &body).await.problem(400);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{problem:#}");
    }
}

#[tokio::test]
async fn the_runs_of_a_project_are_cancelled_together_and_no_others() {
    const RUNS: usize = 7;
    let outside = Outside::start().await;
    let stage = Stage::with(|plan| plan.allow(&outside).set("queue.runs_max", "8")).await;
    let account = stage.account("acme").await;
    let nodes = json!({ "ask": request(&outside, "GET", HELD, "event") });
    let mut manifest = project("held", &nodes);
    manifest["grids"]["side"] = json!({ "nodes": nodes });
    account.deploy(&manifest).await;
    deploy_held_as(&account, &outside, "other").await;
    let side = account.api.post("/v1/projects/held/grids/side/events", &json!(1)).await.expect(202);
    let other = account.start("other", &json!(1)).await;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        runs.push(account.start("held", &json!(number)).await);
    }
    // Some are running and some are queued: an account has no more than its share of a host.
    outside.asked(HELD).await;

    let page = json!({ "project": "held", "grid": "main", "limit": 3 });
    let first = account.api.post("/v1/runs/cancel", &page).await.expect(202);
    assert_eq!(first["requested"], 3);
    let next = first["next"].as_str().expect("there are more");
    assert!(next.starts_with(&runs[2]), "the oldest first: {next}");
    // Ids are told apart by the millisecond.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let late = account.start("held", &json!("after the first request")).await;
    let mut rest = page;
    rest["after"] = json!(next);
    rest["limit"] = json!(500);
    let second = account.api.post("/v1/runs/cancel", &rest).await.expect(202);
    assert_eq!((&second["requested"], &second["next"]), (&json!(RUNS - 3), &Value::Null), "and not the late one");
    for run in &runs {
        account.ended(run).await;
    }
    assert_ne!(account.show(&late).await["state"], "cancelled", "accepted after the first request");
    runs.push(late);
    let told = command(&account, &["run", "cancel", "--project", "held", "--grid", "main", "--json"]).await;
    assert!(told.status.success(), "{told:?}");
    for run in &runs {
        assert_eq!(account.ended(run).await["state"], "cancelled");
    }
    let side = side["run"].as_str().expect("a run");
    for run in [side, &other] {
        assert_ne!(account.show(run).await["state"], "cancelled", "of another grid or project");
    }
    let told = command(&account, &["run", "cancel", &other]).await;
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), format!("{other} is cancelled"), "{told:?}");
    let told = command(&account, &["runs", "--state", "cancelled", "--project", "other"]).await;
    assert!(String::from_utf8_lossy(&told.stdout).contains(&other), "{told:?}");
    outside.release(HELD);
    account.succeeded(side).await;
    let told = command(&account, &["run", "cancel", side]).await;
    assert_eq!(told.status.code(), Some(4), "refused: {told:?}");
    settled(&stage.database).await;
}

#[tokio::test]
async fn the_one_who_waits_for_a_run_is_told_that_it_was_cancelled() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    deploy_held(&account, &outside).await;
    let event = crate::support::scratch().join("cancelled-event.json");
    std::fs::write(&event, "1").expect("the scratch folder is ours");
    let event = event.display().to_string();
    let arguments = ["send", "main", &event, "--project", "held", "--wait"];
    let sending = command(&account, &arguments);
    let cancelling = async {
        outside.asked(HELD).await;
        let runs = account.api.get("/v1/runs?project=held").await.expect(200);
        cancelled(&account, runs["items"][0]["run"].as_str().expect("a run")).await;
    };
    let (told, ()) = tokio::join!(sending, cancelling);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("was cancelled"), "{told:?}");
}
