//! Records by hand: what is written by API is what nodes read, and fits the same schema.

use reqwest::Method;
use serde_json::json;

use super::{found, keys, records, with_things};
use crate::support::{Stage, node};

const ONE: &str = "/v1/projects/shop/collections/things/records/a%2Fb%20c";

#[tokio::test]
async fn records_are_written_read_found_and_deleted_by_revision() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let read = records(&json!([{ "get": ["things", "a/b c"] }]));
    let mut manifest = with_things("shop", &json!({ "read": read }));
    manifest["collections"]["things"]["schema"] =
        json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } });
    account.deploy(&manifest).await;
    let send = async |method: Method, headers: &[(&str, &str)], body: &'static str| {
        let headers: Vec<(&str, &str)> =
            headers.iter().copied().chain([("content-type", "application/json")]).collect();
        account.api.send_with(method, ONE, &headers, body.into()).await
    };

    let made = send(Method::PUT, &[("if-none-match", "*")], r#"{ "n": 1, "text": "\u0000" }"#).await;
    let etag = made.header("etag").expect("a revision").to_owned();
    assert_eq!(made.expect(201)["key"], "a/b c");
    let answer = account.api.get(ONE).await;
    assert_eq!((answer.header("etag"), &answer.body), (Some(etag.as_str()), &json!({ "n": 1, "text": "\u{0}" })));
    assert_eq!(send(Method::GET, &[("if-none-match", &etag)], "").await.status, 304);
    send(Method::PUT, &[("if-none-match", "*")], r#"{"n":2}"#).await.problem(412);
    let changed = send(Method::PUT, &[("if-match", &etag)], r#"{"n":2}"#).await;
    let second = changed.header("etag").expect("a revision").to_owned();
    changed.expect(200);
    for method in [Method::PUT, Method::DELETE] {
        send(method, &[("if-match", &etag)], r#"{"n":3}"#).await.problem(412);
    }
    let run = account.run("shop", &json!(null)).await;
    assert_eq!(node(&run, "read")["outputs"]["out"][0][0], json!({ "n": 2 }), "{run:#}");

    let unfit = send(Method::PUT, &[], r#"{"n":"one"}"#).await.problem(422);
    assert_eq!((&unfit["type"], &unfit["faults"][0]["pointer"]), (&json!("/problems/unfit-record"), &json!("/n")));
    send(Method::PUT, &[], "{").await.problem(400);

    for n in 0..5 {
        let path = format!("/v1/projects/shop/collections/things/records/k{n}");
        account.api.put(&path, &json!({ "n": n % 3 })).await.expect(201);
    }
    let by_n = found(&account, "shop", &[("order", "n"), ("filter", r#"{"n":{"less":2}}"#), ("limit", "1")]).await;
    assert_eq!(keys(&by_n), ["k0", "k3", "k1", "k4"]);
    assert_eq!(keys(&found(&account, "shop", &[("filter", r#"{"n":2}"#)]).await), ["a/b c", "k2"]);
    let list = account.api.get("/v1/projects/shop/collections").await.expect(200);
    let things = json!({
        "name": "things", "declared": true, "records": 6,
        "indexes": [{ "name": "n", "pointer": "/n", "ready": true }],
    });
    assert_eq!(list["items"], json!([things]));

    send(Method::DELETE, &[("if-match", &second)], "").await.expect_any(&[204]);
    account.api.get(ONE).await.problem(404);
    send(Method::DELETE, &[], "").await.problem(404);
    assert_eq!(stage.database.number("select count(*) from record_index").await, 5, "its entry went with it");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_with_how_to_mend_it() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&with_things("shop", &json!({ "read": records(&json!([])) }))).await;
    let things = "/v1/projects/shop/collections/things";
    for (query, status, text) in [
        ("?order=m", 400, "did you mean `n`?"),
        ("?filter=n%3D1", 400, "write it like"),
        ("?after=somewhere", 400, "no cursor"),
        ("?limit=501", 400, "from 1 to 500"),
        ("?colour=red", 400, "colour"),
    ] {
        let problem = account.api.get(&format!("{things}{query}")).await.problem(status);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(text)), "{query}: {problem:#}");
    }
    let near = account.api.get("/v1/projects/shop/collections/thing").await.problem(404);
    assert!(near["detail"].as_str().is_some_and(|detail| detail.contains("did you mean `things`?")), "{near:#}");
    let long = format!("{things}/records/{}", "x".repeat(513));
    account.api.put(&long, &json!(1)).await.problem(400);
    let schemas = account.api.get("/v1/schemas").await.expect(200);
    for schema in schemas["items"].as_array().expect("a list") {
        let name = schema["name"].as_str().expect("a name");
        let shown = account.api.get(&format!("/v1/schemas/{name}")).await.expect(200);
        assert_eq!(shown["$id"], schema["manifest_name"]);
    }
    account.api.get("/v1/schemas/isue").await.problem(404);
}
