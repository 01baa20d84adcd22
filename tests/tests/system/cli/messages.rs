//! What commands say, and how they end, where somebody has typed something else than was meant.

use std::process::Output;

use serde_json::json;
use tokio::process::Command;

use crate::support::{PROGRAM, Stage, command, project, scratch, without_settings};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command without a host, by its exit code and what it says.
async fn alone(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command);
    command.envs(variables.iter().copied()).current_dir(scratch()).args(arguments).kill_on_drop(true);
    let output = command.output().await.expect("the program runs");
    (output.status.code(), said(&output))
}

/// Arguments, variables, exit code, and what is said.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a [&'a str]);

#[tokio::test]
async fn mistakes_are_answered_with_what_to_do_and_the_same_codes_everywhere() {
    let missing = scratch().join("no-such-token").display().to_string();
    let file = format!("tokens.operator_file={missing}");
    let of_api = [("TRELLIS_TOKEN", "trl_x"), ("TRELLIS_URL", "http://127.0.0.1:1/v1")];
    let cases: [Case<'_>; 15] = [
        (&["new", "No Name"], &[], 2, &["lower-case letters"]),
        (&["stroes"], &[], 2, &["stores"]),
        (&["runs"], &[("TRELLIS_TOKEN", "")], 2, &["TRELLIS_TOKEN"]),
        (&["runs"], &[("TRELLIS_TOKEN", "trl_x"), ("TRELLIS_URL", "http://127.0.0.1:1")], 5, &["cannot reach"]),
        (&["runs"], &of_api, 2, &["leave its `/v1` out"]),
        (&["stroes", "--json"], &[], 2, &["{\"error\":", "stores", "\"exit\":2"]),
        (&["send", "main", "/dev/null", "--project", "p"], &[("TRELLIS_TOKEN", "trl_x")], 2, &["an event is JSON"]),
        (&["run", "cancel"], &[("TRELLIS_TOKEN", "trl_x")], 2, &["which run?", "--project"]),
        (&["run", "replay"], &[("TRELLIS_TOKEN", "trl_x")], 2, &["which run?", "--all"]),
        (&["run", "replay", "--all"], &[("TRELLIS_TOKEN", "trl_x")], 2, &["--project"]),
        (&["plugin", "show", "split"], &[("TRELLIS_TOKEN", "trl_x")], 2, &["split@1.2.0"]),
        (&["plugin", "pull", "ghcr.io/acme/split:1"], &[], 2, &["oci://"]),
        (&["plugin", "check", "no-such-file.wasm"], &[], 3, &["cannot read"]),
        (
            &["serve", "--set", &file, "--set", "http.body_max=much"],
            &[],
            2,
            &["2 mistakes", "no-such-token", "body_max"],
        ),
        (&["serve", "--set", "egress.allow_private=db"], &[], 2, &["`db` in the list", "127.0.0.1:9000"]),
    ];
    for (arguments, variables, code, texts) in cases {
        let (ended, said) = alone(arguments, variables).await;
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        for text in texts {
            assert!(said.contains(text), "{arguments:?}: `{text}` is not in: {said}");
        }
    }
    let (ended, codes) = alone(&["help", "exit-codes"], &[]).await;
    assert!(ended == Some(0) && codes.contains("5     unavailable"), "{codes}");
    let (ended, script) = alone(&["completions", "bash"], &[]).await;
    assert!(ended == Some(0) && script.contains("exit-codes") && script.contains("stores"), "{ended:?}");
}

#[tokio::test]
async fn a_folder_that_holds_no_plugin_is_a_fault_of_the_manifest_like_all_others() {
    let folder = scratch().join("without-plugins");
    std::fs::create_dir_all(folder.join("empty")).expect("a folder");
    let manifest =
        "[project]\nname = \"shop\"\ncolour = 1\n[plugins]\na = { path = \"gone\" }\nb = { path = \"empty\" }\n";
    std::fs::write(folder.join("trellis.toml"), manifest).expect("a manifest");
    let folder = folder.display().to_string();
    let nowhere = [("TRELLIS_TOKEN", "trl_x"), ("TRELLIS_URL", "http://127.0.0.1:1")];
    let (ended, said) = alone(&["deploy", &folder], &nowhere).await;
    assert_eq!(ended, Some(4), "{said}");
    for text in ["line 5", "`gone` is no folder", "line 6", "`empty` holds no plugin", "package.json", "`colour`"] {
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
}

#[tokio::test]
async fn a_doctor_says_each_thing_once_and_finds_what_keeps_a_host_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it listens").to_string();
    let missing = format!("credentials.master_key_file={}", scratch().join("no-such-key").display());
    // A database that refuses at once: what it says is not this test's part.
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let (ended, said) =
        alone(&["doctor", "--listen", &address, "--set", &missing, "--database-url", nowhere], &[]).await;
    assert_eq!(ended, Some(1), "{said}");
    for text in [
        address.as_str(),
        "no-such-key",
        "`nothing` at 127.0.0.1:1",
        "npm",
        "✗ listen",
        "✗ credentials.master_key_file",
        "✓ data_dir",
    ] {
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
    let (ended, said) = alone(&["doctor", "--set", "http.body_max=much"], &[]).await;
    assert_eq!((ended, said.matches("body_max").count()), (Some(1), 1), "{said}");
}

#[tokio::test]
async fn a_run_that_was_replayed_is_replayed_again_only_if_that_is_said() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    account.deploy(&project("shop", &json!({ "same": node }))).await;
    let run = account.run("shop", &json!(1)).await["run"].as_str().expect("a run").to_owned();
    let replay = async |more: &[&str]| {
        let arguments = [&["run", "replay", run.as_str(), "--from", "start"], more].concat();
        let output = command(&account, &arguments).await;
        (output.status.code(), said(&output))
    };
    assert_eq!(replay(&[]).await.0, Some(0));
    let (ended, said) = replay(&[]).await;
    assert!(ended == Some(4) && said.contains("--again") && !said.contains("\"again\""), "{said}");
    assert_eq!(replay(&["--again"]).await.0, Some(0));
}
