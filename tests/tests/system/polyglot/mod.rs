//! One transformation in many languages through the same grid: what comes out is the same, to the letter, and so is what it
//! writes, logs and fails with.

mod compiled;
mod component;
mod tools;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::process::Command;

pub use self::tools::KEPT;

use crate::support::{Account, Outside, PROGRAM, Stage, grants, node, reason, repository, skip, without_settings};

const VERSION: &str = "0.1.0";
/// The folders of the guests. Those that `trellis plugin build` builds come first.
const LANGUAGES: [&str; 5] = ["rust", "starlingmonkey", "python", "c", "go"];

fn guest(language: &str) -> PathBuf {
    repository().join("tests/guests/polyglot").join(language)
}

/// The component of a guest, built as an author of such a plugin would.
async fn component_of(language: &'static str) -> Result<Bytes, String> {
    let compiled: fn(&Path) -> Result<Vec<u8>, String> = match language {
        "c" => compiled::c,
        "go" => compiled::go,
        _ => return built(language).await,
    };
    let made = tokio::task::spawn_blocking(move || compiled(&guest(language))).await.expect("it does not panic");
    made.map(Bytes::from)
}

/// By the command of an author.
async fn built(language: &str) -> Result<Bytes, String> {
    buildable(&guest(language)).await
}

/// The component of a plugin's folder, by `trellis plugin build`.
///
/// # Errors
/// What it said if there is a tool that this machine lacks. A plugin that does not build is a failure of the test.
pub async fn buildable(folder: &Path) -> Result<Bytes, String> {
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    command.env("TRELLIS_BUILD_DIR", KEPT).current_dir(repository()).kill_on_drop(true);
    let output = command.args(["--json", "plugin", "build"]).arg(folder).output().await.expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if errors.contains("failed to build") {
        panic!("{} does not build: {errors}", folder.display());
    }
    if !output.status.success() {
        return Err(errors);
    }
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let path = told["path"].as_str().expect("where it lies");
    Ok(std::fs::read(path).expect("it was just built").into())
}

/// All of them, in the order of [`LANGUAGES`], one after the other: each of these builds takes what the machine has.
///
/// # Errors
/// Every language that cannot be built here, and why.
async fn components() -> Result<Vec<(&'static str, Bytes)>, String> {
    let (mut components, mut missing) = (Vec::new(), Vec::new());
    for language in LANGUAGES {
        match component_of(language).await {
            Ok(bytes) => components.push((language, bytes)),
            Err(why) => missing.push(format!("{language}: {why}")),
        }
    }
    if missing.is_empty() { Ok(components) } else { Err(missing.join("\n")) }
}

/// A host that takes its time to compile: interpreters are large, and here it does not do so by itself.
async fn stage(outside: &Outside) -> Stage {
    Stage::with(|plan| {
        let patient = plan.set("uploads.compile_wall", "10m").set("uploads.compile_cpu", "10m");
        patient.set("http.request_timeout", "12m").allow(outside)
    })
    .await
}

async fn upload(account: &Account, language: &str, component: Bytes) {
    let path = format!("/v1/plugins/{language}/{VERSION}");
    let answer = account.api.send(Method::PUT, &path, "application/wasm", component).await;
    assert!(matches!(answer.status, 200 | 201), "{language} is not accepted: {:#}", answer.body);
}

/// A project with a grid in which all languages get the event, and one grid for each of them alone.
fn manifest(outside: &Outside) -> Value {
    let mut grants = grants(outside);
    grants["storage"] = json!(["s:rw"]);
    let one = |language: &str| {
        json!({
            "plugin": language, "inputs": { "in": "event" }, "config": { "factor": 2 }, "grants": grants,
            "retry": { "attempts": 2, "first": "1s" },
        })
    };
    let all: Map<String, Value> = LANGUAGES.iter().map(|language| ((*language).to_owned(), one(language))).collect();
    let mut grids = json!({ "all": { "nodes": all } });
    for language in LANGUAGES {
        grids[language] = json!({ "nodes": { "one": one(language) } });
    }
    let plugins: Map<String, Value> =
        LANGUAGES.iter().map(|language| ((*language).to_owned(), json!(format!("{language}@{VERSION}")))).collect();
    json!({ "project": { "name": "polyglot" }, "plugins": plugins, "grids": grids })
}

async fn start(account: &Account, grid: &str, event: &Value) -> String {
    let accepted = account.api.post(&format!("/v1/projects/polyglot/grids/{grid}/events"), event).await.expect(202);
    accepted["run"].as_str().expect("an accepted event has a run").to_owned()
}

#[tokio::test]
async fn the_same_transformation_in_every_language_comes_to_the_same() {
    let components = match components().await {
        Ok(components) => components,
        Err(why) => return skip(&format!("not every language can be built:\n{why}")),
    };
    let outside = Outside::start().await;
    let stage = stage(&outside).await;
    let account = stage.account("acme").await;
    for (language, component) in components {
        upload(&account, language, component).await;
    }
    account.api.put("/v1/projects/polyglot", &manifest(&outside)).await.expect(201);

    one_event_for_all(&account, &outside).await;
    assert_eq!(
        stage.database.stored(&account, "calls").await.as_deref(),
        Some(LANGUAGES.len().to_string().as_str()),
        "each has counted"
    );
    a_failure_of_each(&account).await;
    a_retry_of_each(&account, &outside).await;
    assert_eq!(
        stage.database.stored(&account, "calls").await.as_deref(),
        Some((2 * LANGUAGES.len()).to_string().as_str()),
        "what failed has counted nothing"
    );
    the_descriptions(&account).await;
}

/// The same input gives the same output, and the same line in the log.
async fn one_event_for_all(account: &Account, outside: &Outside) {
    let event = json!({ "n": 21, "url": format!("{}/once", outside.url) });
    let run = account.succeeded(&start(account, "all", &event).await).await;
    for language in LANGUAGES {
        let node = node(&run, language);
        assert_eq!(node["outputs"], json!({ "out": { "n": 42, "status": 200 } }), "{language}: {run:#}");
        assert_eq!(node["log"][0]["message"], "n = 21", "{language}: {run:#}");
        assert_eq!(node["metering"]["requests"], 1, "{language}: {run:#}");
    }
    assert_eq!(outside.received("/once").len(), LANGUAGES.len());
}

/// The class and the message of a failure.
async fn a_failure_of_each(account: &Account) {
    for language in LANGUAGES {
        let run = account.ended(&start(account, language, &json!({ "n": "x" })).await).await;
        assert_eq!(run["state"], "dead", "{language}: {run:#}");
        assert_eq!(reason(&run, "one"), ("invalid-input", "`n` is no integer"), "{language}");
        assert_eq!(node(&run, "one")["attempts"], 1, "{language}: it is not retried");
    }
}

/// What is worth another attempt gets one.
async fn a_retry_of_each(account: &Account, outside: &Outside) {
    let mut runs = Vec::new();
    for language in LANGUAGES {
        let event = json!({ "n": -4, "url": format!("{}/flaky/1/{language}", outside.url) });
        runs.push((language, start(account, language, &event).await));
    }
    for (language, run) in runs {
        let run = account.succeeded(&run).await;
        assert_eq!(node(&run, "one")["outputs"]["out"], json!({ "n": -8, "status": 200 }), "{language}: {run:#}");
        assert_eq!(node(&run, "one")["attempts"], 2, "{language}: {run:#}");
    }
}

/// Ports and schemas, as each language describes them.
async fn the_descriptions(account: &Account) {
    let mut ports = BTreeSet::new();
    for language in LANGUAGES {
        let shown = account.api.get(&format!("/v1/plugins/{language}/{VERSION}")).await.expect(200);
        let description = &shown["description"];
        let required = &description["inputs"]["in"]["schema"]["required"];
        assert_eq!(required, &json!(["n"]), "{language}: {shown:#}");
        ports.insert(description["outputs"].as_object().expect("ports").keys().cloned().collect::<Vec<_>>());
    }
    assert_eq!(ports, BTreeSet::from([vec!["out".to_owned()]]));
}
