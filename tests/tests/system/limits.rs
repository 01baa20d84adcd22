//! Rate limits: refused with a time that is true, queued without a write, changed while everything runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use trellis_model::RunId;

use crate::support::{Account, Answer, Audit, Database, Host, HostPlan, Stage, eventually, eventually_within, project};

/// Sets an account's burst limit.
async fn limit(stage: &Stage, account: &Account, max: u32, period_ms: u32) {
    let limits = json!({ "limits": {
        "burst": { "max": max, "period_ms": period_ms },
        "long": { "max": 1_000_000, "period_ms": 86_400_000 },
    }});
    stage.host.operator().put(&format!("/v1/accounts/{}", account.name), &limits).await.expect(200);
}

/// A project whose runs instantiate one module.
fn small(on_limit: &str) -> Value {
    let nodes =
        json!({ "same": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } });
    let mut manifest = project("small", &nodes);
    manifest["triggers"][0]["on_limit"] = json!(on_limit);
    manifest
}

/// Runs until the account is over its limit; answers with the refusal.
async fn exhaust(account: &Account) -> Answer {
    for number in 0..50 {
        let answer = account.send("small", &json!(number)).await;
        if answer.status == 429 {
            return answer;
        }
        let run = answer.expect(202)["run"].as_str().expect("a run").to_owned();
        account.succeeded(&run).await;
    }
    panic!("50 runs, and the limit is not reached");
}

#[tokio::test]
async fn an_account_over_its_burst_limit_is_told_a_time_after_which_it_is_let_in() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("reject")).await;
    limit(&stage, &account, 3, 4_000).await;

    for _ in 0..2 {
        let refused = exhaust(&account).await;
        let told_at = Instant::now();
        let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds");
        assert!((1..=4).contains(&seconds), "no longer than the window: {seconds}");
        let problem = refused.problem(429);
        assert_eq!(problem["retry_after"], seconds);
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("rate limit")), "{problem:#}");

        let ended = stage.database.ended_count().await;
        account.send("small", &json!("too early")).await.problem(429);
        assert_eq!(
            stage.database.ended_count().await + stage.database.unfinished_count().await,
            ended,
            "nothing is kept"
        );

        tokio::time::sleep_until((told_at + Duration::from_secs(seconds)).into()).await;
        account.run("small", &json!("in time")).await;
    }
}

#[tokio::test]
async fn a_neighbour_of_a_throttled_account_is_not_held_up() {
    let stage = Stage::new().await;
    let (throttled, neighbour) = (stage.account("throttled").await, stage.account("neighbour").await);
    for account in [&throttled, &neighbour] {
        account.deploy(&small("reject")).await;
    }
    limit(&stage, &throttled, 1, 60_000).await;
    exhaust(&throttled).await.problem(429);
    neighbour.run("small", &json!(1)).await;
    throttled.send("small", &json!(1)).await.problem(429);
}

/// Waits until the account is over its limit with runs in its queue, nothing in flight, and some seconds still to wait;
/// answers with how many seconds it is told at that moment.
async fn throttled(stage: &Stage, account: &Account) -> u64 {
    eventually("the account is throttled, and nothing of it is in flight", async || {
        let standing = account.api.get("/v1/limits").await.expect(200);
        assert!(standing["unfinished_runs"].as_i64() > Some(0), "nothing is left to wait: {standing:#}");
        let claims = stage.database.number("select count(*) from claim").await;
        standing["wait_seconds"].as_u64().filter(|seconds| *seconds >= 3 && claims == 0)
    })
    .await
}

#[tokio::test]
async fn queued_runs_of_a_throttled_account_wait_without_a_write_and_go_on_when_the_window_turns() {
    const RUNS: usize = 40;
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("queue")).await;
    let audit = Audit::install(&stage.database).await;
    limit(&stage, &account, 8, 6_000).await;

    for number in 0..RUNS - 1 {
        account.start("small", &json!(number)).await;
    }
    let seconds = throttled(&stage, &account).await;
    let accepted = account.send("small", &json!("one more")).await;
    assert!(accepted.header("ratelimit").is_some_and(|text| text.starts_with("\"burst\";r=0;t=")), "{accepted:?}");
    accepted.expect(202);
    let (watched, written, ended) = (Instant::now(), audit.written().await, stage.database.ended_count().await);
    eventually("the window turns", async || (audit.written().await > written).then_some(())).await;
    // The seconds were rounded up, and the look at the audit took a moment.
    let quiet = watched.elapsed();
    assert!(quiet > Duration::from_secs(seconds - 1), "a write after {quiet:?}, and {seconds} s were still to wait");
    eventually("runs go on", async || (stage.database.ended_count().await > ended).then_some(())).await;

    limit(&stage, &account, 1_000, 6_000).await;
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    let history = stage.database.history().await;
    assert_eq!(history.len(), RUNS);
    assert!(history.values().all(|state| state == "succeeded"), "{history:?}");
}

#[tokio::test]
async fn limits_that_an_operator_changes_take_effect_at_once() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("queue")).await;
    account.run("small", &json!(0)).await;

    limit(&stage, &account, 2, 600_000).await;
    assert_eq!(account.api.get("/v1/limits").await.expect(200)["limits"]["burst"]["max"], 2);
    for number in 0..6 {
        account.start("small", &json!(number)).await;
    }
    eventually("the account is over its limit", async || {
        (account.api.get("/v1/limits").await.expect(200)["wait_seconds"] != 0).then_some(())
    })
    .await;
    assert!(stage.database.unfinished_count().await > 0);

    limit(&stage, &account, 1_000, 600_000).await;
    let changed = Instant::now();
    eventually("the waiting runs go on", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    assert!(changed.elapsed() < Duration::from_secs(5), "it took {:?}", changed.elapsed());
}

#[tokio::test]
async fn every_answer_to_an_event_says_where_its_account_stands() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("reject")).await;
    limit(&stage, &account, 2, 60_000).await;

    let policy = Some("\"burst\";q=2;w=60, \"long\";q=1000000;w=86400");
    let accepted = account.send("small", &json!(1)).await;
    assert_eq!((accepted.status, accepted.header("ratelimit-policy")), (202, policy));
    let first = accepted.header("ratelimit").expect("this host owns the account").to_owned();
    assert!(first.starts_with("\"burst\";r=2;t=") && first.contains(", \"long\";r=1000000;t="), "{first}");

    let refused = exhaust(&account).await;
    assert_eq!(refused.header("ratelimit-policy"), policy);
    let told = format!("\"burst\";r=0;t={}, ", refused.header("retry-after").expect("a time"));
    assert!(refused.header("ratelimit").is_some_and(|text| text.starts_with(&told)), "{refused:?}");
    refused.problem(429);
    let shown = account.api.get("/v1/limits").await.expect(200);
    assert_eq!(shown["windows"]["burst"]["used"], 2, "{shown:#}");
    assert_eq!(shown["windows"]["burst"]["left"], 0, "{shown:#}");
    assert_eq!(shown["windows"]["long"]["left"], 999_998, "{shown:#}");
}

#[tokio::test]
async fn an_operator_chooses_how_windows_are_smoothed() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let limits = |smoothing: &str| {
        let window = json!({ "max": 5, "period_ms": 1_000 });
        json!({ "limits": { "burst": window, "long": window, "smoothing": smoothing } })
    };
    let refused = stage.host.operator().put("/v1/accounts/acme", &limits("soft")).await.problem(400);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("`fixed` or `sliding`")), "{refused:#}");
    stage.host.operator().put("/v1/accounts/acme", &limits("sliding")).await.expect(200);
    assert_eq!(account.api.get("/v1/limits").await.expect(200)["limits"]["smoothing"], "sliding");
}

/// Two hosts that know a project of the account: the one that owns its queue, and the other one.
async fn owner_and_other<'h>(database: &Database, account: &Account, hosts: [&'h Host; 2]) -> (&'h Host, &'h Host) {
    eventually("both hosts own shards", async || (database.shard_counts().await.len() == 2).then_some(())).await;
    let mut numbers = Vec::new();
    for host in hosts {
        let run = eventually("the host knows the project", async || {
            let answer = account.at(host).send("small", &json!("who?")).await;
            (answer.status == 202).then(|| answer.body["run"].as_str().expect("a run").to_owned())
        })
        .await;
        account.succeeded(&run).await;
        numbers.push(run.parse::<RunId>().expect("a run id").0 >> 13 & 255);
    }
    let owner: i16 = sqlx::query_scalar("select number from shard join host on host.id = shard.owner where shard = $1")
        .bind(account.shard().0)
        .fetch_one(&database.pool)
        .await
        .expect("the shard has an owner");
    if i64::from(owner) == numbers[0] { (hosts[0], hosts[1]) } else { (hosts[1], hosts[0]) }
}

/// Notes every time that an account is told to be throttled.
async fn note_throttles(database: &Database) {
    sqlx::raw_sql(
        "create table told (until timestamptz not null);
         create function note_throttle() returns trigger language plpgsql as $$
         begin
             if new.throttled_until is not null then insert into told values (new.throttled_until); end if;
             return null;
         end $$;
         create trigger told after insert or update of throttled_until on limiter_snapshot
             for each row execute function note_throttle();",
    )
    .execute(&database.pool)
    .await
    .expect("the schema is there");
}

#[tokio::test]
async fn any_host_refuses_events_of_an_account_that_its_owner_knows_to_be_throttled() {
    let stage = Stage::new().await;
    let hosts = [&stage.host, &HostPlan::on(&stage.database.url).start().await];
    let account = stage.account("acme").await;
    account.deploy(&small("reject")).await;
    let (owner, other) = owner_and_other(&stage.database, &account, hosts).await;
    note_throttles(&stage.database).await;
    limit(&stage, &account, 3, 60_000).await;

    exhaust(&account.at(owner)).await.problem(429);
    let refused = eventually_within(Duration::from_secs(5), "the other host refuses, too", async || {
        Some(account.at(other).send("small", &json!("too much")).await).filter(|answer| answer.status == 429)
    })
    .await;
    let seconds: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("ratelimit"), Some(&*format!("\"burst\";r=0;t={seconds}")), "it owns no windows");
    refused.problem(429);

    for number in 0..20 {
        account.at(hosts[number % 2]).send("small", &json!(number)).await.problem(429);
    }
    assert_eq!(stage.database.number("select count(*) from told").await, 1, "it was told once");

    let third = HostPlan::on(&stage.database.url).start().await;
    account.at(&third).send("small", &json!("to one who came later")).await.problem(429);

    limit(&stage, &account, 1_000, 60_000).await;
    for host in [owner, other, &third] {
        eventually_within(Duration::from_secs(5), "every host lets it in again", async || {
            (account.at(host).send("small", &json!("again")).await.status == 202).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn limits_that_are_changed_at_one_host_are_those_of_all_hosts() {
    let stage = Stage::new().await;
    let hosts = [&stage.host, &HostPlan::on(&stage.database.url).start().await];
    let account = stage.account("acme").await;
    account.deploy(&small("reject")).await;
    owner_and_other(&stage.database, &account, hosts).await;
    for max in [77, 78] {
        limit(&stage, &account, max, 60_000).await;
        for host in hosts {
            eventually_within(Duration::from_secs(5), "the host heeds the new limits", async || {
                let answer = account.at(host).send("small", &json!(max)).await;
                let policy = answer.header("ratelimit-policy").expect("it knows the account").to_owned();
                policy.starts_with(&format!("\"burst\";q={max};w=60,")).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn windows_move_with_their_shard_to_a_host_that_joins() {
    let stage = Stage::new().await;
    let mut accounts = Vec::new();
    for number in 0..8 {
        let account = stage.account(&format!("account-{number}")).await;
        account.deploy(&small("reject")).await;
        limit(&stage, &account, 5, 3_600_000).await;
        for _ in 0..3 {
            account.run("small", &json!(1)).await;
        }
        accounts.push(account);
    }
    let other = HostPlan::on(&stage.database.url).start().await;
    eventually("the shards are shared", async || {
        let counts = stage.database.shard_counts().await;
        (counts.len() == 2 && counts.iter().all(|count| (120..=136).contains(count))).then_some(())
    })
    .await;
    let mut moved = 0;
    for account in &accounts {
        let here = account.at(&other);
        let answer = eventually("the host knows the project", async || {
            Some(here.send("small", &json!(2)).await).filter(|answer| answer.status == 202)
        })
        .await;
        // Only the owner of the queue knows what is left.
        if let Some(told) = answer.header("ratelimit").map(str::to_owned) {
            assert!(told.starts_with("\"burst\";r=2;t="), "{told}");
            moved += 1;
        }
        account.succeeded(answer.body["run"].as_str().expect("a run")).await;
    }
    assert!(moved > 0, "no shard of eight accounts has moved");
}

/// What is stored of an account's burst window.
async fn stored_used(database: &Database) -> i64 {
    database.number("select coalesce(max((windows->'burst'->>'used')::bigint), 0) from limiter_snapshot").await
}

/// Runs one after the other, so many that the account is over its limit; answers with how many.
async fn runs_left(account: &Account) -> usize {
    let mut runs = 0;
    loop {
        let answer = account.send("small", &json!("more")).await;
        if answer.status == 429 {
            return runs;
        }
        let run = answer.expect(202)["run"].as_str().expect("a run").to_owned();
        account.succeeded(&run).await;
        runs += 1;
    }
}

#[tokio::test]
async fn a_host_that_is_killed_forgets_no_more_than_what_it_counted_last() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("reject")).await;
    limit(&stage, &account, 20, 3_600_000).await;
    for number in 0..10 {
        account.run("small", &json!(number)).await;
    }
    eventually("ten are stored", async || (stored_used(&stage.database).await == 10).then_some(())).await;
    for number in 0..5 {
        account.run("small", &json!(number)).await;
    }
    let Stage { database, host } = stage;
    host.kill().await;
    let stored = usize::try_from(stored_used(&database).await).expect("a count");
    let next = HostPlan::on(&database.url).start().await;
    let account = account.at(&next);
    eventually("the next host owns the account", async || (database.shard_counts().await == [256]).then_some(())).await;
    let left = runs_left(&account).await;
    assert_eq!(left, 20 - stored, "it goes on with what was stored");
    assert!((5..=10).contains(&left), "{left} were left");
}

#[tokio::test]
async fn a_host_that_is_stopped_forgets_nothing_and_a_snapshot_that_failed_is_made_up_for() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&small("reject")).await;
    limit(&stage, &account, 20, 3_600_000).await;
    account.run("small", &json!("first")).await;
    eventually("it is stored", async || (stored_used(&stage.database).await == 1).then_some(())).await;

    let refuse = "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
                  create trigger refuse before insert or update on limiter_snapshot execute function refuse();";
    sqlx::raw_sql(refuse).execute(&stage.database.pool).await.expect("the schema is there");
    account.run("small", &json!("second")).await;
    eventually("a snapshot fails", async || stage.host.log().contains("snapshot was not written").then_some(())).await;
    assert_eq!(stored_used(&stage.database).await, 1);
    let allow = sqlx::raw_sql("drop trigger refuse on limiter_snapshot");
    allow.execute(&stage.database.pool).await.expect("the trigger is there");
    eventually("it is stored all the same", async || (stored_used(&stage.database).await == 2).then_some(())).await;

    for number in 0..3 {
        account.run("small", &json!(number)).await;
    }
    let Stage { database, host } = stage;
    host.terminate().await;
    assert!(host.ended().await.success());
    assert_eq!(stored_used(&database).await, 5, "the last snapshot is that of the stop");
}
