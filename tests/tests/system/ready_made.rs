//! The ready-made plugins on a real host: a repository is synced and a changelog is written of it, and whatever their READMEs
//! show can be deployed.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use trellis_model::manifest::Manifest;

use crate::support::{
    Account, Database, Host, HostPlan, build_ready_made, eventually,
    forge::{self, Forge, Mishap},
    node, ready_made, repository,
};

/// 2026-01-05, a Monday.
const BEGIN: u64 = 1_767_571_200;
const ISSUES: u64 = 130;
const COMMITS: u64 = 70;

async fn stage(settings: impl FnOnce(HostPlan) -> HostPlan) -> (Database, Host, Account) {
    build_ready_made();
    let database = Database::fresh().await;
    let host = settings(HostPlan::on(&database.url)).start().await;
    let account = Account::new(&host.operator(), "acme").await;
    (database, host, account)
}

async fn upload(account: &Account, name: &str) {
    let plugin = ready_made(name);
    let path = format!("/v1/plugins/{name}/{}", plugin.version);
    let answer = account.api.send(Method::PUT, &path, "application/wasm", plugin.bytes.clone().into()).await;
    assert!(matches!(answer.status, 200 | 201), "{name} is not accepted: {:#}", answer.body);
}

/// A project that syncs a repository in small pages, a few a call, and writes changelogs of it.
fn manifest(forge: &Forge) -> Value {
    let sync = json!({
        "plugin": "github-sync",
        "inputs": { "in": "event" },
        "config": {
            "repository": "acme/shop", "api_url": forge.url, "per_page": 20, "pages_max": 3, "continue_in": "sync",
        },
        "retry": { "attempts": 6, "first": "50ms", "factor": 1.0 },
        "grants": {
            "http": [format!("GET {}/*", forge.url)], "records": ["issues:rw", "commits:rw"], "storage": ["sync:rw"],
            "emit": ["sync"],
        },
    });
    let write = json!({
        "plugin": "changelog",
        "inputs": { "version": "event#/release/tag_name", "until": "event#/release/published_at" },
        "config": { "source": "github:acme/shop" },
        "grants": { "records": ["commits:r", "issues:r", "changelogs:rw"] },
    });
    let trigger = |name: &str| json!({ "name": name, "kind": "http", "grid": name, "path": format!("/{name}") });
    json!({
        "project": { "name": "shop" },
        "plugins": { "github-sync": "github-sync@*", "changelog": "changelog@*" },
        "collections": {
            "issues": { "schema": "trellis:issue", "indexes": { "source": "/source", "closed": "/closed_at" } },
            "commits": { "schema": "trellis:commit", "indexes": { "source": "/source", "created": "/created_at" } },
            "changelogs": { "schema": "trellis:changelog", "indexes": { "source": "/source", "released": "/released_at" } },
        },
        "triggers": [trigger("sync"), trigger("release")],
        "grids": {
            "sync": { "concurrency_key": "/repository/full_name", "nodes": { "fetch": sync } },
            "release": { "nodes": { "write": write } },
        },
    })
}

async fn start(account: &Account, trigger: &str, event: &Value) -> String {
    let answer = account.api.post(&format!("/hooks/acme/shop/{trigger}"), event).await.expect(202);
    answer["run"].as_str().expect("a run has an id").to_owned()
}

/// Starts a sync, and waits until it and all that it starts have ended. What the last run says of it.
async fn sync(account: &Account, database: &Database) -> Value {
    let event = json!({ "repository": { "full_name": "acme/shop" } });
    let first = start(account, "sync", &event).await;
    account.ended(&first).await;
    eventually("every run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
    let runs = account.api.get("/v1/runs?grid=sync&limit=1").await.expect(200);
    let last = account.succeeded(runs["items"][0]["run"].as_str().expect("a run has an id")).await;
    node(&last, "fetch")["outputs"]["synced"].clone()
}

async fn count(database: &Database, collection: &str) -> i64 {
    sqlx::query_scalar("select records from collection where name = $1")
        .bind(collection)
        .fetch_one(&database.pool)
        .await
        .expect("the schema is there")
}

fn fill(forge: &Forge) {
    for number in 1..=ISSUES {
        forge.issue(number, BEGIN + number, &json!({}));
    }
    forge.issue(ISSUES + 1, BEGIN + 500, &json!({ "pull_request": { "url": "x" } }));
    for number in 0..COMMITS {
        let kind = ["feat", "fix(cart)", "chore"][usize::try_from(number % 3).expect("small")];
        forge.commit(
            &format!("{number:040x}"),
            BEGIN + 1_000 + number,
            &format!("{kind}: change {number}\n\nCloses #{}", number + 1),
        );
    }
}

#[tokio::test]
async fn a_repository_is_synced_completely_and_incrementally_and_its_changelog_is_written() {
    let forge = Forge::start().await;
    fill(&forge);
    let allowed = forge.address.to_string();
    let (database, _host, account) = stage(|plan| plan.set("egress.allow_private", &allowed)).await;
    for plugin in ["github-sync", "changelog"] {
        upload(&account, plugin).await;
    }
    account.api.put("/v1/projects/shop", &manifest(&forge)).await.expect(201);

    // Completely, whatever comes between: a limit that is used up at the first request, and gateways that fail.
    forge.mishaps([Mishap::LimitUsedUp { for_s: 1 }, Mishap::BadGateway]);
    let synced = sync(&account, &database).await;
    assert_eq!(synced["complete"], json!(true), "{synced:#}");
    assert_eq!((count(&database, "issues").await, count(&database, "commits").await), (ISSUES as i64, COMMITS as i64));
    let answered = forge.answered();
    assert_eq!((answered[0], answered[1]), (403, 502), "{answered:?}");
    assert!(answered.iter().filter(|status| **status == 200).count() >= 7 + 4, "in pages of 20: {answered:?}");

    // Nothing has changed: the second time the forge says so by a tag alone.
    sync(&account, &database).await;
    forge.answered();
    let synced = sync(&account, &database).await;
    assert_eq!((&synced["pages"], &synced["issues"], &synced["commits"]), (&json!(0), &json!(0), &json!(0)));
    assert_eq!(forge.answered(), [304, 304]);

    // Incrementally: one issue is closed, one is new, two commits came.
    let closed_at = forge::time(BEGIN + 90_000);
    forge.issue(
        7,
        BEGIN + 90_000,
        &json!({ "state": "closed", "closed_at": closed_at, "title": "Where is the manual?" }),
    );
    forge.issue(500, BEGIN + 90_001, &json!({}));
    forge.commit(&"a".repeat(40), BEGIN + 90_002, "feat!: coupons (#500)\n\nBREAKING CHANGE: carts have a new shape");
    forge.commit(&"b".repeat(40), BEGIN + 90_003, "docs: a manual");
    let before = start(&account, "release", &release("1.0.0", BEGIN + 80_000)).await;
    account.succeeded(&before).await;
    let synced = sync(&account, &database).await;
    assert_eq!(synced["complete"], json!(true), "{synced:#}");
    let counts = (count(&database, "issues").await, count(&database, "commits").await);
    assert_eq!(counts, (ISSUES as i64 + 1, COMMITS as i64 + 2), "{synced:#}");
    assert!(forge.answered().len() <= 6, "not all over again");

    let run = start(&account, "release", &release("1.1.0", BEGIN + 100_000)).await;
    let run = account.succeeded(&run).await;
    let written = &node(&run, "write")["outputs"];
    let expected = "\
## 1.1.0 (2026-01-06)

### Breaking changes

- carts have a new shape ([aaaaaaa](https://forge.example.com/acme/shop/commit/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa), [#500](https://forge.example.com/acme/shop/issues/500))

### Features

- coupons ([aaaaaaa](https://forge.example.com/acme/shop/commit/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa), [#500](https://forge.example.com/acme/shop/issues/500))

### Closed issues

- Where is the manual? ([#7](https://forge.example.com/acme/shop/issues/7))
";
    assert_eq!(written["markdown"], json!(expected));
    assert_eq!(written["changelog"]["previous"], json!("1.0.0"));
    assert_eq!(count(&database, "changelogs").await, 2);
}

/// As GitHub tells of a release.
fn release(version: &str, at: u64) -> Value {
    json!({ "action": "published", "release": { "tag_name": version, "published_at": forge::time(at) } })
}

/// The manifest in a README: its first block of TOML, with the project and the plugins that it leaves to the reader.
fn manifest_of(readme: &str) -> Option<String> {
    let (_, behind) = readme.split_once("```toml\n")?;
    let (snippet, _) = behind.split_once("```")?;
    let named = snippet.lines().filter_map(|line| line.trim().strip_prefix("plugin = \"")?.strip_suffix('"'));
    let mut plugins: Vec<&str> = named.collect();
    plugins.sort_unstable();
    plugins.dedup();
    let plugins: Vec<String> = plugins.iter().map(|plugin| format!("{plugin} = \"{plugin}@*\"\n")).collect();
    Some(format!("[project]\nname = \"readme\"\n\n[plugins]\n{}\n{snippet}", plugins.concat()))
}

/// What may be set as a credential of any plugin: a key of Standard Webhooks, and long enough.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The credentials that a manifest names.
fn credentials_of(manifest: &str) -> Vec<String> {
    let Ok(manifest) = Manifest::from_toml(manifest) else { return Vec::new() };
    manifest.credential_uses().iter().map(|used| used.name.to_owned()).collect()
}

#[tokio::test]
async fn what_the_readmes_of_the_plugins_show_can_be_deployed() {
    const KEY: &str = "1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let (_database, _host, account) = stage(|plan| plan.with_variable("TRELLIS_CREDENTIALS_MASTER_KEY", KEY)).await;
    let mut readmes = Vec::new();
    for plugin in build_ready_made() {
        upload(&account, &plugin.name).await;
        let path = repository().join("plugins").join(&plugin.name).join("README.md");
        readmes.push((
            &plugin.name,
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        ));
    }
    let mut faults = Vec::new();
    for (name, readme) in readmes {
        let manifest = manifest_of(&readme).unwrap_or_else(|| panic!("the README of {name} shows no manifest"));
        for credential in credentials_of(&manifest) {
            let path = format!("/v1/projects/readme/credentials/{credential}");
            account.api.put(&path, &json!({ "value": SECRET })).await;
        }
        let path = "/v1/projects/readme?dry_run=true";
        let answer = account.api.send(Method::PUT, path, "application/toml", manifest.clone().into()).await;
        if answer.status != 200 {
            faults.push(format!("{name}: {:#}\n{manifest}", answer.body));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
