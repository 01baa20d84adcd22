//! Waiting for runs and watching them: answers with results, `Prefer: wait`, and streams of events, on one host and from
//! another.

use serde_json::{Value, json};

use crate::support::{
    Account, Answer, HostPlan, Outside, RunEvent, RunEvents, Stage, action, after, command, eventually, grants, project,
};

fn map(expression: &str) -> Value {
    json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": expression } })
}

/// A node that reports its progress and asks for something that the test lets go.
fn held(outside: &Outside, path: &str) -> Value {
    let request = json!({ "method": "GET", "url": format!("{}{path}", outside.url) });
    let mut node =
        action(&json!({ "do": "progress", "reports": [[0.1, "soon"], [0.5, "half way"]], "request": request }));
    node["grants"] = grants(outside);
    node["retry"] = json!({ "attempts": 1 });
    node
}

fn replying(mut manifest: Value, reply: Value) -> Value {
    manifest["triggers"][0]["reply"] = reply;
    manifest
}

async fn prefer_wait(account: &Account, project: &str, seconds: u32, event: &Value) -> Answer {
    let path = format!("/v1/projects/{project}/grids/main/events");
    account.api.post_with(&path, &[("prefer", &format!("wait={seconds}"))], event).await
}

#[tokio::test]
async fn a_trigger_answers_with_what_its_node_has_emitted() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account
        .deploy(&replying(project("double", &json!({ "double": map("{ twice: (. * 2) }") })), json!("result")))
        .await;
    let answer = account.send("double", &json!(21)).await;
    let run = answer.header("trellis-run").expect("the answer names its run").to_owned();
    assert_eq!(answer.expect(200), json!({ "twice": 42 }));
    assert_eq!(account.succeeded(&run).await["run"], run);

    let big = json!({ "plugin": "filter", "inputs": { "in": "event" }, "config": { "expression": ". > 9" } });
    account.deploy(&replying(project("big", &json!({ "big": big })), json!({ "node": "big", "port": "out" }))).await;
    assert_eq!(account.send("big", &json!(10)).await.expect(200), json!(10));
    assert_eq!(account.send("big", &json!(1)).await.status, 204, "the port stayed empty");

    let fails =
        |kind: &str| action(&json!({ "do": "fail", "kind": kind, "message": "a word of the guest", "after_ms": null }));
    for (kind, status, word) in [("permanent", 502, "run-failed"), ("invalid-input", 422, "run-input")] {
        account
            .deploy(&replying(
                project("fails", &json!({ "fails": fails(kind) })),
                json!({ "node": "fails", "port": "out" }),
            ))
            .await;
        let answer = account.send("fails", &json!(1)).await;
        assert!(answer.header("trellis-run").is_some());
        let problem = answer.problem(status);
        assert_eq!(problem["type"], format!("/problems/{word}"));
        assert!(!problem.to_string().contains("a word of the guest"), "senders may be anybody: {problem:#}");
    }

    let reply = json!({ "node": "held", "port": "out", "timeout": "100ms" });
    account.deploy(&replying(project("slow", &json!({ "held": held(&outside, "/hold/slow") })), reply)).await;
    let answer = account.send("slow", &json!(1)).await;
    let address = answer.header("location").expect("where the run is").to_owned();
    let run = answer.expect(202)["run"].as_str().expect("a run").to_owned();
    assert!(address.ends_with(&format!("/v1/runs/{run}")), "{address}");
    outside.release("/hold/slow");
    account.succeeded(&run).await;
    stage.database.settled().await;
}

#[tokio::test]
async fn prefer_wait_is_answered_with_the_run_by_whichever_host_is_asked() {
    let stage = Stage::new().await;
    let other = HostPlan::on(&stage.database.url).start().await;
    let account = stage.account("acme").await;
    account.deploy(&replying(project("double", &json!({ "double": map(". * 2") })), json!("result"))).await;
    let accounts = [account.clone(), account.at(&other)];
    eventually("the other host serves the project", async || {
        (accounts[1].send("double", &json!(1)).await.status == 200).then_some(())
    })
    .await;
    // Of two hosts one does not run it.
    for history in ["full", "none"] {
        let limits = json!({ "retention": { "history": history } });
        stage.host.operator().put("/v1/accounts/acme", &limits).await.expect(200);
        for account in &accounts {
            let answer = prefer_wait(account, "double", 20, &json!(4)).await;
            assert_eq!(answer.header("preference-applied"), Some("wait=20"), "history {history}: {:#}", answer.body);
            let run = answer.expect(200);
            assert_eq!(
                (&run["state"], &run["nodes"][0]["outputs"]["out"]),
                (&json!("succeeded"), &json!(8)),
                "{run:#}"
            );
            assert_eq!((&run["project"], &run["event"]["data"]), (&json!("double"), &json!(4)));
            assert_eq!(account.send("double", &json!(5)).await.expect(200), json!(10), "history {history}");
        }
    }
    let path = "/v1/projects/double/grids/main/events";
    let wanted = json!({ "name": "sender", "scopes": ["events:write"] });
    let made = account.api.post("/v1/tokens", &wanted).await.expect(201);
    let sender = account.api.with_token(made["token"].as_str());
    sender.post_with(path, &[("prefer", "wait=5")], &json!(1)).await.problem(403);
    sender.post_with(path, &[("prefer", "wait=soon")], &json!(1)).await.expect(202);

    stage.host.operator().put("/v1/accounts/acme", &json!({ "retention": { "history": "full" } })).await.expect(200);
    let keyed = [("prefer", "wait=20"), ("idempotency-key", "k1")];
    let first = account.api.post_with(path, &keyed, &json!(3)).await.expect(200);
    let again = accounts[1].api.post_with(path, &keyed, &json!(3)).await.expect(200);
    assert_eq!((&again["run"], &again["nodes"][0]["outputs"]["out"]), (&first["run"], &json!(6)), "{again:#}");
    stage.database.settled().await;
}

#[tokio::test]
async fn a_run_is_followed_to_its_end_from_every_host() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let other = HostPlan::on(&stage.database.url).allow(&outside).start().await;
    let account = stage.account("acme").await;
    let mut each = map(". + 1");
    each["inputs"] = json!({ "in": { "literal": [1, 2, 3] } });
    each["each"] = json!(true);
    let nodes = json!({
        "first": map("."),
        "each": each,
        "held": after(held(&outside, "/hold/x"), "first.out"),
        "never": { "plugin": "json-map", "inputs": { "in": "event#/nothing" }, "config": { "expression": "." } },
    });
    account.deploy(&project("long", &nodes)).await;
    let run = account.start("long", &json!({ "n": 1 })).await;
    outside.asked("/hold/x").await;
    for host in [&stage.host, &other] {
        let api = account.at(host).api;
        let mut events = RunEvents::of(&api, &run, None).await;
        let running = events
            .until("progress was told", |event| {
                event.data["node"] == "held" && event.data["progress"]["text"] == "half way"
            })
            .await;
        assert_eq!((&running.data["state"], &running.data["progress"]["fraction"]), (&json!("running"), &json!(0.5)));
        // The others end when they end, and are told by then or afterwards.
        let is_told = |seen: &[RunEvent]| {
            let told = |node: &str| seen.iter().any(|event| event.data["node"] == node);
            let mut done =
                seen.iter().filter(|event| event.data["node"] == "each").map(|each| &each.data["elements_done"]);
            told("first") && told("never") && done.next_back() == Some(&json!(3))
        };
        while !is_told(&events.seen) {
            assert!(events.next().await.is_some(), "the stream goes on: {:#?}", events.seen);
        }
        let each = events.seen.iter().rfind(|event| event.data["node"] == "each").expect("told");
        assert_eq!(each.data["elements_total"], 3, "{each:?}");

        // Who comes back is not told again what was over by then.
        let since: i64 = running.id.parse().expect("a time");
        let mut again = RunEvents::of(&api, &run, Some(&(since + 1).to_string())).await;
        again.until_node("held", "running").await;
        assert!(again.seen.iter().all(|event| event.data["node"] != "first"), "{:#?}", again.seen);
    }
    let (shown, _) = told(&account, &["run", "show", &run]).await;
    assert!(shown.contains("▶ held running, 50 % half way"), "{shown}");
    let mut follower = RunEvents::of(&account.at(&other).api, &run, None).await;
    follower.until_node("held", "running").await;
    outside.release("/hold/x");
    assert_eq!(follower.end().await, "succeeded");
    let states: Vec<&Value> =
        follower.seen.iter().filter(|event| event.data["node"] == "held").map(|event| &event.data["state"]).collect();
    assert_eq!(states.last(), Some(&&json!("succeeded")), "{:#?}", follower.seen);

    let last = follower.seen.last().expect("the end").id.clone();
    let over = account.api.open(&format!("/v1/runs/{run}/events"), &[("last-event-id", &last)]).await;
    assert_eq!(over.status(), 204, "there is nothing more to come");
    let mut whole = RunEvents::of(&account.api, &run, None).await;
    assert_eq!(whole.end().await, "succeeded");
    assert_eq!(whole.seen.len(), 5, "four nodes and the end: {:#?}", whole.seen);
    let stranger = stage.account("stranger").await;
    stranger.api.get(&format!("/v1/runs/{run}/events")).await.problem(404);
    stage.database.settled().await;
}

#[tokio::test]
async fn only_so_many_wait_and_follow() {
    let outside = Outside::start().await;
    let settings =
        |plan: HostPlan| plan.allow(&outside).set("watch.account_waits_max", "0").set("watch.account_streams_max", "1");
    let stage = Stage::with(settings).await;
    let account = stage.account("acme").await;
    account.deploy(&project("quick", &json!({ "same": map(".") }))).await;
    let answer = prefer_wait(&account, "quick", 20, &json!(1)).await;
    assert_eq!(answer.header("preference-applied"), None);
    let run = answer.expect(202)["run"].as_str().expect("a run").to_owned();
    account.succeeded(&run).await;
    account.deploy(&project("slow", &json!({ "held": held(&outside, "/hold/x") }))).await;
    let run = account.start("slow", &json!(1)).await;
    let mut events = RunEvents::of(&account.api, &run, None).await;
    events.until_node("held", "running").await;
    let refused = account.api.get(&format!("/v1/runs/{run}/events")).await;
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(refused.problem(429)["type"], "/problems/too-many-streams");
    // Of another account there is room.
    stage.account("other").await.api.get(&format!("/v1/runs/{run}/events")).await.problem(404);
    outside.release("/hold/x");
    assert_eq!(events.end().await, "succeeded");
    drop(events);
    eventually("the place is free again", async || {
        let answer = account.api.get(&format!("/v1/runs/{run}/events")).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_may_not_read_any_more_is_told_no_more() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&project("slow", &json!({ "held": held(&outside, "/hold/x") }))).await;
    let run = account.start("slow", &json!(1)).await;
    let wanted = json!({ "name": "reader", "scopes": ["runs:read"] });
    let made = account.api.post("/v1/tokens", &wanted).await.expect(201);
    let mut events = RunEvents::of(&account.api.with_token(made["token"].as_str()), &run, None).await;
    events.until_node("held", "running").await;
    let revoked = account.api.delete(&format!("/v1/tokens/{}", made["id"])).await;
    assert_eq!(revoked.status, 204, "{:#}", revoked.body);
    while events.next().await.is_some() {}
    assert!(events.seen.iter().all(|event| !event.id.ends_with("-end")), "{:#?}", events.seen);
    outside.release("/hold/x");
    account.succeeded(&run).await;
}

#[tokio::test]
async fn a_host_that_stops_lets_go_of_those_who_wait_and_follow() {
    let outside = Outside::start().await;
    let Stage { database, host } = Stage::facing(&outside).await;
    let account = Account::new(&host.operator(), "acme").await;
    account.deploy(&project("slow", &json!({ "held": held(&outside, "/hold/x") }))).await;
    let waiting = tokio::spawn({
        let account = account.clone();
        async move { prefer_wait(&account, "slow", 20, &json!(1)).await }
    });
    outside.asked("/hold/x").await;
    let runs = account.api.get("/v1/runs").await.expect(200);
    let run = runs["items"][0]["run"].as_str().expect("a run").to_owned();
    let mut events = RunEvents::of(&account.api, &run, None).await;
    events.until_node("held", "running").await;
    host.terminate().await;
    let answer = waiting.await.expect("no panic");
    assert_eq!(answer.expect(202)["run"], run, "its run goes on elsewhere");
    while events.next().await.is_some() {}
    assert!(events.seen.iter().all(|event| !event.id.ends_with("-end")), "{:#?}", events.seen);
    outside.release("/hold/x");
    assert!(host.ended().await.success());
    let host = HostPlan::on(&database.url).allow(&outside).start().await;
    account.at(&host).succeeded(&run).await;
}

/// What a command answers: standard output, and whether it went well.
async fn told(account: &Account, arguments: &[&str]) -> (String, bool) {
    let output = command(account, arguments).await;
    (String::from_utf8(output.stdout).expect("UTF-8"), output.status.success())
}

#[tokio::test]
async fn the_command_line_follows_runs_and_shows_logs() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let log = action(&json!({ "do": "log", "message": "a line of the guest", "times": 1 }));
    let fail = action(&json!({ "do": "fail", "kind": "permanent", "message": "no", "after_ms": null }));
    account.deploy(&project("talks", &json!({ "log": log }))).await;
    account.deploy(&project("fails", &json!({ "fail": fail }))).await;
    let run = account.run("talks", &json!(1)).await["run"].as_str().expect("a run").to_owned();

    let (lines, is_well) = told(&account, &["run", "watch", &run]).await;
    assert!(is_well && lines.contains("log succeeded") && lines.contains("run succeeded"), "{lines}");
    let (lines, _) = told(&account, &["run", "watch", &run, "--json"]).await;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&events[0]["event"], &events[0]["node"]), (&json!("node"), &json!("log")), "{lines}");
    assert_eq!(events.last().expect("the end")["state"], "succeeded");

    let dead = account.start("fails", &json!(1)).await;
    let (lines, is_well) = told(&account, &["run", "watch", &dead]).await;
    assert!(!is_well && lines.contains("run dead: node `fail`: no"), "{lines}");

    let (lines, _) = told(&account, &["logs"]).await;
    assert_eq!(lines.trim(), format!("{run}  log  [info] misbehave: a line of the guest"));
    let (lines, _) = told(&account, &["logs", "--json", "-f", &run]).await;
    let line: Value = serde_json::from_str(lines.trim()).expect("one line of JSON");
    assert_eq!((&line["node"], &line["message"]), (&json!("log"), &json!("a line of the guest")));
    let (lines, _) = told(&account, &["logs", "--project", "fails"]).await;
    assert_eq!(lines.trim(), "", "it has logged nothing");
}
