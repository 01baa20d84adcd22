//! How much secret text one node may be granted: held to when a project is deployed and when a value is set.

use serde_json::json;

use crate::support::{Stage, action, project};

/// As `trellis credentials new-key` prints it; good for tests alone.
const KEY: &str = "1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const KIB: usize = 1024;

#[tokio::test]
async fn more_secret_text_than_a_node_may_be_granted_is_refused_by_a_deployment_and_by_a_new_value() {
    let stage = Stage::with(|plan| plan.with_variable("TRELLIS_CREDENTIALS_MASTER_KEY", KEY)).await;
    let account = stage.account("acme").await;
    account.upload("misbehave").await;
    let set = async |name: &str, kib: usize| {
        let path = format!("/v1/projects/vault/credentials/{name}");
        account.api.put(&path, &json!({ "value": "s".repeat(kib * KIB) })).await
    };
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        assert_eq!(set(name, 15).await.status, 201);
    }
    let mut reader = action(&json!({ "do": "echo" }));
    reader["grants"]["secret"] = json!(names);
    let mut other = action(&json!({ "do": "echo" }));
    other["grants"]["secret"] = json!(["a"]);
    let manifest = project("vault", &json!({ "reader": reader, "other": other }));
    let refused = account.api.put("/v1/projects/vault", &manifest).await.problem(422);
    let faults = refused["faults"].as_array().expect("a list");
    let message = faults[0]["message"].as_str().expect("a text");
    assert!(message.contains("`reader` have 76800 bytes together, at most 65536"), "{refused:#}");
    assert_eq!(faults.len(), 1, "the other node has a fifth of that: {refused:#}");

    assert_eq!(set("e", 1).await.status, 204);
    account.api.put("/v1/projects/vault", &manifest).await.expect(201);
    let refused = set("e", 15).await.problem(409);
    assert!(
        refused["detail"].as_str().is_some_and(|text| text.contains("node `reader` of grid `main`")),
        "{refused:#}"
    );
    assert_eq!(set("e", 2).await.status, 204, "less than there is room for");
    account.run("vault", &json!(1)).await;
}
