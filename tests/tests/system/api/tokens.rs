//! The life of a token: made, listed, rotated, expired, revoked; and the operator's first one.

use std::{
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use trellis_model::token::{RANDOM_BYTES, Scope, TokenKind, TokenText};

use crate::support::{Account, Answer, Api, Database, HostPlan, Proxy, Stage, Weather, command, eventually, scratch};

/// Within which a revocation must hold, and a moment for the answer itself.
const REVOKED_WITHIN: Duration = Duration::from_millis(5_500);

async fn make(api: &Api, wanted: &Value) -> (i64, String) {
    let made = api.post("/v1/tokens", wanted).await.expect(201);
    (made["id"].as_i64().expect("an id"), made["token"].as_str().expect("its text").to_owned())
}

async fn refused(api: &Api) -> Answer {
    eventually("the token is refused", async || {
        let answer = api.get("/v1/runs").await;
        (answer.status != 200).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_revocation_holds_on_every_host_within_five_seconds() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let other = HostPlan::on(&stage.database.url).start().await;
    let (id, text) = make(&account.api, &json!({ "name": "brief", "scopes": ["runs:read"] })).await;
    let here = account.api.with_token(Some(&text));
    let there = here.at(&other.url);
    here.get("/v1/runs").await.expect(200);
    there.get("/v1/runs").await.expect(200);

    let revoked = Instant::now();
    assert_eq!(account.api.delete(&format!("/v1/tokens/{id}")).await.status, 204);
    let (one, two) = tokio::join!(refused(&here), refused(&there));
    assert!(revoked.elapsed() < REVOKED_WITHIN, "{:?}", revoked.elapsed());
    one.problem(401);
    two.problem(401);
    let listed = account.api.get("/v1/tokens").await.expect(200);
    assert!(listed["items"].as_array().expect("a list").iter().all(|token| token["id"] != id), "{listed:#}");
}

#[tokio::test]
async fn a_token_expires_although_it_was_used_a_moment_ago() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let wanted = json!({ "name": "brief", "scopes": ["runs:read"], "expires_in_seconds": 2 });
    let (_, text) = make(&account.api, &wanted).await;
    let (made, api) = (Instant::now(), account.api.with_token(Some(&text)));
    api.get("/v1/runs").await.expect(200);
    refused(&api).await.problem(401);
    // Sooner than it would be forgotten: what is remembered expires, too.
    assert!(made.elapsed() < Duration::from_millis(3_900), "{:?}", made.elapsed());
}

#[tokio::test]
async fn a_rotated_token_and_its_successor_are_both_good_for_a_while() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let (id, old_text) = make(&account.api, &json!({ "name": "robot", "scopes": ["runs:read"] })).await;
    let rotated =
        account.api.post(&format!("/v1/tokens/{id}/rotate"), &json!({ "overlap_seconds": 3 })).await.expect(201);
    let old = account.api.with_token(Some(&old_text));
    let new = account.api.with_token(rotated["token"].as_str());
    new.get("/v1/runs").await.expect(200);
    old.get("/v1/runs").await.expect(200);
    new.get("/v1/tokens").await.problem(403);

    let again = account.api.post(&format!("/v1/tokens/{id}/rotate"), &json!({})).await.problem(409);
    assert!(again["detail"].as_str().is_some_and(|text| text.contains("was rotated already")), "{again:#}");
    let listed = account.api.get("/v1/tokens").await.expect(200);
    let items = listed["items"].as_array().expect("a list");
    let of = |id: &Value| items.iter().find(|token| token["id"] == *id).expect("it is listed");
    assert_eq!(of(&json!(id))["replaced_by"], rotated["id"]);
    assert_eq!(of(&rotated["id"])["name"], "robot");

    refused(&old).await.problem(401);
    new.get("/v1/runs").await.expect(200);
}

#[tokio::test]
async fn nobody_rotates_a_token_that_may_do_more_than_their_own_or_outlives_it() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let (strong, _) = make(&account.api, &json!({ "name": "strong", "scopes": Scope::of_account() })).await;
    let wanted = json!({ "name": "weak", "scopes": ["tokens:write"], "expires_in_seconds": 1_000 });
    let (weak, weak_text) = make(&account.api, &wanted).await;
    let weak_api = account.api.with_token(Some(&weak_text));
    weak_api.post(&format!("/v1/tokens/{strong}/rotate"), &json!({})).await.problem(403);
    account.api.post(&format!("/v1/tokens/{}/rotate", strong + 1_000), &json!({})).await.problem(404);

    let wanted = json!({ "expires_in_seconds": 1_000_000 });
    let made = weak_api.post(&format!("/v1/tokens/{weak}/rotate"), &wanted).await.expect(201);
    let is_bounded: bool = sqlx::query_scalar(
        "select made.expires_at <= weak.expires_at from token made, token weak
         where made.id = $1 and weak.id = $2",
    )
    .bind(made["id"].as_i64())
    .bind(weak)
    .fetch_one(&stage.database.pool)
    .await
    .expect("both are there");
    assert!(is_bounded, "the new one outlives its maker");
}

#[tokio::test]
async fn operators_list_rotate_and_revoke_their_own_tokens_by_api_and_command_line() {
    let stage = Stage::new().await;
    let operator = stage.host.operator();
    stage.account("acme").await;
    let as_operator = Account { api: operator.clone(), ..stage.account("bystander").await };
    let run = async |arguments: &[&str]| {
        let output = command(&as_operator, arguments).await;
        let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {told}{error}");
        told.trim().to_owned()
    };
    let text = run(&["token", "create", "--name", "second", "--scope", "operator"]).await;
    assert!(text.starts_with("trl_o"), "{text}");
    let listed = run(&["token", "ls"]).await;
    assert!(listed.contains("first") && listed.contains("second") && !listed.contains("tests"), "{listed}");

    let page = operator.get("/v1/tokens").await.expect(200);
    let items = page["items"].as_array().expect("a list");
    assert!(items.iter().all(|token| token["kind"] == "operator"), "the operators' own alone: {page:#}");
    let id = items.iter().find(|token| token["name"] == "second").expect("it is listed")["id"].to_string();
    let successor = run(&["token", "rotate", &id, "--overlap", "0"]).await;
    refused(&operator.acting_for("acme").with_token(Some(&text))).await.problem(401);
    operator.with_token(Some(&successor)).get("/v1/accounts").await.expect(200);

    let page = operator.get("/v1/tokens").await.expect(200);
    let second = page["items"].as_array().expect("a list").iter().find(|token| token["name"] == "second");
    let id = second.expect("the successor is listed")["id"].to_string();
    run(&["token", "revoke", &id]).await;
    refused(&operator.acting_for("acme").with_token(Some(&successor))).await.problem(401);
    // An account's token is none of the operators', until the account is named.
    let of_account = operator.acting_for("acme").get("/v1/tokens").await.expect(200);
    let id = of_account["items"][0]["id"].to_string();
    operator.delete(&format!("/v1/tokens/{id}")).await.problem(404);
    assert_eq!(operator.acting_for("acme").delete(&format!("/v1/tokens/{id}")).await.status, 204);
}

#[tokio::test]
async fn a_mistyped_token_costs_the_database_nothing() {
    let stage = Stage::new().await;
    let proxy = Proxy::before(&stage.database.url).await;
    let host = HostPlan::on(&proxy.url(&stage.database.url)).start().await;
    let good = TokenText::from_random(TokenKind::Account, &[3; RANDOM_BYTES]);
    let mistyped = format!("{}0", &good.reveal()[..good.reveal().len() - 1]);
    let api = Api::new(&host.url, None);
    proxy.set(Weather::Refused);
    // Without the database nothing can be said of a token that could be one; of one that cannot, the same as ever.
    api.with_token(Some(good.reveal())).get("/v1/runs").await.problem(503);
    for text in [mistyped.as_str(), "trl_", "nonsense", &"x".repeat(5_000)] {
        let problem = api.with_token(Some(text)).get("/v1/runs").await.problem(401);
        assert!(!problem.to_string().contains(&mistyped), "it is told back: {problem:#}");
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_no_token() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let (_, text) = account.api.credentials();
    let nobody = account.api.with_token(None);
    for name in ["token", "access_token", "authorization", "bearer"] {
        nobody.get(&format!("/v1/runs?{name}={text}")).await.problem(401);
        nobody.get(&format!("/v1/limits?{name}={text}")).await.problem(401);
    }
    assert!(!stage.host.log().contains(text), "the log has it");
}

#[tokio::test]
async fn an_account_has_so_many_tokens_and_no_more() {
    let stage = Stage::with(|plan| plan.set("tokens.account_max", "3")).await;
    let account = stage.account("acme").await;
    let wanted = json!({ "name": "more", "scopes": ["runs:read"] });
    let (id, _) = make(&account.api, &wanted).await;
    make(&account.api, &wanted).await;
    let problem = account.api.post("/v1/tokens", &wanted).await.problem(409);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("revoke")), "{problem:#}");
    let rotate = format!("/v1/tokens/{id}/rotate");
    account.api.post(&rotate, &json!({})).await.problem(409);
    let rotated = account.api.post(&rotate, &json!({ "overlap_seconds": 0 })).await.expect(201);
    account.api.delete(&format!("/v1/tokens/{}", rotated["id"])).await;
    make(&account.api, &wanted).await;
    // Others have their own.
    stage.account("globex").await;
}

#[tokio::test]
async fn a_rotation_has_bounds_and_only_one_successor() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let (id, _) = make(&account.api, &json!({ "name": "robot", "scopes": ["runs:read"] })).await;
    let rotate = format!("/v1/tokens/{id}/rotate");
    let year = 366_i64 * 86_400;
    for wanted in [
        json!({ "overlap_seconds": -1 }),
        json!({ "overlap_seconds": 20 * year }),
        json!({ "expires_in_seconds": 0 }),
        json!({ "expires_in_seconds": 200 * year }),
    ] {
        account.api.post(&rotate, &wanted).await.problem(400);
    }
    let made = account.api.post(&rotate, &json!({})).await.expect(201);
    let again = account.api.post(&rotate, &json!({})).await.problem(409);
    let successor = format!("replaced by token {}", made["id"]);
    assert!(again["detail"].as_str().is_some_and(|text| text.contains(&successor)), "{again:#}");
    let valid = stage.database.number("select count(*) from token where name = 'robot'").await;
    assert_eq!(valid, 2, "nothing was made of what was refused");
}

#[tokio::test]
async fn whoever_holds_a_revoked_token_makes_no_other_with_it() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let (id, text) = make(&account.api, &json!({ "name": "stolen", "scopes": ["tokens:write"] })).await;
    let stolen = account.api.with_token(Some(&text));
    // It is remembered from here on.
    stolen.get("/v1/tokens").await.expect(200);
    assert_eq!(account.api.delete(&format!("/v1/tokens/{id}")).await.status, 204);
    stolen.post("/v1/tokens", &json!({ "name": "for good", "scopes": ["tokens:write"] })).await.problem(401);
}

#[tokio::test]
async fn tokens_that_are_good_no_more_are_deleted_a_month_later_but_the_latest_of_operators_own() {
    let stage = Stage::with(|plan| plan.set("history.housekeeping", "1s")).await;
    let account = stage.account("acme").await;
    let wanted = json!({ "name": "robot", "scopes": ["runs:read"], "expires_in_seconds": 1_000 });
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(make(&account.api, &wanted).await.0);
    }
    let operator = Api::new(&stage.host.url, Some(stage.host.operator_token()));
    let (own, _) = make(&operator, &json!({ "name": "own", "scopes": ["operator"] })).await;
    let aged = "update token set revoked_at = now() - $2::interval, expires_at = now() + $3::interval where id = $1";
    // Revoked long ago, expired long ago, revoked of late, expired of late, good; and an operator's that was revoked.
    let ages = [
        (ids[0], Some("31 days"), None),
        (ids[1], None, Some("-31 days")),
        (ids[2], Some("29 days"), None),
        (ids[3], None, Some("-29 days")),
        (own, Some("31 days"), None),
    ];
    // The thousand that are kept, and one that is older than all of them.
    let many = "insert into token (name, digest, scopes, revoked_at)
                select 'former', sha256(n::text::bytea), '{operator}', now() - interval '40 days' - n * interval '1 second'
                from generate_series(0, 999) as n";
    sqlx::query(many).execute(&stage.database.pool).await.expect("ours");
    for (id, revoked, expires) in ages {
        sqlx::query(aged).bind(id).bind(revoked).bind(expires).execute(&stage.database.pool).await.expect("ours");
    }
    ids.push(own);
    let kept = [ids[2], ids[3], ids[4], own];
    let left = async || -> Vec<i64> {
        let left = sqlx::query_scalar("select id from token where id = any ($1) order by array_position($1, id)");
        left.bind(&ids).fetch_all(&stage.database.pool).await.expect("ours")
    };
    let left = eventually("the old ones are gone", async || {
        let left = left().await;
        (left.len() <= kept.len()).then_some(left)
    })
    .await;
    assert_eq!(left, kept);
    eventually("of operators' own the oldest one is gone", async || {
        let former = stage.database.number("select count(*) from token where name = 'former'").await;
        assert!(former >= 999, "with the one of a month ago they are a thousand");
        let oldest = "select count(*) from token where digest = sha256('999'::bytea)";
        (former == 999 && stage.database.number(oldest).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_configuration_makes_no_more_operator_tokens_than_there_may_be() {
    let database = Database::fresh().await;
    let text = |number| TokenText::from_random(TokenKind::Operator, &[number; RANDOM_BYTES]);
    let given = |number: u8| {
        let plan = HostPlan::on(&database.url).set("tokens.account_max", "2");
        plan.with_variable("TRELLIS_TOKENS_OPERATOR", text(number).reveal())
    };
    for number in [1, 2] {
        given(number).start().await;
    }
    let third = given(3).launch().await;
    assert!(!third.is_ready && third.log().contains("tokens.account_max"), "{}", third.log());
    assert_eq!(database.number("select count(*) from token where account_id is null").await, 2);
    let known = given(1).start().await;
    let first = Api::new(&known.url, Some(text(1).reveal()));
    let listed = first.get("/v1/tokens").await.expect(200);
    let second = listed["items"][1]["id"].as_i64().expect("an id");
    assert_eq!(first.delete(&format!("/v1/tokens/{second}")).await.status, 204);
    given(3).start().await;
    let revoked = given(2).launch().await;
    assert!(!revoked.is_ready && revoked.log().contains("was revoked"), "{}", revoked.log());
}

#[tokio::test]
async fn hosts_that_start_together_make_one_first_token() {
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url);
    let (one, two, three) = tokio::join!(plan.start(), plan.start(), plan.start());
    let made = [&one, &two, &three].iter().filter(|host| host.has_operator_token()).count();
    assert_eq!(made, 1);
}

#[tokio::test]
async fn an_operator_token_is_given_by_a_file_or_a_variable_and_then_none_is_printed() {
    let database = Database::fresh().await;
    let text = TokenText::from_random(TokenKind::Operator, &[5; RANDOM_BYTES]);
    let file = scratch().join("operator-token");
    std::fs::write(&file, format!("{}\n", text.reveal())).expect("the scratch folder is ours");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let by_file = HostPlan::on(&database.url).set("tokens.operator_file", file.to_str().expect("a plain path"));
    let by_variable = HostPlan::on(&database.url).with_variable("TRELLIS_TOKENS_OPERATOR", text.reveal());
    for plan in [by_file, by_variable] {
        let host = plan.start().await;
        assert!(!host.has_operator_token(), "one was given");
        let api = Api::new(&host.url, Some(text.reveal()));
        api.get("/v1/accounts").await.expect(200);
        assert!(!host.log().contains(text.reveal()), "the log has it");
    }
}
