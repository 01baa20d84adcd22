//! What somebody learns who is no sender: nothing.

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use trellis_model::token::{RANDOM_BYTES, TokenKind, TokenText};

use super::sender::{OTHER_SECRET, SECRET, auth, manifest, now_s, set_secret, shop, sign, stage, with_master_key};
use crate::support::{Account, Api, HostPlan, Stage, eventually};

/// A request of somebody who is no sender.
struct Attempt {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// All that somebody could tell answers by.
#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    /// But for the date.
    headers: Vec<(String, String)>,
    body: Value,
}

/// Requests to what is there and to what is not, none of them signed as it should be.
fn attempts() -> Vec<Attempt> {
    let wrong = sign("standard-webhooks", OTHER_SECRET, "evt_1", now_s());
    let old = sign("standard-webhooks", SECRET, "evt_1", now_s() - 4_000);
    let large = Bytes::from(vec![b'x'; (1 << 20) + 1]);
    let hook = |path: &str| format!("/hooks/acme/{path}");
    let post = |path: &str| Attempt {
        method: Method::POST,
        path: hook(path),
        headers: wrong.headers.clone(),
        body: wrong.body.clone().into(),
    };
    let with = |method: Method, path: &str, headers: &[(&'static str, String)], body: &'static [u8]| Attempt {
        method,
        path: hook(path),
        headers: headers.to_vec(),
        body: Bytes::from_static(body),
    };
    vec![
        post("shop/events"),
        Attempt { headers: old.headers, body: old.body.into(), ..post("shop/events") },
        with(Method::POST, "shop/events", &[], b"1"),
        with(Method::POST, "shop/events", &wrong.headers, b"{no json"),
        with(Method::POST, "shop/events", &wrong.headers, b""),
        Attempt { body: large, ..post("shop/events") },
        with(Method::GET, "shop/events", &wrong.headers, b""),
        with(Method::DELETE, "shop/events", &wrong.headers, b""),
        // Without its credential.
        post("bare/events"),
        // For tokens.
        post("plain/events"),
        with(Method::PUT, "plain/events", &wrong.headers, b"1"),
        post("shop/nothing"),
        post("shop"),
        post("nothing/events"),
        Attempt { path: "/hooks/nobody/shop/events".to_owned(), ..post("shop/events") },
    ]
}

/// What each of the attempts is answered.
async fn answers(api: &Api) -> Vec<(String, Told)> {
    let mut all = Vec::new();
    for Attempt { method, path, headers, body } in attempts() {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let what = format!("{method} {path} with {} bytes", body.len());
        let answer = api.send_with(method, &path, &headers, body).await;
        let told = answer.headers.iter().filter(|(name, _)| !["date", "connection"].contains(&name.as_str()));
        let headers = told.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
        all.push((what, Told { status: answer.status, headers, body: answer.body }));
    }
    all
}

#[track_caller]
fn assert_alike(answers: &[(String, Told)], status: u16) {
    let (_, first) = &answers[0];
    assert_eq!(first.status, status, "{first:?}");
    for (what, told) in answers {
        assert_eq!(told, first, "{what}");
    }
}

/// An account with a project for signatures, one for tokens, and one whose credential is not there any more; over its limits.
async fn acme(stage: &Stage) -> Account {
    let account = stage.account("acme").await;
    shop(&account, "standard-webhooks").await;
    for (name, auth) in [("plain", json!("token")), ("bare", auth("standard-webhooks", &json!("gone")))] {
        let path = format!("/v1/projects/{name}/credentials/gone");
        account.api.put(&path, &json!({ "value": SECRET })).await.expect_any(&[201, 204]);
        let mut manifest = manifest(&auth);
        manifest["project"]["name"] = json!(name);
        account.deploy(&manifest).await;
        account.api.delete(&format!("{path}?force=true")).await.expect_any(&[204, 200]);
    }
    account
}

#[tokio::test]
async fn whoever_is_no_sender_cannot_tell_a_trigger_from_nothing() {
    let stage = Stage::with(|plan| with_master_key(plan).set("limiter.long_per_day", "1")).await;
    let account = acme(&stage).await;
    let run = sign("standard-webhooks", SECRET, "evt_1", now_s()).send(&account).await.expect(202);
    account.succeeded(run["run"].as_str().expect("a run")).await;
    eventually("the account is over its limits", async || {
        (sign("standard-webhooks", SECRET, "evt_2", now_s()).send(&account).await.status == 429).then_some(())
    })
    .await;

    let nobody = account.api.with_token(None);
    assert_alike(&answers(&nobody).await, 401);
    let unknown = TokenText::from_random(TokenKind::Account, &[9; RANDOM_BYTES]);
    assert_alike(&answers(&account.api.with_token(Some(unknown.reveal()))).await, 401);
    assert_alike(&answers(&account.api.with_token(Some("trl_amistyped"))).await, 401);
    let stranger = stage.account("stranger").await;
    assert_alike(&answers(&stranger.api).await, 404);
    let of_stranger = json!({ "name": "none", "scopes": ["events:write"] });
    let token = stranger.api.post("/v1/tokens", &of_stranger).await.expect(201);
    assert_alike(&answers(&stranger.api.with_token(token["token"].as_str())).await, 404);
}

#[tokio::test]
async fn the_owner_of_a_project_is_told_what_is_wrong_with_an_address() {
    let stage = stage().await;
    let account = acme(&stage).await;
    let told = async |method: Method, path: &str, status: u16, says: &str| {
        let answer = account.api.send(method, path, "application/json", "1".into()).await.problem(status);
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{path}: {answer:#}");
    };
    told(Method::GET, "/hooks/acme/shop/events", 405, "takes POST").await;
    told(Method::POST, "/hooks/acme/shop/nothing", 404, "has no trigger at `/nothing`").await;
    told(Method::POST, "/hooks/acme/nothing/events", 404, "no such trigger is deployed").await;
    told(Method::POST, "/hooks/acme/shop/events", 401, "the sender is not known here").await;

    // A token of one project is told of no other.
    let wanted = json!({ "name": "shop", "project": "shop", "scopes": ["events:write"] });
    let made = account.api.post("/v1/tokens", &wanted).await.expect(201);
    let api = account.api.with_token(made["token"].as_str());
    api.get("/hooks/acme/shop/events").await.problem(405);
    for path in ["/hooks/acme/plain/events", "/hooks/acme/nothing/events"] {
        let refused = api.get(path).await.problem(404);
        assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("of this token")), "{refused:#}");
    }
}

#[tokio::test]
async fn a_trigger_whose_credential_comes_later_takes_events_from_then_on() {
    let stage = stage().await;
    let account = acme(&stage).await;
    let signed = || sign("standard-webhooks", SECRET, "evt_1", now_s());
    signed().send_to(&account, "/hooks/acme/bare/events").await.problem(401);
    eventually("the log names what is missing", async || {
        let log = stage.host.log();
        (log.contains("no sender can sign") && log.contains("trellis credential set gone")).then_some(())
    })
    .await;
    let path = "/v1/projects/bare/credentials/gone";
    account.api.put(path, &json!({ "value": SECRET })).await.expect_any(&[201]);
    eventually("the sender is let in", async || {
        (signed().send_to(&account, "/hooks/acme/bare/events").await.status == 202).then_some(())
    })
    .await;
    set_secret(&account, "sender", "whsec_not base64 at all").await;
    eventually("a secret that is none lets nobody in", async || {
        (signed().send(&account).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_host_without_master_keys_says_that_it_cannot_check_and_others_go_on() {
    let stage = stage().await;
    let account = acme(&stage).await;
    let blind = HostPlan::on(&stage.database.url).start().await;
    let signed = sign("standard-webhooks", SECRET, "evt_1", now_s());
    let refused = signed.send(&account.at(&blind)).await;
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    refused.problem(503);
    signed.send(&account).await.expect(202);
}
