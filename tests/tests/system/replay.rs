//! Replaying runs that are over: from the start or from where they failed, one or many, and not twice by mistake.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Account, Answer, Outside, Stage, action, command, eventually, grants, node, project};

async fn replay(account: &Account, run: &str, how: &Value) -> Answer {
    account.api.post(&format!("/v1/runs/{run}/replay"), how).await
}

/// Replays a run; answers with the new one.
async fn replayed(account: &Account, run: &str, how: &Value) -> String {
    let answer = replay(account, run, how).await.expect(202);
    assert_eq!(answer["replay_of"], json!(run));
    answer["run"].as_str().expect("a replay is a run").to_owned()
}

/// Starts a run that must become a dead letter.
async fn dead(account: &Account, project: &str, data: &Value) -> String {
    let run = account.start(project, data).await;
    let ended = account.ended(&run).await;
    assert_eq!(ended["state"], "dead", "{ended:#}");
    run
}

fn request(outside: &Outside, method: &str, path: &str, input: &str) -> Value {
    json!({
        "plugin": "http-request",
        "inputs": { "in": input },
        "config": { "method": method, "url": format!("{}{path}", outside.url) },
        "grants": grants(outside),
        "retry": { "attempts": 1 },
    })
}

/// An order that is made, a note of it, and a confirmation that fails once.
fn shop(outside: &Outside) -> Value {
    let mut note = action(&json!({ "do": "storage", "operations": [{ "add": ["s", "orders", 1] }] }));
    note["inputs"]["after"] = json!("order.response");
    let nodes = json!({
        "order": request(outside, "POST", "/order", "event"),
        "note": note,
        "confirm": request(outside, "POST", "/flaky/1/confirm", "order.response"),
    });
    project("shop", &nodes)
}

fn attribute<'r>(run: &'r Value, name: &str) -> &'r Value {
    &run["event"]["attributes"][name]
}

/// A text that a refusal must have in it.
#[track_caller]
fn says(problem: &Value, text: &str) {
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(text)), "no `{text}` in {problem:#}");
}

async fn dead_letters(account: &Account, query: &str) -> BTreeSet<String> {
    let listed = account.api.get(&format!("/v1/runs?state=dead{query}")).await.expect(200);
    let items = listed["items"].as_array().expect("a list");
    items.iter().map(|run| run["run"].as_str().expect("a run").to_owned()).collect()
}

#[tokio::test]
async fn a_replay_from_the_failed_node_does_not_do_again_what_succeeded() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&shop(&outside)).await;
    let run = dead(&account, "shop", &json!({ "order": 7 })).await;
    assert_eq!(dead_letters(&account, "").await, BTreeSet::from([run.clone()]));

    let again = replayed(&account, &run, &json!({})).await;
    let shown = account.succeeded(&again).await;
    assert_eq!(outside.received("/order").len(), 1, "the order was made once: {shown:#}");
    assert_eq!(stage.database.stored(&account, "orders").await.as_deref(), Some("1"), "and noted once");
    assert_eq!((&shown["event"]["data"], attribute(&shown, "replay-of")), (&json!({ "order": 7 }), &json!(run)));
    assert_eq!(attribute(&shown, "trigger"), "events", "what the event was is kept");
    assert_eq!(node(&shown, "order")["outputs"]["response"]["status"], 200, "{shown:#}");
    let keys: BTreeSet<_> =
        outside.received("/flaky/1/confirm").into_iter().map(|request| request.idempotency_key).collect();
    assert_eq!(keys.len(), 2, "a replay is a run of its own, and its requests are new ones: {keys:?}");

    assert_eq!(account.show(&run).await["replayed_as"], json!(again));
    assert!(dead_letters(&account, "").await.is_empty(), "somebody has dealt with it");
    assert_eq!(dead_letters(&account, "&replayed=true").await, BTreeSet::from([run]));
    stage.database.settled().await;
}

#[tokio::test]
async fn a_replay_from_the_start_does_everything_again() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&shop(&outside)).await;
    let run = dead(&account, "shop", &json!(1)).await;
    let again = replayed(&account, &run, &json!({ "from": "start" })).await;
    account.succeeded(&again).await;
    assert_eq!(outside.received("/order").len(), 2);
    assert_eq!(stage.database.stored(&account, "orders").await.as_deref(), Some("2"));

    let third = replayed(&account, &again, &json!({ "from": "start", "revision": "same" })).await;
    let shown = account.succeeded(&third).await;
    assert_eq!(attribute(&shown, "replay-of"), &json!(again), "a run that succeeded can be replayed, too");
    stage.database.settled().await;
}

#[tokio::test]
async fn a_cancelled_run_goes_on_where_it_was_cut_off() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let nodes = json!({
        "order": request(&outside, "POST", "/order", "event"),
        "confirm": request(&outside, "GET", "/hold/confirm", "order.response"),
    });
    account.deploy(&project("shop", &nodes)).await;
    let run = account.start("shop", &json!(1)).await;
    outside.asked("/hold/confirm").await;
    account.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await.expect(200);
    outside.release("/hold/confirm");
    let again = replayed(&account, &run, &json!({})).await;
    account.succeeded(&again).await;
    assert_eq!(outside.received("/order").len(), 1);
}

#[tokio::test]
async fn a_replay_runs_on_the_current_revision_or_on_its_own() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let fails = action(&json!({ "do": "fail", "kind": "permanent", "message": "broken" }));
    let works = action(&json!({ "do": "emit", "emissions": [["out", "\"mended\""]] }));
    let first = action(&json!({ "do": "emit", "emissions": [["out", "1"]] }));
    let grid = |last: &Value| {
        let mut last = last.clone();
        last["inputs"]["after"] = json!("first.out");
        json!({ "first": first, "last": last })
    };
    let broken = account.deploy(&project("mend", &grid(&fails))).await;
    let run = dead(&account, "mend", &json!(1)).await;
    let mended = account.deploy(&project("mend", &grid(&works))).await;

    let same = replayed(&account, &run, &json!({ "revision": "same" })).await;
    let same = account.ended(&same).await;
    assert_eq!((&same["state"], &same["revision"]), (&json!("dead"), &broken["revision"]), "{same:#}");
    let current = replayed(&account, &run, &json!({ "revision": "current", "again": true })).await;
    let current = account.succeeded(&current).await;
    assert_eq!(current["revision"], mended["revision"]);
    assert_eq!(node(&current, "last")["outputs"]["out"], "mended");

    // A grid that is not there any more.
    let mut other = project("mend", &grid(&works));
    other["grids"]["renamed"] = other["grids"]["main"].take();
    other["grids"].as_object_mut().expect("grids by name").remove("main");
    other["triggers"][0]["grid"] = json!("renamed");
    account.deploy(&other).await;
    let problem = replay(&account, &run, &json!({ "again": true })).await.problem(422);
    says(&problem, "no grid `main`; it has: renamed");
    let same = replayed(&account, &run, &json!({ "again": true, "revision": "same", "from": "start" })).await;
    assert_eq!(account.ended(&same).await["state"], "dead", "its own revision still has it");
    stage.database.settled().await;
}

#[tokio::test]
async fn a_node_that_lacks_what_the_current_grid_needs_is_called_again() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let emit = |port: &str| action(&json!({ "do": "emit", "emissions": [[port, "1"]] }));
    let fails = action(&json!({ "do": "fail", "kind": "permanent", "message": "broken" }));
    let mut last = fails.clone();
    last["inputs"]["after"] = json!("first.out");
    account.deploy(&project("ports", &json!({ "first": emit("out"), "last": last }))).await;
    let run = dead(&account, "ports", &json!(1)).await;

    let mut last = action(&json!({ "do": "emit", "emissions": [["out", "2"]] }));
    last["inputs"] =
        json!({ "in": { "literal": { "do": "emit", "emissions": [["out", "2"]] } }, "after": "first.other" });
    account.deploy(&project("ports", &json!({ "first": emit("other"), "last": last }))).await;
    let again = replayed(&account, &run, &json!({})).await;
    let shown = account.succeeded(&again).await;
    assert_eq!(node(&shown, "first")["outputs"], json!({ "other": 1 }), "{shown:#}");
    assert_eq!(node(&shown, "last")["state"], "succeeded");
}

#[tokio::test]
async fn a_run_is_replayed_once_unless_that_is_meant() {
    const AT_ONCE: usize = 8;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let fails = action(&json!({ "do": "fail", "kind": "permanent", "message": "no" }));
    account.deploy(&project("bad", &json!({ "fail": fails }))).await;
    let run = dead(&account, "bad", &json!(1)).await;
    let body = json!({});
    let answers = futures_util::future::join_all((0..AT_ONCE).map(|_| replay(&account, &run, &body))).await;
    let (made, refused): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 202);
    assert_eq!((made.len(), refused.len()), (1, AT_ONCE - 1), "of many at the same moment one is made");
    for answer in refused {
        assert_eq!(answer.problem(409)["type"], "/problems/run-state");
    }
    let problem = replay(&account, &run, &body).await.problem(409);
    says(&problem, made[0].body["run"].as_str().expect("a run"));
    let again = replayed(&account, &run, &json!({ "again": true })).await;
    account.ended(&again).await;
    assert_eq!(account.show(&run).await["replayed_as"], json!(again), "the last one");
    assert_eq!(stage.database.ended_count().await, 3);
}

#[tokio::test]
async fn what_is_not_over_or_not_there_or_not_allowed_is_refused() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let stranger = stage.account("stranger").await;
    account.deploy(&project("held", &json!({ "ask": request(&outside, "GET", "/hold/answer", "event") }))).await;
    let run = account.start("held", &json!(1)).await;
    outside.asked("/hold/answer").await;
    says(&replay(&account, &run, &json!({})).await.problem(409), "its state is `running`");
    outside.release("/hold/answer");
    account.succeeded(&run).await;

    let problem = replay(&account, &run, &json!({ "from": "failed" })).await.problem(422);
    says(&problem, "replay it from `start`");
    replay(&account, "run_nonsense", &json!({})).await.problem(404);
    replay(&account, "run_00000000000zz", &json!({})).await.problem(404);
    replay(&stranger, &run, &json!({ "from": "start" })).await.problem(404);
    for (body, text) in [
        (json!({ "from": "middle" }), "unknown variant `middle`"),
        (json!({ "revision": 3 }), "expected value"),
        (json!({ "form": "start" }), "unknown field `form`"),
    ] {
        says(&replay(&account, &run, &body).await.problem(400), text);
    }
    for (body, text) in [
        (json!({}), "missing field `project`"),
        (json!({ "project": "held", "limit": 0 }), "from 1 to 500"),
        (json!({ "project": "held", "accepted_after": "yesterday" }), "yesterday"),
        (json!({ "project": "held", "again": true }), "unknown field `again`"),
        (json!({ "project": "held", "error_contains": "e".repeat(257) }), "error_contains has 257 bytes; at most 256"),
        (json!({ "project": "held", "grid": "g".repeat(65) }), "grid has 65 bytes; at most 64"),
        (json!({ "project": "held", "after": run }), "`after` is not the `next` of an answer"),
    ] {
        says(&account.api.post("/v1/runs/replay", &body).await.problem(400), text);
    }
    stranger.api.post("/v1/runs/replay", &json!({ "project": "held" })).await.problem(404);
    account.api.get("/v1/runs?replayed=perhaps").await.problem(400);
    for scope in ["runs:read", "events:write"] {
        let made = account.api.post("/v1/tokens", &json!({ "name": "x", "scopes": [scope] })).await.expect(201);
        let api = account.api.with_token(made["token"].as_str());
        for path in [format!("/v1/runs/{run}/replay"), "/v1/runs/replay".to_owned()] {
            says(&api.post(&path, &json!({ "project": "held" })).await.problem(403), "runs:write");
        }
    }
    assert_eq!(stage.database.ended_count().await, 1, "nothing was replayed");
    stage.database.settled().await;
}

#[tokio::test]
async fn an_account_over_its_limits_replays_and_the_replay_waits_for_its_turn() {
    let stage = Stage::with(|plan| plan.set("limiter.long_per_day", "2")).await;
    let account = stage.account("acme").await;
    let fails = action(&json!({ "do": "fail", "kind": "permanent", "message": "no" }));
    account.deploy(&project("bad", &json!({ "fail": fails }))).await;
    let run = dead(&account, "bad", &json!(1)).await;
    dead(&account, "bad", &json!(2)).await;
    eventually("the account is over its limits", async || {
        (account.send("bad", &json!(3)).await.status == 429).then_some(())
    })
    .await;
    let again = replayed(&account, &run, &json!({})).await;
    assert_eq!(account.show(&again).await["state"], "queued");
    assert_eq!(dead_letters(&account, "").await.len(), 1);
}

/// Dead letters of two grids, with an error that tells which event it was.
async fn deploy_failing(account: &Account) {
    let nodes = json!({ "check": {
        "plugin": "json-map", "inputs": { "in": "event" },
        "config": { "expression": "if .ok then . else error(\"no \" + .color) end" },
    } });
    let mut manifest = project("orders", &nodes);
    manifest["grids"]["side"] = json!({ "nodes": nodes });
    account.deploy(&manifest).await;
}

#[tokio::test]
async fn dead_letters_are_replayed_together_page_by_page_and_as_they_are_asked_for() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    deploy_failing(&account).await;
    let mut runs = Vec::new();
    for color in ["red", "blue", "red", "blue", "red"] {
        runs.push(dead(&account, "orders", &json!({ "color": color })).await);
    }
    let side = account.api.post("/v1/projects/orders/grids/side/events", &json!({ "color": "red" })).await.expect(202);
    let side = side["run"].as_str().expect("a run").to_owned();
    account.ended(&side).await;
    let many = async |body: Value| account.api.post("/v1/runs/replay", &body).await.expect(200);
    let told = |answer: &Value| -> Vec<String> {
        let runs = answer["runs"].as_array().expect("a list");
        runs.iter().map(|run| run["run"].as_str().expect("a run").to_owned()).collect()
    };

    let reds = json!({ "project": "orders", "grid": "main", "error_contains": "no red", "dry_run": true });
    let listed = many(reds.clone()).await;
    assert_eq!(told(&listed), [&*runs[0], &*runs[2], &*runs[4]], "the oldest first: {listed:#}");
    assert_eq!((&listed["replayed"], stage.database.ended_count().await), (&json!(0), 6), "a dry run does nothing");
    let late = many(json!({ "project": "orders", "accepted_after": "2100-01-01T00:00:00Z" })).await;
    assert_eq!(told(&late).len(), 0, "{late:#}");
    let early = many(json!({ "project": "orders", "accepted_before": "2020-01-01T00:00:00Z" })).await;
    assert_eq!(told(&early).len(), 0, "{early:#}");

    let mut page = reds;
    page["dry_run"] = json!(false);
    page["limit"] = json!(2);
    let first = many(page.clone()).await;
    assert_eq!(told(&first), [&*runs[0], &*runs[2]]);
    for item in first["runs"].as_array().expect("a list") {
        // Dead letters again, and none that the next page would find.
        account.ended(item["replayed_as"].as_str().expect("it was replayed")).await;
    }
    page["after"] = first["next"].clone();
    let second = many(page).await;
    assert_eq!((told(&second), &second["next"]), (vec![runs[4].clone()], &Value::Null));
    account.ended(second["runs"][0]["replayed_as"].as_str().expect("it was replayed")).await;
    let left = dead_letters(&account, "&grid=main").await;
    assert!(left.is_superset(&BTreeSet::from([runs[1].clone(), runs[3].clone()])) && left.len() == 5, "{left:?}");

    // Mended, and the rest at once.
    let works =
        json!({ "check": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } });
    account.deploy(&project("orders", &works)).await;
    let arguments = ["run", "replay", "--all", "--project", "orders"];
    let dry = command(&account, &[&arguments[..], &["--dry-run"]].concat()).await;
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(dry.status.success() && said.contains("6 dead letters would be replayed"), "{dry:?}");
    let all = command(&account, &arguments).await;
    let said = String::from_utf8_lossy(&all.stdout).into_owned();
    // The grid of one of them is gone.
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    assert!(said.contains("5 dead letters replayed") && said.contains("no grid `side`"), "{said}");
    eventually("all have ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    assert_eq!(dead_letters(&account, "").await, BTreeSet::from([side.clone()]));

    let told = command(&account, &["run", "replay", &side, "--revision", "same", "--from", "start"]).await;
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("run_"), "{told:?}");
    let told = command(&account, &["run", "replay", &side]).await;
    assert_eq!(told.status.code(), Some(4), "refused: {told:?}");
    let told = command(&account, &["runs", "--state", "dead", "--replayed"]).await;
    assert!(String::from_utf8_lossy(&told.stdout).contains(&side), "{told:?}");
    let told = command(&account, &["run", "show", &side]).await;
    assert!(String::from_utf8_lossy(&told.stdout).contains("replayed as run_"), "{told:?}");
}

/// Refuses the queue's row of every replay of a run, as a database does that is broken in one place.
async fn refuse_replays_of(stage: &Stage, run: &str) {
    let refuse = format!(
        "create function refuse() returns trigger language plpgsql as $$ begin
             if position('{run}' in convert_from(new.payload, 'UTF8')) > 0 then raise exception 'no'; end if;
             return new;
         end $$;
         create trigger refuse before insert on job for each row execute function refuse();"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&stage.database.pool).await.expect("the schema is there");
}

#[tokio::test]
async fn a_command_that_replays_many_and_is_broken_off_says_where_to_go_on() {
    const LETTERS: usize = 30;
    const BROKEN: usize = 20;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    deploy_failing(&account).await;
    let mut runs = Vec::new();
    for number in 0..LETTERS {
        runs.push(account.start("orders", &json!({ "color": number })).await);
    }
    for run in &runs {
        assert_eq!(account.ended(run).await["state"], "dead");
    }
    let works =
        json!({ "check": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } });
    account.deploy(&project("orders", &works)).await;

    refuse_replays_of(&stage, &runs[BROKEN]).await;
    let arguments = ["run", "replay", "--all", "--project", "orders"];
    let broken = command(&account, &arguments).await;
    let said = String::from_utf8_lossy(&broken.stdout).into_owned();
    assert!(!broken.status.success(), "{broken:?}");
    let (_, cursor) = said.split_once("the same command with `--after ").unwrap_or_else(|| panic!("{said}"));
    let (cursor, _) = cursor.split_once('`').expect("a closing quote");
    let left = dead_letters(&account, "").await;
    assert!(left.contains(&runs[BROKEN]) && (1..LETTERS).contains(&left.len()), "{left:?}");
    assert!(said.contains(&format!("{} dead letter", LETTERS - left.len())), "{said}");

    let allow = sqlx::raw_sql("drop trigger refuse on job");
    allow.execute(&stage.database.pool).await.expect("the trigger is there");
    let rest = command(&account, &[&arguments[..], &["--after", cursor]].concat()).await;
    let said = String::from_utf8_lossy(&rest.stdout).into_owned();
    assert!(rest.status.success() && said.contains(&format!("{} dead letter", left.len())), "{rest:?}");
    assert!(dead_letters(&account, "").await.is_empty());
    eventually("all have ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    assert_eq!(stage.database.history().await.len(), 2 * LETTERS, "each was replayed once");
}
