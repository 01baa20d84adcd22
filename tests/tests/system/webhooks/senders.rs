//! Who is let in, and as which event.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use super::sender::{
    OTHER_SECRET, SCHEMES, SECRET, Signed, auth, deploy, manifest, now_s, set_secret, shop, sign, sign_body, stage,
    with_master_key,
};
use crate::support::{Account, Answer, Stage, eventually};

/// The run of an accepted event, and whether it was accepted before.
#[track_caller]
fn accepted(answer: Answer) -> (String, bool) {
    let body = answer.expect(202);
    (body["run"].as_str().expect("a run").to_owned(), body["repeat"] == true)
}

async fn kept(stage: &Stage) -> i64 {
    stage.database.ended_count().await + stage.database.unfinished_count().await
}

#[tokio::test]
async fn events_are_taken_from_those_who_sign_them_and_from_nobody_else() {
    let stage = stage().await;
    for scheme in SCHEMES {
        let account = stage.account(&format!("of-{scheme}")).await;
        shop(&account, scheme).await;
        let before = kept(&stage).await;
        let right = sign(scheme, SECRET, "evt_1", now_s());
        let wrong = [
            sign(scheme, OTHER_SECRET, "evt_1", now_s()),
            Signed { body: right.body.replace('7', "8"), ..right.clone() },
            Signed { body: format!("{} ", right.body), ..right.clone() },
            Signed { headers: Vec::new(), ..right.clone() },
        ];
        for wrong in wrong {
            let refused = wrong.send(&account).await.problem(401);
            let detail = refused["detail"].as_str().expect("text");
            assert!(detail.starts_with("the sender is not known here"), "{scheme}: {detail}");
        }
        // A token is no signature.
        account.send("shop", &json!(1)).await.problem(401);
        assert_eq!(kept(&stage).await, before, "{scheme}: nothing is kept of what nobody has signed");

        let (run, is_repeat) = accepted(right.send(&account).await);
        assert!(!is_repeat);
        let shown = account.succeeded(&run).await;
        assert_eq!(shown["event"]["data"]["total"], 7, "{scheme}");
        assert!(!shown.to_string().contains("signature"), "{scheme}: what was signed is kept, the signature is not");
    }
}

#[tokio::test]
async fn a_signed_event_that_is_sent_again_is_one_run_and_answered_as_the_first_time() {
    const TIMES: usize = 12;
    let stage = stage().await;
    for scheme in SCHEMES.into_iter().filter(|scheme| *scheme != "hmac") {
        let account = stage.account(&format!("of-{scheme}")).await;
        shop(&account, scheme).await;
        let signed = sign(scheme, SECRET, "evt_1", now_s());
        let answers = join_all((0..TIMES).map(|_| signed.send(&account))).await;
        let answers: Vec<(String, bool)> = answers.into_iter().map(accepted).collect();
        let runs: BTreeSet<&String> = answers.iter().map(|(run, _)| run).collect();
        assert_eq!(runs.len(), 1, "{scheme}: {answers:?}");
        assert_eq!(answers.iter().filter(|(_, is_repeat)| !is_repeat).count(), 1, "{scheme}: {answers:?}");
        // A sender that tries again signs anew, later; the event is the same.
        let later = accepted(sign(scheme, SECRET, "evt_1", now_s() + 1).send(&account).await);
        assert_eq!(later, (answers[0].0.clone(), true), "{scheme}");
        assert!(!accepted(sign(scheme, SECRET, "evt_2", now_s()).send(&account).await).1, "{scheme}");
    }
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    assert_eq!(stage.database.history().await.len(), 2 * (SCHEMES.len() - 1));
}

#[tokio::test]
async fn an_id_that_was_not_signed_makes_no_new_event_of_an_old_one() {
    let stage = stage().await;
    let account = stage.account("acme").await;
    shop(&account, "standard-webhooks").await;
    let signed = sign("standard-webhooks", SECRET, "evt_1", now_s());
    accepted(signed.send(&account).await);
    for (header, value) in [
        ("webhook-id", "evt_2".to_owned()),
        ("webhook-timestamp", (now_s() + 1).to_string()),
        ("webhook-id", String::new()),
    ] {
        signed.clone().with(header, value).send(&account).await.problem(401);
    }
    let (_, is_repeat) = accepted(signed.with("idempotency-key", "another").send(&account).await);
    assert!(is_repeat, "a key that anybody could add changes nothing");
}

#[tokio::test]
async fn what_was_signed_long_ago_or_ahead_of_time_is_refused() {
    let stage = stage().await;
    for scheme in ["standard-webhooks", "stripe", "slack"] {
        let account = stage.account(&format!("of-{scheme}")).await;
        shop(&account, scheme).await;
        let (old, ahead) = (sign(scheme, SECRET, "evt_1", now_s() - 400), sign(scheme, SECRET, "evt_2", now_s() + 400));
        for signed in [&old, &ahead] {
            signed.send(&account).await.problem(401);
        }
        let mut patient = auth(scheme, &json!("sender"));
        patient["tolerance"] = json!("10m");
        deploy(&account, &patient).await;
        for signed in [&old, &ahead] {
            accepted(signed.send(&account).await);
        }
    }
}

/// Waits until a request is answered with a status: secrets are remembered for some seconds.
async fn until(account: &Account, scheme: &str, secret: &str, status: u16) {
    eventually(&format!("a sender with this secret is told {status}"), async || {
        (sign(scheme, secret, "evt_1", now_s()).send(account).await.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_changed_without_a_gap() {
    let stage = stage().await;
    let account = stage.account("acme").await;
    shop(&account, "stripe").await;
    until(&account, "stripe", SECRET, 202).await;
    until(&account, "stripe", OTHER_SECRET, 401).await;

    set_secret(&account, "next", OTHER_SECRET).await;
    deploy(&account, &auth("stripe", &json!(["next", "sender"]))).await;
    for secret in [OTHER_SECRET, SECRET] {
        accepted(sign("stripe", secret, "evt_1", now_s()).send(&account).await);
    }
    let deleted = account.api.delete("/v1/projects/shop/credentials/sender?force=true").await;
    assert!(deleted.status < 300, "{deleted:?}");
    until(&account, "stripe", SECRET, 401).await;
    accepted(sign("stripe", OTHER_SECRET, "evt_1", now_s()).send(&account).await);

    set_secret(&account, "next", SECRET).await;
    until(&account, "stripe", SECRET, 202).await;
    sign("stripe", OTHER_SECRET, "evt_1", now_s()).send(&account).await.problem(401);
}

#[tokio::test]
async fn slack_is_told_the_text_by_which_it_knows_an_address() {
    let stage = stage().await;
    let account = stage.account("acme").await;
    shop(&account, "slack").await;
    let body = json!({ "type": "url_verification", "challenge": "3eZbrw1a", "token": "x" }).to_string();
    let signed = sign_body("slack", SECRET, "", now_s(), body.clone());
    assert_eq!(signed.send(&account).await.expect(200), json!({ "challenge": "3eZbrw1a" }));
    sign_body("slack", OTHER_SECRET, "", now_s(), body.clone()).send(&account).await.problem(401);
    assert_eq!(kept(&stage).await, 0, "it is no event");

    let other = stage.account("other").await;
    shop(&other, "github").await;
    accepted(sign_body("github", SECRET, "1", now_s(), body).send(&other).await);
}

#[tokio::test]
async fn a_deployment_says_which_credential_of_a_trigger_is_missing_and_how_to_set_it() {
    let stage = stage().await;
    let account = stage.account("acme").await;
    account.upload("json-map").await;
    let auth = auth("github", &json!(["sender", "next"]));
    for missing in [&["sender", "next"][..], &["next"]] {
        let refused = account.api.put("/v1/projects/shop", &manifest(&auth)).await.problem(422);
        let faults = refused["faults"].as_array().expect("faults");
        assert_eq!(faults.len(), missing.len(), "{refused:#}");
        for (fault, name) in faults.iter().zip(missing) {
            assert_eq!(fault["pointer"], "/triggers/0/auth/credential");
            assert_eq!(fault["message"], format!("the project has no credential `{name}`"));
            assert!(fault["fix"].as_str().is_some_and(|fix| fix.contains(&format!("trellis credential set {name}"))));
        }
        set_secret(&account, "sender", SECRET).await;
    }
    set_secret(&account, "next", SECRET).await;
    account.api.put("/v1/projects/shop", &manifest(&auth)).await.expect(201);
}

#[tokio::test]
async fn a_signed_event_of_an_account_over_its_limits_is_refused_and_a_repeat_is_not() {
    let stage = Stage::with(|plan| with_master_key(plan).set("limiter.long_per_day", "1")).await;
    let account = stage.account("acme").await;
    shop(&account, "standard-webhooks").await;
    let first = sign("standard-webhooks", SECRET, "evt_1", now_s());
    let (run, _) = accepted(first.send(&account).await);
    account.succeeded(&run).await;
    eventually("the account is over its limits", async || {
        (sign("standard-webhooks", SECRET, "evt_2", now_s()).send(&account).await.status == 429).then_some(())
    })
    .await;
    assert_eq!(accepted(first.send(&account).await), (run, true));
    sign("standard-webhooks", OTHER_SECRET, "evt_1", now_s()).send(&account).await.problem(401);
}
