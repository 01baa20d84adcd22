//! Credentials: set and never told, sealed in the database, opened for the calls that were granted them, sealed anew under
//! another master key, and in nothing that a host writes down.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use trellis_model::token::Scope;

use crate::support::{
    Account, Answer, Database, Host, HostPlan, Outside, Stage, action, command, eventually, grants, node, project,
    reason, scratch,
};

/// Keys as `trellis credentials new-key` prints them; good for tests alone.
const KEYS: [&str; 3] = [
    "1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "2 AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    "3 AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=",
];

/// Needs escapes in JSON and in URLs.
const SECRET: &str = "s3cret/\"credential\"+of tests";

/// A file with these lines that nobody else can read.
fn file(name: &str, lines: &[&str]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, lines.join("\n")).expect("the scratch folder is ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

fn with_keys(plan: HostPlan, name: &str, keys: &[&str]) -> HostPlan {
    plan.set("credentials.master_key_file", &file(name, keys).display().to_string())
}

async fn stage(name: &str) -> Stage {
    Stage::with(|plan| with_keys(plan, name, &KEYS[..1])).await
}

async fn set(account: &Account, path: &str, value: &str) -> Answer {
    account.api.put(&format!("/v1/projects/{path}"), &json!({ "value": value })).await
}

/// A node that may read the secret `key`.
fn reader(tell: Option<&str>) -> Value {
    let mut node = action(&json!({ "do": "secret", "name": "key", "tell": tell }));
    node["grants"]["secret"] = json!(["key"]);
    node["grants"]["emit"] = json!(["main"]);
    node["retry"] = json!({ "attempts": 1 });
    node
}

#[tokio::test]
async fn a_credential_is_set_listed_and_deleted_and_never_told() {
    let stage = stage("told.keys").await;
    let account = stage.account("acme").await;
    assert_eq!(set(&account, "shop/credentials/key", SECRET).await.status, 201);
    assert_eq!(set(&account, "shop/credentials/key", "another-s3cret").await.status, 204, "a new value");
    let list = account.api.get("/v1/projects/shop/credentials").await.expect(200);
    assert_eq!((&list["items"][0]["name"], &list["items"][0]["key_version"]), (&json!("key"), &json!(1)));
    assert!(!list.to_string().contains("s3cret"), "{list:#}");
    account.api.get("/v1/projects/shop/credentials/key").await.problem(405);
    for (path, value, says) in [
        ("shop/credentials/a b", SECRET, "credential name `a b`"),
        ("shop/credentials/key", "short", "at least 8"),
        ("shop/credentials/key", &"x".repeat(16 * 1024 + 1), "at most 16384"),
        ("a b/credentials/key", SECRET, "project name `a b`"),
    ] {
        let refused = set(&account, path, value).await.problem(400);
        let detail = refused["detail"].as_str().expect("a text");
        assert!(detail.contains(says) && !detail.contains("s3cret"), "{path}: {detail}");
    }
    let refused = account.api.put("/v1/projects/shop/credentials/key", &json!({ "valeu": SECRET })).await.problem(400);
    assert!(!refused.to_string().contains("s3cret"), "{refused:#}");
    assert_eq!(account.api.delete("/v1/projects/shop/credentials/key").await.status, 204);
    account.api.delete("/v1/projects/shop/credentials/key").await.problem(404);
    assert_eq!(account.api.get("/v1/projects/shop/credentials").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn credentials_are_their_accounts_own_and_take_a_scope_of_their_own() {
    let stage = stage("own.keys").await;
    let (owner, stranger) = (stage.account("owner").await, stage.account("stranger").await);
    assert_eq!(set(&owner, "shop/credentials/key", SECRET).await.status, 201);
    stranger.api.get("/v1/projects/shop/credentials").await.problem(404);
    stranger.api.delete("/v1/projects/shop/credentials/key").await.problem(404);
    // A project of the same name is another one.
    assert_eq!(set(&stranger, "shop/credentials/key", "the strangers own").await.status, 201);
    assert_eq!(stage.database.number("select count(*) from credential").await, 2);

    let others: Vec<Scope> =
        Scope::of_account().into_iter().filter(|scope| *scope != Scope::CredentialsWrite).collect();
    let made = owner.api.post("/v1/tokens", &json!({ "name": "others", "scopes": others })).await.expect(201);
    let api = owner.api.with_token(made["token"].as_str());
    api.put("/v1/projects/shop/credentials/key", &json!({ "value": SECRET })).await.problem(403);
    api.get("/v1/projects/shop/credentials").await.problem(403);
    api.delete("/v1/projects/shop/credentials/key").await.problem(403);
    owner.api.post("/v1/credentials/reseal", &json!({})).await.problem(403);

    let wanted = json!({ "name": "shop", "project": "shop", "scopes": ["credentials:write"] });
    let made = owner.api.post("/v1/tokens", &wanted).await.expect(201);
    let api = owner.api.with_token(made["token"].as_str());
    assert_eq!(api.put("/v1/projects/shop/credentials/key", &json!({ "value": SECRET })).await.status, 204);
    // A token of one project makes no others.
    api.put("/v1/projects/shed/credentials/key", &json!({ "value": SECRET })).await.problem(404);
}

#[tokio::test]
async fn a_project_has_no_more_credentials_than_it_may_have() {
    let plan = |plan| with_keys(plan, "most.keys", &KEYS[..1]).set("credentials.per_project_max", "2");
    let stage = Stage::with(plan).await;
    let account = stage.account("acme").await;
    for (name, status) in [("a", 201), ("b", 201), ("a", 204), ("c", 409)] {
        assert_eq!(set(&account, &format!("shop/credentials/{name}"), SECRET).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn a_project_is_not_deployed_before_its_credentials_are_there() {
    let stage = stage("missing.keys").await;
    let account = stage.account("acme").await;
    account.upload("misbehave").await;
    let manifest = project("vault", &json!({ "told": reader(None) }));
    let refused = account.api.put("/v1/projects/vault", &manifest).await.problem(422);
    let fault = &refused["faults"][0];
    assert_eq!(fault["message"], "the project has no credential `key`", "{refused:#}");
    assert_eq!(fault["fix"], "set it with `trellis credential set key --project vault`");
    assert_eq!(set(&account, "vault/credentials/key", SECRET).await.status, 201);
    account.api.put("/v1/projects/vault", &manifest).await.expect(201);
    account.run("vault", &json!(1)).await;

    // Deleted behind the deployment's back, it is missed by name.
    assert_eq!(account.api.delete("/v1/projects/vault/credentials/key?force=true").await.status, 204);
    let run = account.start("vault", &json!(2)).await;
    let ended = account.ended(&run).await;
    assert_eq!(ended["state"], "dead");
    assert!(reason(&ended, "told").1.contains("no credential `key`"), "{ended:#}");
}

#[tokio::test]
async fn a_host_without_a_key_starts_no_project_that_needs_one() {
    let database = Database::fresh().await;
    let host = with_keys(HostPlan::on(&database.url), "with.keys", &KEYS[..1]).start().await;
    let account = Account::new(&host.operator(), "acme").await;
    assert_eq!(set(&account, "vault/credentials/key", SECRET).await.status, 201);
    let manifest = project("vault", &json!({ "told": reader(None) }));
    account.deploy(&manifest).await;
    account.run("vault", &json!(1)).await;
    host.terminate().await;
    host.ended().await;

    let without = HostPlan::on(&database.url).start().await;
    let there = account.at(&without);
    there.send("vault", &json!(2)).await.problem(503);
    let refused = there.api.post("/v1/projects/vault/grids/main/events", &json!(2)).await.problem(503);
    assert!(refused["detail"].as_str().expect("a text").contains("credentials.master_key_file"), "{refused:#}");
    there.api.put("/v1/projects/vault", &manifest).await.problem(422);
    there.api.put("/v1/projects/vault/credentials/key", &json!({ "value": SECRET })).await.problem(409);
    assert!(without.log().contains("a project is not served"), "the operator is told");

    let with = with_keys(HostPlan::on(&database.url), "with.keys", &KEYS[..1]).start().await;
    let run = account.at(&with).start("vault", &json!(3)).await;
    // It may be the keyless host's turn with this account: then the run waits, and is no dead letter.
    stopped(without).await;
    account.at(&with).succeeded(&run).await;
}

#[tokio::test]
async fn a_host_without_a_key_serves_no_former_revision_and_runs_what_needs_no_key() {
    let database = Database::fresh().await;
    // The only host that can run anything has no key.
    let without = HostPlan::on(&database.url).start().await;
    let account = Account::new(&without.operator(), "acme").await;
    let keyless = project("vault", &json!({ "told": action(&json!({ "do": "echo" })) }));
    account.deploy(&keyless).await;
    account.deploy(&project("open", &json!({ "say": action(&json!({ "do": "echo" })) }))).await;
    account.run("vault", &json!(1)).await;
    let with = with_keys(HostPlan::on(&database.url), "beside.keys", &KEYS[..1]).start().await;
    let there = account.at(&with);
    assert_eq!(set(&there, "vault/credentials/key", SECRET).await.status, 201);
    there.deploy(&project("vault", &json!({ "told": reader(None) }))).await;
    let run = there.start("vault", &json!(2)).await;
    stopped(with).await;
    eventually("the host has heard of the new revision", async || {
        (account.send("vault", &json!(3)).await.status == 503).then_some(())
    })
    .await;
    // A run that needs a key is passed over, and holds up none of its account that need none.
    for number in 0..5 {
        account.run("open", &json!(number)).await;
    }
    assert_ne!(account.show(&run).await["state"], "dead");
}

#[tokio::test]
async fn secrets_are_opened_when_there_is_room_for_the_call_and_not_before_it_waits() {
    let outside = Outside::start().await;
    let plan =
        |plan: HostPlan| with_keys(plan, "room.keys", &KEYS[..1]).allow(&outside).set("sandbox.instances_max", "1");
    let stage = Stage::with(plan).await;
    let (hog, account) = (stage.account("hog").await, stage.account("acme").await);
    assert_eq!(set(&account, "vault/credentials/key", SECRET).await.status, 201);
    account.deploy(&project("vault", &json!({ "told": reader(None) }))).await;
    let mut hold = action(&json!({ "do": "fetch", "method": "GET", "url": format!("{}/hold/room", outside.url) }));
    hold["grants"] = grants(&outside);
    hog.deploy(&project("hold", &json!({ "hold": hold }))).await;
    hog.start("hold", &json!(null)).await;
    outside.asked("/hold/room").await;
    let run = account.start("vault", &json!(1)).await;
    eventually("both runs are claimed", async || {
        (stage.database.number("select coalesce(sum(cardinality(ids)), 0)::bigint from claim").await >= 2).then_some(())
    })
    .await;
    let other = "a-much-longer-secret-than-the-one-before";
    assert_eq!(set(&account, "vault/credentials/key", other).await.status, 204);
    outside.release("/hold/room");
    let ended = account.succeeded(&run).await;
    assert_eq!(node(&ended, "told")["outputs"]["out"], json!(other.len()), "{ended:#}");
}

#[tokio::test]
async fn an_account_has_no_more_projects_than_it_may_have() {
    let plan = |plan| with_keys(plan, "projects.keys", &KEYS[..1]).set("uploads.account_projects_max", "2");
    let stage = Stage::with(plan).await;
    let account = stage.account("acme").await;
    for (name, status) in [("a", 201), ("b", 201), ("c", 409), ("a", 204)] {
        assert_eq!(set(&account, &format!("{name}/credentials/key"), SECRET).await.status, status, "{name}");
    }
    account.upload("misbehave").await;
    let manifest = |name| project(name, &json!({ "say": action(&json!({ "do": "echo" })) }));
    account.api.put("/v1/projects/b", &manifest("b")).await.expect(201);
    let refused = account.api.put("/v1/projects/c", &manifest("c")).await.problem(409);
    assert!(refused["detail"].as_str().expect("a text").contains("2 projects"), "{refused:#}");
    assert_eq!(stage.database.number("select count(*) from project").await, 2);
    let other = stage.account("other").await;
    assert_eq!(set(&other, "c/credentials/key", SECRET).await.status, 201, "each account has its own");
}

#[tokio::test]
async fn a_key_file_that_others_can_read_keeps_a_host_from_starting() {
    let path = file("open.keys", &KEYS[..1]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url).set("credentials.master_key_file", &path.display().to_string());
    let host = plan.launch().await;
    assert!(!host.is_ready && host.log().contains("can be read by others"), "{}", host.log());
}

#[tokio::test]
async fn a_sealed_credential_that_is_moved_elsewhere_in_the_database_does_not_open() {
    let stage = stage("moved.keys").await;
    let account = stage.account("acme").await;
    assert_eq!(set(&account, "vault/credentials/key", SECRET).await.status, 201);
    assert_eq!(set(&account, "vault/credentials/other", "0ther-secret").await.status, 201);
    account.deploy(&project("vault", &json!({ "told": reader(None) }))).await;
    account.run("vault", &json!(1)).await;
    let moved = "update credential set (nonce, sealed) = (select nonce, sealed from credential where name = 'other') where name = 'key'";
    sqlx::query(moved).execute(&stage.database.pool).await.expect("it is our database");
    let run = account.start("vault", &json!(2)).await;
    let waiting = eventually("the run waits for a host that can open it", async || {
        let shown = account.show(&run).await;
        shown["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()).then_some(shown)
    })
    .await;
    assert_eq!(reason(&waiting, "told").0, "host");
    assert!(reason(&waiting, "told").1.contains("master key 1 does not open it"), "{waiting:#}");
    // The node's only attempt is not used up by that.
    assert_eq!(node(&waiting, "told")["attempts"], 0, "{waiting:#}");
    assert_eq!(set(&account, "vault/credentials/key", SECRET).await.status, 204);
    account.succeeded(&run).await;
}

/// In how many ways something could have been written down.
fn spellings(text: &str) -> Vec<String> {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    // The beginning is enough, and stays the same whatever follows.
    vec![
        "s3cret/".to_owned(),
        "s3cret%2F".to_owned(),
        "czNjcmV0".to_owned(),
        hex[..16].to_owned(),
        percent[..24].to_owned(),
    ]
}

/// All rows of all tables as text, and bytes as what they say.
async fn dump(database: &Database) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select quote_ident(relname) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&database.pool)
    .await
    .expect("the schema is there");
    let mut dump = String::new();
    for table in tables {
        let rows: Option<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select string_agg(t::text, E'\\n') from {table} t")))
                .fetch_one(&database.pool)
                .await
                .expect("it is our database");
        dump.push_str(&rows.unwrap_or_default());
    }
    dump
}

#[tokio::test]
async fn a_secret_is_in_no_row_no_log_and_no_answer_whatever_a_guest_does_with_it() {
    let outside = Outside::start().await;
    let stage =
        Stage::with(|plan| with_keys(plan, "leak.keys", &KEYS[..1]).allow(&outside).set("log.filter", "trace")).await;
    let account = stage.account("acme").await;
    let mut answers = String::new();
    for way in ["log", "emit", "outbox", "fail", "panic"] {
        assert_eq!(set(&account, &format!("{way}/credentials/key"), SECRET).await.status, 201);
        let mut manifest = project(way, &json!({ "told": reader(Some(way)) }));
        // What is told goes to a grid that only takes it.
        let sink = json!({ "take": { "plugin": "misbehave", "inputs": { "in": { "literal": { "do": "echo" } }, "after": "event" } } });
        manifest["grids"]["told"] = json!({ "nodes": sink });
        manifest["grids"]["main"]["nodes"]["told"]["grants"]["emit"] = json!(["told"]);
        account.deploy(&manifest).await;
        let run = account.start(way, &json!(null)).await;
        answers.push_str(&account.ended(&run).await.to_string());
    }
    let mut sender = action(&json!({ "do": "fetch", "method": "GET", "url": format!("{}/a", outside.url) }));
    sender["grants"]["http"] = json!([format!("GET {}/*", outside.url)]);
    sender["grants"]["credential"] =
        json!({ "name": "key", "host": outside.url, "header": "authorization: Bearer {secret}" });
    assert_eq!(set(&account, "sender/credentials/key", SECRET).await.status, 201);
    account.deploy(&project("sender", &json!({ "send": sender }))).await;
    answers.push_str(&account.run("sender", &json!(null)).await.to_string());
    assert_eq!(outside.received("/a")[0].authorization.as_deref(), Some(&*format!("Bearer {SECRET}")));
    stage.database.settled().await;

    assert!(answers.contains("[redacted]"), "{answers}");
    let (dump, log) = (dump(&stage.database).await, stage.host.log());
    for spelling in spellings(SECRET) {
        let in_hex: String = spelling.bytes().map(|byte| format!("{byte:02x}")).collect();
        for (what, text) in [("an answer", &answers), ("the database", &dump), ("the log", &log)] {
            assert!(!text.contains(&spelling) && !text.contains(&in_hex), "`{spelling}` is in {what}");
        }
    }

    // The search would find it: the same text in an input, which is no secret.
    account.deploy(&project("open", &json!({ "say": action(&json!({ "do": "echo" })) }))).await;
    account.run("open", &json!({ "told": SECRET })).await;
    let mut loud = action(&json!({ "do": "log", "message": SECRET, "times": 1 }));
    loud["inputs"]["after"] = json!("event");
    account.deploy(&project("loud", &json!({ "say": loud }))).await;
    let shown = account.run("loud", &json!(null)).await.to_string();
    assert!(spellings(SECRET).iter().any(|spelling| shown.contains(spelling)), "{shown}");
    let dump = self::dump(&stage.database).await;
    let found = |spelling: &String| {
        let in_hex: String = spelling.bytes().map(|byte| format!("{byte:02x}")).collect();
        dump.contains(spelling) || dump.contains(&in_hex)
    };
    assert!(spellings(SECRET).iter().any(found));
}

async fn key_versions(database: &Database) -> Vec<i32> {
    sqlx::query_scalar("select key_version from credential order by account_id, project_id, name")
        .fetch_all(&database.pool)
        .await
        .expect("the schema is there")
}

async fn stopped(host: Host) {
    host.terminate().await;
    host.ended().await;
}

#[tokio::test]
async fn all_credentials_are_sealed_anew_and_a_rotation_that_was_broken_off_goes_on() {
    let database = Database::fresh().await;
    let plan = |keys: &[&str]| with_keys(HostPlan::on(&database.url), "rotated.keys", keys);
    // A stray one first, sealed with a key that nobody finds at the first attempt.
    let host = plan(&[KEYS[2]]).start().await;
    let operator = host.operator();
    let accounts = [Account::new(&operator, "a").await, Account::new(&operator, "b").await];
    assert_eq!(set(&accounts[0], "vault/credentials/stray", SECRET).await.status, 201);
    stopped(host).await;
    let host = plan(&KEYS[..1]).start().await;
    for account in accounts.each_ref().map(|account| account.at(&host)) {
        assert_eq!(set(&account, "vault/credentials/key", SECRET).await.status, 201);
        account.deploy(&project("vault", &json!({ "told": reader(None) }))).await;
        account.run("vault", &json!(1)).await;
    }
    stopped(host).await;
    assert_eq!(key_versions(&database).await, [1, 3, 1]);

    let host = plan(&KEYS[..2]).start().await;
    let operator = Account { api: operator.at(&host.url), ..accounts[0].clone() };
    let broken_off = command(&operator, &["credentials", "rotate-key"]).await;
    assert_eq!(broken_off.status.code(), Some(1), "{broken_off:?}");
    assert_eq!(key_versions(&database).await, [2, 3, 2], "what could be done is done");
    stopped(host).await;
    let host = plan(&[KEYS[1], KEYS[2]]).set("credentials.key_version", "2").start().await;
    let operator = Account { api: operator.api.at(&host.url), ..operator };
    let done = command(&operator, &["credentials", "rotate-key"]).await;
    assert!(done.status.success(), "{done:?}");
    assert!(
        String::from_utf8_lossy(&done.stdout).contains("1 credentials were sealed anew with master key 2"),
        "{done:?}"
    );
    assert_eq!(key_versions(&database).await, [2, 2, 2]);
    stopped(host).await;

    // The old keys are not needed any more.
    let host = plan(&[KEYS[1]]).start().await;
    for account in &accounts {
        account.at(&host).run("vault", &json!(2)).await;
    }
}

#[tokio::test]
async fn the_command_line_sets_lists_and_deletes_credentials() {
    let stage = stage("command.keys").await;
    let account = stage.account("acme").await;
    let value = file("value.txt", &[SECRET, ""]);
    let set = command(&account, &["credential", "set", "key", &value.display().to_string(), "--project", "shop"]).await;
    assert!(set.status.success(), "{set:?}");
    let listed = command(&account, &["credential", "list", "--project", "shop"]).await;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.starts_with("key  set "), "{text}");
    for output in [&set, &listed] {
        assert!(!format!("{output:?}").contains("s3cret"), "{output:?}");
    }
    let mut node = action(&json!({ "do": "secret", "name": "key" }));
    node["grants"]["secret"] = json!(["key"]);
    account.deploy(&project("shop", &json!({ "told": node }))).await;
    let run = account.run("shop", &json!(null)).await;
    assert_eq!(run["nodes"][0]["outputs"]["out"], json!(SECRET.len()), "without the line break: {run:#}");
    let deleted = command(&account, &["credential", "delete", "key", "--project", "shop", "--force"]).await;
    assert!(deleted.status.success(), "{deleted:?}");
    let again = command(&account, &["credential", "delete", "key", "--project", "shop", "--force"]).await;
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    // A value on the command line is taken for a file, and there is none.
    let refused = command(&account, &["credential", "set", "key", "s0me-value", "--project", "shop"]).await;
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let key = command(&account, &["credentials", "new-key", "--version", "2"]).await;
    let line = String::from_utf8(key.stdout).expect("text");
    let host = with_keys(HostPlan::on(&Database::fresh().await.url), "new.keys", &[line.trim()]).start().await;
    eventually("the host is up with the new key", async || host.is_ready.then_some(())).await;
    account.api.send(Method::GET, "/v1/projects/shop/credentials", "", "".into()).await.expect(200);
}
