//! Guests that use up what they are given, and the neighbours who must not notice.

use serde_json::{Value, json};

use crate::support::{Stage, Walls, action, eventually, node, project, reason};

/// What a guest does, and what its run says in the end.
struct Hostile {
    name: &'static str,
    action: Value,
    limits: Value,
    kind: &'static str,
    says: &'static [&'static str],
}

fn hostile_guests() -> Vec<Hostile> {
    vec![
        Hostile {
            name: "loop",
            action: json!({ "do": "spin" }),
            // Little enough to be used up within the wall time on a machine that is busy with other things.
            limits: json!({ "cpu": "300ms" }),
            kind: "limit",
            says: &["used up its CPU budget of 300 ms"],
        },
        Hostile {
            name: "bomb",
            action: json!({ "do": "allocate", "mib": 512 }),
            limits: json!({}),
            kind: "limit",
            says: &["asked for more memory than its limit of 64 MiB"],
        },
        Hostile {
            name: "trap",
            action: json!({ "do": "panic", "message": "the sky is falling" }),
            limits: json!({}),
            kind: "trap",
            says: &["trapped", "the sky is falling"],
        },
        Hostile {
            name: "sleeper",
            action: json!({ "do": "sleep", "ms": 3_600_000 }),
            limits: json!({ "wall": "500ms" }),
            kind: "timeout",
            says: &["took longer than its limit of 500 ms"],
        },
    ]
}

fn project_of(guest: &Hostile) -> Value {
    let mut bad = action(&guest.action);
    bad["retry"] = json!({ "attempts": 1 });
    bad["limits"] = guest.limits.clone();
    let after = json!({
        "plugin": "json-map", "inputs": { "in": "bad.out" }, "config": { "expression": "." },
    });
    project(guest.name, &json!({ "bad": bad, "after": after }))
}

#[tokio::test]
async fn hostile_guests_end_as_failed_nodes_with_readable_reasons_and_disturb_nobody() {
    let stage = Stage::new().await;
    let (bad, good) = (stage.account("bad").await, stage.account("good").await);
    let canary =
        json!({ "same": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": ". + 1" } } });
    good.deploy(&project("canary", &canary)).await;
    good.run("canary", &json!(0)).await;

    let guests = hostile_guests();
    let mut runs = Vec::new();
    for guest in &guests {
        bad.deploy(&project_of(guest)).await;
        runs.push(bad.start(guest.name, &json!(null)).await);
    }
    // More loops than there are cores.
    let mut loops = Vec::new();
    for _ in 0..4 {
        loops.push(bad.start("loop", &json!(null)).await);
    }
    let mut canaries = Vec::new();
    for number in 0..5 {
        let run = good.run("canary", &json!(number)).await;
        assert_eq!(node(&run, "same")["outputs"]["out"], number + 1);
        canaries.push(run["ended_at"].as_str().expect("it has ended").to_owned());
    }

    for (guest, run) in guests.iter().zip(&runs) {
        let run = bad.ended(run).await;
        assert_eq!(run["state"], "dead", "{}: {run:#}", guest.name);
        assert_eq!(node(&run, "bad")["state"], "failed", "{}", guest.name);
        assert_eq!(node(&run, "bad")["attempts"], 1, "{}", guest.name);
        let (kind, message) = reason(&run, "bad");
        assert_eq!(kind, guest.kind, "{}: {message}", guest.name);
        for text in guest.says {
            assert!(message.contains(text), "{}: {message}", guest.name);
            let error = run["error"].as_str().expect("a dead letter says why");
            assert!(error.starts_with("node `bad`: ") && error.contains(text), "{}: {error}", guest.name);
        }
        let called: Vec<&Value> = run["nodes"].as_array().expect("nodes").iter().map(|node| &node["node"]).collect();
        assert_eq!(called, ["bad"], "{}: nothing behind a failed node is called", guest.name);
    }
    let mut last_loop = String::new();
    for run in &loops {
        let run = bad.ended(run).await;
        last_loop = last_loop.max(run["ended_at"].as_str().expect("it has ended").to_owned());
    }
    let last_canary = canaries.into_iter().max().expect("there were some");
    assert!(last_canary < last_loop, "the canaries ended at {last_canary}, the loops at {last_loop}");
    good.run("canary", &json!(1)).await;
}

#[tokio::test]
async fn with_twice_as_many_spinning_guests_as_cores_the_api_answers_and_a_canary_ends() {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let walls = Walls::with(|plan| plan.set("sandbox.instances_max", "64").set("sandbox.wall", "600s")).await;
    let granted = json!({ "calls": { "cpu_ms": 60_000 } });
    walls.stage.host.operator().put("/v1/accounts/bad", &granted).await.expect(200);
    walls.bad.deploy(&project("spin", &json!({ "spin": action(&json!({ "do": "spin" })) }))).await;
    let mut runs = Vec::new();
    for number in 0..2 * cores {
        runs.push(walls.bad.start("spin", &json!(number)).await);
    }
    for run in &runs {
        eventually("it spins", async || (walls.bad.show(run).await["state"] == "running").then_some(())).await;
    }
    for _ in 0..5 {
        walls.canary().await;
        walls.good.api.get("/v1/runs").await.expect(200);
    }
    for run in &runs {
        assert_eq!(walls.bad.show(run).await["state"], "running", "they were spinning all the while");
        walls.bad.api.post(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
    }
    for run in &runs {
        walls.bad.ended(run).await;
    }
}
