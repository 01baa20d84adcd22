//! `trellis plugin check`: what a host would say, without one.

use std::{fs, process::Output};

use serde_json::Value;

use super::{
    bytes::{Upload, small},
    upload,
};
use crate::support::{Account, Stage, command, scratch};

async fn check(account: &Account, name: &str, bytes: &[u8], more: &[&str]) -> Output {
    let path = scratch().join(name);
    fs::write(&path, bytes).expect("the scratch folder is ours");
    let path = path.to_str().expect("a plain path");
    command(account, &[&["plugin", "check", path], more].concat()).await
}

#[tokio::test]
async fn a_check_says_what_an_upload_would_be_told() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let cases = [
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec()),
        ("text.wat", b"(component)".to_vec()),
        ("empty.wasm", b"\0asm\x0d\0\x01\0".to_vec()),
        ("cut.wasm", small().bytes()[..200].to_vec()),
        (
            "import.wasm",
            wat::parse_str(r#"(component (import "acme:db/query@1.0.0" (instance)))"#).expect("valid text"),
        ),
    ];
    for (name, bytes) in cases {
        let problem = upload(&account, "refused", 1, Upload::of(bytes.clone())).await.problem(422);
        let output = check(&account, name, &bytes, &["--json"]).await;
        assert_eq!(output.status.code(), Some(4), "{name}: {output:?}");
        let verdict: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(verdict["is_accepted"], false, "{name}");
        assert_eq!(verdict["faults"], problem["faults"], "{name}");

        let output = check(&account, name, &bytes, &[]).await;
        assert_eq!(output.status.code(), Some(4), "{name}: {output:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        let message = problem["faults"][0]["message"].as_str().expect("text");
        assert!(shown.contains(message), "{name}: `{message}` is not in `{shown}`");
    }
    let output = check(&account, "good.wasm", small().bytes(), &["--json"]).await;
    let verdict: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &verdict["is_accepted"]), (Some(0), &Value::Bool(true)));
    let missing = command(&account, &["plugin", "check", "no-such-file.wasm"]).await;
    assert_eq!(missing.status.code(), Some(3));
}
