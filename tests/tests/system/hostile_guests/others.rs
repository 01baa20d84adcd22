//! Guests that reach for what belongs to others: their keys, by any spelling, and what they left in memory.

use serde_json::{Value, json};

use crate::support::{Account, Attack, Ends, Stage, Walls, action, node, project};

const SECRET: &str = "tr3llis-s3cret-0123456789abcdef";

async fn deploy(account: &Account, name: &str, operations: &Value) {
    let storage = action(&json!({ "do": "storage", "operations": operations }));
    account.deploy(&project(name, &json!({ "look": storage }))).await;
}

/// Names that might lead from the store `s` of one project to that of another.
fn spellings(other: &str) -> Vec<String> {
    let mut names = Vec::new();
    for path in [format!("{other}/s"), format!("{other}:s"), format!("{other}.s"), format!("{other}\u{2400}s")] {
        names.extend([path.clone(), format!("/{path}"), format!("../{path}"), format!("s/../{path}")]);
    }
    names.extend(
        ["S", "s ", " s", "s\u{2400}", "s\u{2400}x", "ｓ", "%73", "s/", "./s", "*", "%", "_", "s' or '1'='1", ""]
            .map(str::to_owned),
    );
    names
}

#[tokio::test]
async fn another_projects_keys_cannot_be_read_by_any_spelling() {
    let stage = Stage::new().await;
    let (owner, stranger) = (stage.account("owner").await, stage.account("stranger").await);
    deploy(&owner, "vault", &json!([{ "set": ["s", "key", SECRET] }])).await;
    owner.run("vault", &json!(null)).await;

    let mut operations = vec![json!({ "get": ["s", "key"] }), json!({ "list": ["s", "", null, 1000] })];
    for store in spellings("vault") {
        operations.extend([json!({ "get": [store, "key"] }), json!({ "list": [store, "", null, 1000] })]);
    }
    for key in spellings("vault").into_iter().chain(["../vault/key".to_owned(), "KEY".to_owned()]) {
        operations.push(json!({ "get": ["s", key] }));
        operations.push(json!({ "get": ["s", format!("{key}/key")] }));
    }
    // A project of another account, one of the same account, and one of the same name elsewhere.
    for (account, name) in [(&stranger, "peek"), (&owner, "peek"), (&stranger, "vault")] {
        deploy(account, name, &json!(operations)).await;
        let run = account.run(name, &json!(null)).await;
        let seen = &node(&run, "look")["outputs"]["out"];
        assert!(!seen.to_string().contains(SECRET), "{name} of {}: {seen:#}", account.name);
        assert_eq!((&seen[0], &seen[1][0]), (&Value::Null, &json!([])), "its own store is empty");
        for (operation, answer) in operations.iter().zip(seen.as_array().expect("answers")).skip(2) {
            let is_nothing = answer.is_null() || answer["error"].is_string();
            assert!(is_nothing, "{operation}: {answer}");
        }
    }
    assert_eq!(stage.database.stored(&owner, "key").await.as_deref(), Some(SECRET));
}

#[tokio::test]
async fn nothing_is_left_in_an_instance_that_another_guest_gets() {
    // One instance, so that all calls get the same memory and the same stack.
    let walls = Walls::with(|plan| plan.set("sandbox.instances_max", "1")).await;
    walls.withstand(&Attack::new(json!({ "do": "remember", "secret": SECRET }), Ends::Harmless(""))).await;
    // The secret is in the input of this call too, but not in memory that it takes fresh from the allocator.
    walls.withstand(&Attack::new(json!({ "do": "recall", "secret": SECRET }), Ends::Emits(json!(0)))).await;
}
