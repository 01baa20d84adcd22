//! Text that drives terminals, databases and browsers, in everything that a guest can write.

use serde_json::{Value, json};

use crate::support::{Walls, action, command, node, project, reason};

/// The picture of NUL is NUL when the guest has it.
const NASTY: &str = "a\u{2400}b\u{1b}[31mred\u{1b}]0;title\u{7}\r\u{9b}\u{202e}txt<script>alert(1)</script>";

/// What of it must not be shown as it is.
fn is_harmless(text: &str) -> bool {
    !text.contains(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\t') || letter == '\u{202e}')
}

async fn run_of(walls: &Walls, name: &str, performed: &Value) -> Value {
    let mut bad = action(performed);
    bad["retry"] = json!({ "attempts": 1 });
    walls.bad.deploy(&project(name, &json!({ "bad": bad }))).await;
    let run = walls.bad.start(name, &json!(null)).await;
    walls.bad.ended(&run).await
}

#[tokio::test]
async fn control_characters_of_guests_reach_no_log_and_no_terminal() {
    let walls = Walls::new().await;
    // JSON text has none as it is.
    let without_nul = NASTY.replace('\u{2400}', "");
    for (name, performed) in [
        ("log", json!({ "do": "log", "message": NASTY, "times": 1 })),
        ("print", json!({ "do": "print", "line": NASTY, "times": 1 })),
        ("print-error", json!({ "do": "print-error", "line": NASTY, "times": 1 })),
        ("output", json!({ "do": "emit", "emissions": [["out", json!(&without_nul).to_string()]] })),
        ("failure", json!({ "do": "fail", "kind": "permanent", "message": NASTY, "after_ms": null })),
        ("panic", json!({ "do": "panic", "message": NASTY })),
    ] {
        let run = run_of(&walls, name, &performed).await;
        let bad = node(&run, "bad");
        for line in bad["log"].as_array().into_iter().flatten() {
            let message = line["message"].as_str().expect("text");
            assert!(is_harmless(message), "{name}: {message:?}");
            assert!(
                message.contains("<script>") || name == "panic",
                "{name}: what is harmless here stays: {message:?}"
            );
        }
        let (_, message) = reason(&run, "bad");
        assert!(is_harmless(message), "{name}: {message:?}");
        assert!(is_harmless(run["error"].as_str().unwrap_or_default()), "{name}");
        if name == "output" {
            assert_eq!(bad["outputs"]["out"], without_nul, "an output is data, and stays as it is");
        }
        let id = run["run"].as_str().expect("a run has an id");
        let shown = command(&walls.bad, &["run", "show", id]).await;
        let shown = String::from_utf8(shown.stdout).expect("text");
        assert!(shown.contains("red") && is_harmless(&shown), "{name}: {shown:?}");
    }
    walls.canary().await;
}
