//! What a hook tells somebody who has no business there: the same, whatever there is.

use reqwest::Method;
use serde_json::json;

use crate::support::{Stage, project};

#[tokio::test]
async fn a_hook_tells_neither_paths_nor_methods_before_the_sender_is_known() {
    let stage = Stage::new().await;
    let owner = stage.account("owner").await;
    let stranger = stage.account("stranger").await;
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    owner.deploy(&project("shop", &json!({ "a": node }))).await;

    let asked = [
        (Method::POST, "/hooks/owner/shop/events"),
        (Method::DELETE, "/hooks/owner/shop/events"),
        (Method::GET, "/hooks/owner/shop/events"),
        (Method::POST, "/hooks/owner/shop/nothing"),
        (Method::POST, "/hooks/owner/shop"),
        (Method::POST, "/hooks/owner/nothing/events"),
        (Method::POST, "/hooks/nobody/shop/events"),
    ];
    for (who, api, status) in [("nobody", owner.api.with_token(None), 401), ("a stranger", stranger.api.clone(), 404)] {
        let mut answers = Vec::new();
        for (method, path) in &asked {
            let answer = api.send(method.clone(), path, "application/json", "1".into()).await;
            assert!(answer.header("allow").is_none(), "{who} is told which methods there are: {method} {path}");
            answers.push((answer.status, answer.body));
        }
        assert_eq!(answers[0].0, status, "{who}");
        for (answer, (method, path)) in answers.iter().zip(&asked) {
            assert_eq!(answer, &answers[0], "{who} learns from {method} {path}");
        }
    }
    // The owner is told what is wrong.
    owner.api.post("/hooks/owner/shop/nothing", &json!(1)).await.problem(404);
    let other = owner.api.send(Method::DELETE, "/hooks/owner/shop/events", "", "".into()).await;
    assert_eq!((other.status, other.header("allow")), (405, Some("POST")));
}
