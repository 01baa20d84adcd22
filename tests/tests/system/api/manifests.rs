//! Manifests that are meant to hurt: each is refused with 422 and a reason, and the host goes on.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Account, Stage, project};

fn good() -> Value {
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    project("shop", &json!({ "a": node }))
}

const HEAD: &str = "[project]\nname = \"shop\"\n[plugins]\njson-map = \"json-map@*\"\n";

/// So many nodes, each with the inputs that are said.
fn nodes(count: usize, input: impl Fn(usize) -> String) -> String {
    let mut text = HEAD.to_owned();
    for number in 0..count {
        let origin = input(number);
        write!(text, "[grids.main.nodes.n{number}]\nplugin = \"json-map\"\ninputs = {{ in = \"{origin}\" }}\n")
            .expect("strings take any text");
    }
    text
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{{\"project\":{{\"name\":{}1{}}}}}", open.repeat(depth), close.repeat(depth))
}

fn hostile() -> Vec<(&'static str, &'static str, String)> {
    const TOML: &str = "application/toml";
    const JSON: &str = "application/json";
    vec![
        ("100,000 nodes", TOML, nodes(100_000, |_| "event".to_owned())),
        ("a cycle of 400", TOML, nodes(400, |number| format!("n{}.out", (number + 1) % 400))),
        ("lists 10,000 deep", JSON, nested("[", "]", 10_000)),
        ("tables 10,000 deep", JSON, nested("{\"a\":", "}", 10_000)),
        ("lists 10,000 deep in TOML", TOML, format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000))),
        ("a key 10,000 deep in TOML", TOML, format!("{}a = 1", "a.".repeat(10_000))),
        ("a table 10,000 deep in TOML", TOML, format!("[{}a]", "a.".repeat(10_000))),
        ("a key twice", JSON, r#"{"project":{"name":"shop","name":"stop"}}"#.to_owned()),
        ("a table twice", TOML, format!("{HEAD}[project]\nname = \"stop\"\n")),
        ("a key twice in TOML", TOML, "[project]\nname = \"shop\"\nname = \"stop\"\n".to_owned()),
        ("100,000 triggers", TOML, format!("{HEAD}{}", "[[triggers]]\n".repeat(50_000))),
        ("a name of 100,000 letters", JSON, format!(r#"{{"project":{{"name":"{}"}}}}"#, "a".repeat(100_000))),
        ("a NUL in a name", JSON, r#"{"project":{"name":"sh\u0000op"}}"#.to_owned()),
        ("a number that no machine holds", JSON, format!(r#"{{"project":{{"name":1e{}}}}}"#, "9".repeat(1_000))),
        ("100,000 plugins", TOML, {
            let mut text = "[plugins]\n".to_owned();
            (0..20_000).for_each(|n| writeln!(text, "p{n} = \"nothing@*\"").expect("strings take any text"));
            text
        }),
    ]
}

#[tokio::test]
async fn a_hostile_manifest_is_refused_with_a_reason_and_hurts_nobody() {
    // The largest of them would be refused for their size alone.
    let stage = Stage::with(|plan| plan.set("http.body_max", "16MiB")).await;
    let account = stage.account("acme").await;
    account.deploy(&good()).await;
    let before = account.api.get("/v1/projects/shop").await.expect(200);
    for (what, kind, text) in hostile() {
        let answer = account.api.send(Method::PUT, "/v1/projects/shop", kind, text.into()).await;
        assert_eq!(answer.status, 422, "{what}: {:#}", answer.body);
        let problem = answer.problem(422);
        assert!(problem.to_string().len() < 256 * 1024, "{what}: the answer has {} bytes", problem.to_string().len());
        canary(&account).await;
    }
    assert_eq!(account.api.get("/v1/projects/shop").await.expect(200), before);
}

/// A run that ends as if nothing had happened.
async fn canary(account: &Account) {
    account.run("shop", &json!("canary")).await;
}
