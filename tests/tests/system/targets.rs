//! Targets: services that take only so many requests are sent no more, whoever asks, and whichever host sends.
//!
//! The world outside notes when each request came in. From the moment before the first event on, the requests that came in
//! until any time are no more than were sent until then, however slow the way was; so that is what is checked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Account, Database, Host, HostPlan, Outside, Stage, action, eventually, grants, node, project, reason,
};

/// A project that sends one request per run to a target with these limits.
fn calling(outside: &Outside, method: &str, path: &str, limits: &Value) -> Value {
    let ask = json!({
        "plugin": "http-request",
        "inputs": { "in": "event" },
        "config": { "method": method, "url": format!("{}{path}", outside.url) },
        "grants": grants(outside),
    });
    let mut manifest = project("calls", &json!({ "ask": ask }));
    let mut target = json!({ "name": "shop", "host": outside.address.to_string() });
    for (key, value) in limits.as_object().expect("limits by key") {
        target[key] = value.clone();
    }
    manifest["targets"] = json!([target]);
    manifest
}

async fn start(account: &Account, count: usize) -> Vec<String> {
    let mut runs = Vec::new();
    for number in 0..count {
        runs.push(account.start("calls", &json!(number)).await);
    }
    runs
}

/// Every run has succeeded, at its first attempt.
async fn all_succeed(account: &Account, runs: &[String]) {
    for run in runs {
        let shown = account.succeeded(run).await;
        assert_eq!(node(&shown, "ask")["attempts"], 1, "{shown:#}");
        assert!(node(&shown, "ask").get("waiting").is_none(), "{shown:#}");
    }
}

/// No more than `rate` requests in every period since `begun`. And what can be seen of the windows between: half a period
/// is room enough for any way to be slow.
fn assert_rate(outside: &Outside, path: &str, rate: usize, period: Duration, begun: Instant) {
    let mut arrivals: Vec<Duration> = outside.received(path).iter().map(|request| request.at - begun).collect();
    arrivals.sort_unstable();
    for (earlier, at) in arrivals.iter().enumerate() {
        let periods = usize::try_from(at.as_millis() / period.as_millis()).expect("few") + 1;
        assert!(earlier < rate * periods, "request {} after {at:?}: {arrivals:?}", earlier + 1);
        if let Some(next) = arrivals.get(earlier + rate) {
            assert!(*next - *at >= period / 2, "{} requests between {at:?} and {next:?}: {arrivals:?}", rate + 1);
        }
    }
}

/// How many runs wait for a target now.
async fn waiting(database: &Database) -> i64 {
    database.number("select count(*) from job_later where last_error like '%waiting for target `shop` until %'").await
}

#[tokio::test]
async fn requests_of_many_runs_keep_to_the_rate_of_their_target() {
    const PERIOD: Duration = Duration::from_secs(2);
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let limits = json!({ "rate": 4, "per": "2s", "wait_max": "500ms" });
    account.deploy(&calling(&outside, "POST", "/shop", &limits)).await;

    let begun = Instant::now();
    let runs = start(&account, 20).await;
    eventually("runs wait for the target", async || (waiting(&stage.database).await > 0).then_some(())).await;
    all_succeed(&account, &runs).await;
    assert_eq!(outside.received("/shop").len(), 20, "each is sent once");
    assert_rate(&outside, "/shop", 4, PERIOD, begun);
    stage.database.settled().await;
}

#[tokio::test]
async fn a_bucket_lets_a_burst_through_and_then_what_it_leaks() {
    const BURST: usize = 6;
    const LEAK: Duration = Duration::from_millis(500);
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    account.deploy(&calling(&outside, "GET", "/shop", &json!({ "bucket": BURST, "leak": 2.0 }))).await;

    let begun = Instant::now();
    let runs = start(&account, 14).await;
    all_succeed(&account, &runs).await;
    let received = outside.received("/shop");
    assert_eq!(received.len(), 14);
    for (earlier, request) in received.iter().enumerate() {
        let leaked = usize::try_from((request.at - begun).as_millis() / LEAK.as_millis()).expect("few");
        assert!(earlier < BURST + leaked, "request {} after {:?}", earlier + 1, request.at - begun);
    }
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_a_target_takes() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let limits = json!({ "concurrency": 2, "wait_max": "200ms" });
    account.deploy(&calling(&outside, "POST", "/slow/400/x", &limits)).await;

    let runs = start(&account, 12).await;
    all_succeed(&account, &runs).await;
    let received = outside.received("/slow/400/x");
    assert_eq!(received.len(), 12);
    assert_eq!(received.iter().map(|request| request.at_once).max(), Some(2), "{received:?}");
    stage.database.settled().await;
}

#[tokio::test]
async fn a_node_that_waits_says_until_when_and_holds_no_instance() {
    let outside = Outside::start().await;
    // One instance: whoever holds it holds up everybody.
    let stage = Stage::with(|plan| plan.allow(&outside).set("sandbox.instances_max", "1")).await;
    let account = stage.account("acme").await;
    account.deploy(&calling(&outside, "POST", "/shop", &json!({ "rate": 1, "per": "10m" }))).await;
    let same = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    account.deploy(&project("free", &json!({ "same": same }))).await;

    let first = account.run("calls", &json!(0)).await;
    assert_eq!(first["state"], "succeeded");
    let runs = start(&account, 3).await;
    eventually("all the others wait", async || (waiting(&stage.database).await == 3).then_some(())).await;
    let mut times = Vec::new();
    for run in &runs {
        let shown = account.show(run).await;
        assert_eq!(shown["state"], "waiting", "{shown:#}");
        let (kind, message) = reason(&shown, "ask");
        assert_eq!(kind, "waiting");
        assert!(message.starts_with("waiting for target `shop` until 2"), "{message}");
        assert!(shown["error"].as_str().is_some_and(|error| error.contains(message)), "{shown:#}");
        assert_eq!((&node(&shown, "ask")["state"], &node(&shown, "ask")["attempts"]), (&json!("pending"), &json!(0)));
        times.push(node(&shown, "ask")["waiting"]["until_ms"].as_i64().expect("a time"));
    }
    times.sort_unstable();
    let apart: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(apart, [600_000, 600_000], "each has a time of its own");
    assert_eq!(outside.received("/shop").len(), 1);
    account.run("free", &json!(1)).await;

    // What waits keeps its time; whoever comes now is held to what the project says now.
    account.deploy(&calling(&outside, "POST", "/shop", &json!({ "rate": 3, "per": "10m" }))).await;
    for number in 0..2 {
        account.run("calls", &json!(number)).await;
    }
    assert_eq!(outside.received("/shop").len(), 3);
}

#[tokio::test]
async fn runs_that_wait_for_a_target_move_up_when_its_rate_is_raised_and_keep_their_times_when_it_is_lowered() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let other = HostPlan::on(&stage.database.url).allow(&outside).start().await;
    eventually("both hosts have shards", async || (stage.database.shard_counts().await.len() == 2).then_some(())).await;
    let account = stage.account("acme").await;
    let limits = |rate: u32| json!({ "rate": rate, "per": "10m", "wait_max": "0s" });
    account.deploy(&calling(&outside, "POST", "/shop", &limits(1))).await;
    account.run("calls", &json!(0)).await;
    let runs = start(&account, 4).await;
    eventually("all the others wait", async || (waiting(&stage.database).await == 4).then_some(())).await;
    let last = "select (extract(epoch from max(run_at) - now()) / 60)::bigint from job_later";
    let before = stage.database.number(last).await;
    assert!((38..=40).contains(&before), "{before} minutes");

    // Either host may be the one that waits for them; whichever it is hears of it.
    let at = [account.clone(), account.at(&other)];
    at[1].deploy(&calling(&outside, "POST", "/shop", &limits(4))).await;
    eventually("they move up", async || (8..=10).contains(&stage.database.number(last).await).then_some(())).await;
    at[0].deploy(&calling(&outside, "POST", "/shop", &limits(1))).await;
    assert!((8..=10).contains(&stage.database.number(last).await), "a lower rate is for those who come new");

    at[1].deploy(&calling(&outside, "POST", "/shop", &limits(60_000))).await;
    all_succeed(&account, &runs).await;
    assert_eq!(outside.received("/shop").len(), 5, "each is sent once");
    stage.database.settled().await;
}

#[tokio::test]
async fn runs_move_up_also_if_whoever_deployed_was_told_that_the_database_did_not_answer() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let limits = |rate: u32| json!({ "rate": rate, "per": "10m", "wait_max": "0s" });
    account.deploy(&calling(&outside, "POST", "/shop", &limits(1))).await;
    account.run("calls", &json!(0)).await;
    start(&account, 4).await;
    eventually("all the others wait", async || (waiting(&stage.database).await == 4).then_some(())).await;

    let plan = HostPlan::on(&stage.database.url).allow(&outside).fault("deployment-not-adopted=off@1");
    let host = plan.start().await;
    let other = account.at(&host);
    let raised = calling(&outside, "POST", "/shop", &limits(4));
    let told = other.api.put("/v1/projects/calls", &raised).await;
    assert!(told.status >= 500, "{told:?}");
    let last = "select (extract(epoch from max(run_at) - now()) / 60)::bigint from job_later";
    eventually("they move up", async || (8..=10).contains(&stage.database.number(last).await).then_some(())).await;
    let again = other.api.put("/v1/projects/calls", &raised).await.expect(200);
    assert_eq!(again["is_unchanged"], json!(true), "{again:#}");
    assert!((8..=10).contains(&stage.database.number(last).await), "and not twice");
}

#[tokio::test]
async fn a_call_that_has_changed_something_waits_where_it_is_or_fails_like_any_other() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let post = |path: &str| json!({ "method": "POST", "url": format!("{}{path}", outside.url) });
    let twice = |path: &str, wall: &str| {
        let mut node = action(&json!({ "do": "fetch-times", "request": post(path), "times": 2 }));
        node["grants"] = grants(&outside);
        node["limits"] = json!({ "wall": wall });
        node["retry"] = json!({ "attempts": 2, "first": "10ms" });
        let mut manifest = project("calls", &json!({ "ask": node }));
        manifest["targets"] =
            json!([{ "name": "shop", "host": outside.address.to_string(), "rate": 1, "per": "3s", "wait_max": "0s" }]);
        manifest
    };
    account.deploy(&twice("/patient", "20s")).await;
    let run = account.run("calls", &json!(null)).await;
    assert_eq!(node(&run, "ask")["attempts"], 1, "{run:#}");
    assert!(node(&run, "ask")["metering"]["target_wait_us"].as_u64() > Some(2_000_000), "{run:#}");
    let received = outside.received("/patient");
    assert_eq!(received.len(), 2, "each is sent once");
    assert_ne!(received[0].idempotency_key, received[1].idempotency_key);

    account.deploy(&twice("/hasty", "1s")).await;
    let run = account.start("calls", &json!(null)).await;
    let run = account.ended(&run).await;
    assert_eq!((&run["state"], &node(&run, "ask")["attempts"]), (&json!("dead"), &json!(2)), "{run:#}");
    let (kind, message) = reason(&run, "ask");
    assert!(kind == "timeout" && message.contains("target `shop` takes no request for another"), "{kind}: {message}");
    let received = outside.received("/hasty");
    assert_eq!(received.len(), 2, "once at each attempt");
    assert_eq!(received[0].idempotency_key, received[1].idempotency_key, "recognisable as the same");
}

#[tokio::test]
async fn a_refusal_with_a_time_silences_every_run() {
    const SILENCE: Duration = Duration::from_secs(3);
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let path = "/busy/1/3/x";
    account.deploy(&calling(&outside, "POST", path, &json!({ "rate": 100, "per": "1s", "wait_max": "0s" }))).await;

    let refused = account.start("calls", &json!(0)).await;
    eventually("the refusal is noted", async || {
        let shown = account.show(&refused).await;
        (shown["state"] == "waiting" && reason(&shown, "ask").0 == "retryable").then_some(())
    })
    .await;
    let runs = start(&account, 8).await;
    all_succeed(&account, &runs).await;
    assert_eq!(node(&account.succeeded(&refused).await, "ask")["attempts"], 2, "that one was an attempt");
    let received = outside.received(path);
    assert_eq!(received.len(), 10);
    let refused_at = received[0].at;
    for request in &received[1..] {
        // Clocks are read in whole milliseconds, and the host's follows the database's.
        assert!(request.at - refused_at > SILENCE - Duration::from_millis(100), "{:?}", request.at - refused_at);
    }
    stage.database.settled().await;
}

/// Starts runs on one host, lets another take over in the middle, and sees whether the rate was kept.
async fn change_hands(take_over: impl AsyncFnOnce(&Database, Host, HostPlan) -> Host) {
    const PERIOD: Duration = Duration::from_secs(8);
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let limits = json!({ "rate": 3, "per": "8s", "wait_max": "0s" });
    account.deploy(&calling(&outside, "POST", "/shop", &limits)).await;
    let begun = Instant::now();
    let runs = start(&account, 8).await;
    eventually("the first window is used up", async || (waiting(&stage.database).await == 5).then_some(())).await;
    assert_eq!(outside.received("/shop").len(), 3);

    let Stage { database, host } = stage;
    let other = take_over(&database, host, HostPlan::on(&database.url).allow(&outside)).await;
    eventually("the other host has all shards", async || (database.shard_counts().await == [256]).then_some(())).await;
    let account = account.at(&other);
    // Whoever comes new must wait as well.
    let more = start(&account, 1).await;
    all_succeed(&account, &[runs, more].concat()).await;
    assert_eq!(outside.received("/shop").len(), 9);
    assert_rate(&outside, "/shop", 3, PERIOD, begun);
}

#[tokio::test]
async fn a_host_that_takes_over_goes_on_with_the_windows_of_one_that_hands_over() {
    change_hands(async |_, host, plan| {
        let other = plan.start().await;
        host.terminate().await;
        host.ended().await;
        other
    })
    .await;
}

#[tokio::test]
async fn a_host_that_takes_over_gives_nothing_away_after_a_crash() {
    change_hands(async |database, host, plan| {
        let kept = "select count(*) from target_state where not is_final";
        eventually("the windows are kept", async || (database.number(kept).await > 0).then_some(())).await;
        host.kill().await;
        plan.start().await
    })
    .await;
}
