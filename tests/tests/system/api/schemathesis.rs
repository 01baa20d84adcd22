//! Schemathesis against a real host: requests made from `/openapi.json`, good and bad ones, with a good token and with
//! another. No answer may say that the host has failed, none may be of another shape than the document says, and nothing
//! that the document forbids may be taken.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::json;
use tokio::process::Command;
use trellis_model::token::{RANDOM_BYTES, TokenKind, TokenText};

use crate::{
    support::{Stage, project, scratch, skip},
    webhooks::with_master_key,
};

const VERSION: &str = "4.32.5";
/// Tries of one operation in one phase.
const EXAMPLES: &str = "20";
/// As much as is shown of what it says.
const LINE_LETTERS_MAX: usize = 400;
const TOLD_LETTERS_MAX: usize = 10_000;
const INSTALL_LONGEST: Duration = Duration::from_secs(300);
const RUN_LONGEST: Duration = Duration::from_secs(900);

/// All but `positive_data_acceptance`: what fits the document may still be refused, because of what there is and is not.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,\
                      ignored_auth";

async fn run(program: &Path, arguments: &[&str], longest: Duration) -> Result<Output, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(scratch()).stdin(Stdio::null()).kill_on_drop(true);
    let what = format!("{} {}", program.display(), arguments.first().unwrap_or(&""));
    match tokio::time::timeout(longest, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what} does not end")),
    }
}

/// The program, installed once into what cargo keeps for tests.
async fn installed() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("schemathesis-{VERSION}"));
    let (program, done) = (folder.join("bin/schemathesis"), folder.join("installed"));
    if done.exists() {
        return Ok(program);
    }
    let shown = folder.to_string_lossy().into_owned();
    let wanted = format!("schemathesis=={VERSION}");
    let pip = folder.join("bin/pip").to_string_lossy().into_owned();
    let steps: [(&str, &[&str]); 2] =
        [("python3", &["-m", "venv", "--clear", &shown]), (&pip, &["install", "--quiet", &wanted])];
    for (program, arguments) in steps {
        let output = run(Path::new(program), arguments, INSTALL_LONGEST).await?;
        if !output.status.success() {
            return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    std::fs::write(done, VERSION).map_err(|error| error.to_string())?;
    Ok(program)
}

/// Runs it with a token; what it says if it has found something.
async fn findings(program: &Path, url: &str, token: &str, more: &[&str]) -> Option<String> {
    let (document, bearer) = (format!("{url}/openapi.json"), format!("Authorization: Bearer {token}"));
    let mut arguments = vec!["run", &document, "--header", &bearer, "--checks", CHECKS];
    // One worker: several trip over each other within some versions of Python. Without state from answer to answer: it
    // would revoke the token that it is using.
    arguments.extend(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES]);
    arguments.extend(["--seed", "20", "--no-shrink", "--continue-on-failure", "--suppress-health-check", "all"]);
    arguments.extend(["--request-timeout", "30", "--warnings", "off"]);
    arguments.extend_from_slice(more);
    let output = run(program, &arguments, RUN_LONGEST).await.expect("it runs");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Some of what it sends is as long as it may be.
    let short = |line: &str| line.chars().take(LINE_LETTERS_MAX).chain(['\n']).collect::<String>();
    let told: String = told.lines().map(short).collect();
    // The summary is at the end, and the traces of its own mistakes are long.
    let end: String = told.chars().skip(told.chars().count().saturating_sub(TOLD_LETTERS_MAX)).collect();
    (!output.status.success()).then_some(end)
}

#[tokio::test]
async fn schemathesis_finds_neither_a_failure_nor_nonsense_that_is_taken() {
    let program = match installed().await {
        Ok(program) => program,
        Err(why) => return skip(&format!("Schemathesis {VERSION} cannot be installed: {why}")),
    };
    // With master keys: without them every credential is refused, whatever was sent. With room for addresses that are too
    // long for what they say: a host has no say in what is longer than it reads.
    let stage =
        Stage::with(|plan| with_master_key(plan.set("log.filter", "warn").set("http.header_max", "1MiB"))).await;
    // Small numbers are tried first: none of them is to be the token that is used.
    sqlx::query("alter table token alter column id restart with 5000000")
        .execute(&stage.database.pool)
        .await
        .expect("ours");
    let account = stage.account("acme").await;
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    account.deploy(&project("shop", &json!({ "a": node }))).await;
    account.run("shop", &json!(1)).await;

    let (url, good) = account.api.credentials();
    assert_eq!(findings(&program, url, good, &[]).await, None, "with a good token");
    account.api.get("/v1/runs").await.expect(200);
    let operator = stage.host.operator_token();
    let accounts = ["--include-path-regex", "^/v1/accounts"];
    assert_eq!(findings(&program, url, operator, &accounts).await, None, "with an operator's token");
    let unknown = TokenText::from_random(TokenKind::Account, &[8; RANDOM_BYTES]);
    assert_eq!(findings(&program, url, unknown.reveal(), &[]).await, None, "with a token of nobody");
    assert_eq!(findings(&program, url, "nonsense", &[]).await, None, "with no token at all");
    assert!(!stage.host.log().contains("panicked"), "a handler panicked");
}
