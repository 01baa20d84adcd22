//! What a call may use: the smallest of what the operator gives, the account lowers and the node asks for; and what a call
//! has used.

use serde_json::{Value, json};

use crate::support::{Account, Outside, Stage, action, command, eventually, grants, node, project, reason};

/// A project whose node spins, with these limits of its own.
async fn deploy_spin(account: &Account, limits: &Value) {
    let mut spin = action(&json!({ "do": "spin" }));
    spin["limits"] = limits.clone();
    spin["retry"] = json!({ "attempts": 1 });
    account.deploy(&project("spin", &json!({ "spin": spin }))).await;
}

/// The CPU budget that a spinning node is told, in milliseconds.
async fn told_cpu_ms(account: &Account) -> u64 {
    let run = account.start("spin", &json!(null)).await;
    let run = account.ended(&run).await;
    let (kind, message) = reason(&run, "spin");
    assert_eq!(kind, "limit", "{message}");
    let (_, rest) = message.split_once("CPU budget of ").expect("it says which");
    rest.split(' ').next().and_then(|ms| ms.parse().ok()).expect("a number of milliseconds")
}

#[tokio::test]
async fn the_smallest_of_operator_account_and_node_holds_for_a_call() {
    let stage =
        Stage::with(|plan| plan.set("sandbox.cpu", "200ms").set("ceiling.cpu", "800ms").set("sandbox.wall", "60s"))
            .await;
    let (operator, account) = (stage.host.operator(), stage.account("acme").await);
    let grant = async |cpu: Value| operator.put("/v1/accounts/acme", &json!({ "calls": { "cpu_ms": cpu } })).await;
    let lower = async |cpu: Value| account.api.put("/v1/limits", &json!({ "calls": { "cpu_ms": cpu } })).await;
    deploy_spin(&account, &json!({})).await;
    assert_eq!(told_cpu_ms(&account).await, 200, "what every account has");

    assert_eq!(grant(json!(600)).await.expect(200)["calls"]["granted"], json!({ "cpu_ms": 600 }));
    assert_eq!(told_cpu_ms(&account).await, 600, "raised by the operator");

    let problem = grant(json!(801)).await.problem(400);
    let refusal = "call limit `cpu` is 801ms; the ceiling of this host is 800ms";
    assert_eq!(problem["detail"], refusal, "{problem:#}");

    assert_eq!(lower(json!(400)).await.expect(200)["effective"]["cpu_ms"], 400);
    assert_eq!(told_cpu_ms(&account).await, 400, "lowered by the account");
    let problem = lower(json!(601)).await.problem(400);
    let refusal = "call limit `cpu` is 601ms; only an operator can give this account more than 600ms";
    assert_eq!(problem["detail"], refusal, "{problem:#}");

    deploy_spin(&account, &json!({ "cpu": "100ms" })).await;
    assert_eq!(told_cpu_ms(&account).await, 100, "lowered by the node");
    deploy_spin(&account, &json!({ "cpu": "5s" })).await;
    assert_eq!(told_cpu_ms(&account).await, 400, "a node raises nothing");

    lower(json!(null)).await.expect(200);
    grant(json!(300)).await.expect(200);
    assert_eq!(told_cpu_ms(&account).await, 300, "what the account had lowered is lifted, what it was given holds");
    grant(json!(null)).await.expect(200);
    assert_eq!(told_cpu_ms(&account).await, 200);
    let limits = account.api.get("/v1/limits").await.expect(200);
    assert_eq!((&limits["calls"]["granted"], &limits["calls"]["lowered"]), (&json!({}), &json!({})));
}

#[tokio::test]
async fn limits_are_changed_by_those_alone_who_may() {
    let stage = Stage::new().await;
    let (account, other) = (stage.account("acme").await, stage.account("other").await);
    deploy_spin(&account, &json!({})).await;
    let more = json!({ "calls": { "cpu_ms": 10 } });
    account.api.put("/v1/accounts/acme", &more).await.problem(403);
    let of_project = json!({ "name": "p", "project": "spin", "scopes": ["projects:write"] });
    let made = account.api.post("/v1/tokens", &of_project).await.expect(201);
    account.api.with_token(made["token"].as_str()).put("/v1/limits", &more).await.problem(403);
    let reading = json!({ "name": "r", "scopes": ["runs:read"] });
    let made = account.api.post("/v1/tokens", &reading).await.expect(201);
    account.api.with_token(made["token"].as_str()).put("/v1/limits", &more).await.problem(403);
    for (body, says) in [
        (json!({ "calls": { "cpu_msec": 1 } }), "did you mean `cpu_ms`?"),
        (json!({ "calls": { "requests_at_once": 0 } }), "from 1 to 1000 is allowed"),
        (json!({ "call": {} }), "unknown field"),
    ] {
        let problem = account.api.put("/v1/limits", &body).await.problem(400);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{problem:#}");
    }
    account.api.put("/v1/limits", &more).await.expect(200);
    let limits = other.api.get("/v1/limits").await.expect(200);
    assert_eq!(limits["calls"]["effective"]["cpu_ms"], 2_000, "another account has what it had");
}

/// What was said, however it was laid out.
fn words(said: &[u8]) -> String {
    String::from_utf8_lossy(said).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn another_host_heeds_changed_limits_and_the_command_line_shows_and_lowers_them() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let second = crate::support::HostPlan::on(&stage.database.url).start().await;
    let lowered = command(&account, &["limits", "--call-limit", "cpu=150ms", "--call-limit", "memory=32MiB"]).await;
    let said = words(&lowered.stdout);
    assert!(lowered.status.success() && said.contains("cpu 150ms (lowered)"), "{said}");
    assert!(said.contains("memory 32MiB (lowered)") && said.contains("wall 30s "), "{said}");
    let refused = command(&account, &["limits", "--call-limit", "cpu=1m"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("only an operator can give this account more than 2s"),
        "{said}"
    );

    let operator = Account { api: stage.host.operator(), ..account.clone() };
    let granted = command(&operator, &["account", "create", "acme", "--call-limit", "requests=70"]).await;
    assert!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
    let shown = command(&operator, &["account", "show", "acme"]).await;
    let said = words(&shown.stdout);
    assert!(said.contains("cpu 150ms (lowered)") && said.contains("requests 70 (granted)"), "{said}");

    // Whichever of the two runs it.
    eventually("the other host has heard of it", async || {
        let limits = account.at(&second).api.get("/v1/limits").await.expect(200);
        (limits["calls"]["effective"]["cpu_ms"] == 150).then_some(())
    })
    .await;
    deploy_spin(&account, &json!({})).await;
    assert_eq!(told_cpu_ms(&account).await, 150);
}

#[tokio::test]
async fn what_a_call_has_used_is_kept_with_its_node_and_shown() {
    let outside = Outside::start().await;
    let stage = Stage::facing(&outside).await;
    let account = stage.account("acme").await;
    let mut busy = action(&json!({
        "do": "storage-around-fetch",
        "before": [{ "set": ["s", "a", "1"] }, { "get": ["s", "a"] }],
        "request": { "method": "POST", "url": format!("{}/metered", outside.url), "body": "twelve bytes" },
        "after": [{ "set": ["s", "b", "1"] }],
    }));
    busy["grants"]["http"] = grants(&outside)["http"].clone();
    let talk = action(&json!({ "do": "print", "line": "nine here", "times": 3 }));
    let spin = action(&json!({ "do": "spin-for", "ms": 50 }));
    account.deploy(&project("metered", &json!({ "busy": busy, "talk": talk, "spin": spin }))).await;
    let run = account.run("metered", &json!(null)).await;
    let metering = &node(&run, "busy")["metering"];
    for (name, expected) in [("storage_operations", 3), ("requests", 1), ("request_bytes", 12)] {
        assert_eq!(metering[name], expected, "{name}: {metering:#}");
    }
    for name in ["wall_us", "cpu_us", "memory_bytes_max", "response_bytes"] {
        assert!(metering[name].as_u64() > Some(0), "{name}: {metering:#}");
    }
    assert_eq!(node(&run, "talk")["metering"]["log_bytes"], 30);
    assert!(node(&run, "spin")["metering"]["cpu_us"].as_u64() > Some(10_000), "{run:#}");
    let shown = command(&account, &["run", "show", run["run"].as_str().expect("a run has an id")]).await;
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    for text in
        ["ms on a CPU", "KiB of memory", "1 requests (12 bytes sent, ", "3 storage operations", "30 bytes logged"]
    {
        assert!(said.contains(text), "`{text}` is not in {said}");
    }
}
