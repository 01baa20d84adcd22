//! A plugin with bytes changed, cut, doubled: refused with a fault, or accepted; never the host's failure.

use reqwest::Method;
use serde_json::json;

use super::{
    accepted,
    bytes::{Upload, small},
    first_fault, upload,
};
use crate::support::{Stage, guest, project};

const MUTATIONS: u32 = 300;

/// xorshift64, so that every run mutates alike.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a length")
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let length = self.below(bytes.len() - at).min(64);
        match self.below(4) {
            0 => bytes[at] = self.below(256) as u8,
            1 => bytes[at] ^= 1 << self.below(8),
            2 => drop(bytes.drain(at..at + length)),
            _ => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

#[tokio::test]
async fn a_mutated_plugin_is_never_the_hosts_failure() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let (mut dice, mut refused) = (Dice(0x9e37_79b9_7f4a_7c15), 0);
    for version in 1..=MUTATIONS {
        let mut bytes = small().bytes().to_vec();
        for _ in 0..=dice.below(3) {
            dice.mutate(&mut bytes);
        }
        let answer = upload(&account, "mutant", version, Upload::of(bytes)).await;
        if !matches!(answer.status, 200 | 201) {
            first_fault(answer);
            refused += 1;
        }
    }
    println!("{refused} of {MUTATIONS} mutations were refused");
    assert!(refused > MUTATIONS / 2, "they do mutate: {refused}");
    accepted(&account, "last", "after the mutations").await;
}

#[tokio::test]
async fn a_plugin_cut_at_any_eighth_is_refused_as_one_that_breaks_off() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let whole = &guest("filter").bytes;
    for eighth in 1..8 {
        let length = whole.len() * eighth / 8;
        let fault = first_fault(upload(&account, "cut", 1, Upload::of(&whole[..length])).await);
        assert_eq!(fault, format!("the component breaks off: it is cut at byte {length}"));
    }
}

#[tokio::test]
async fn what_does_not_fit_is_told_with_the_import_or_export_the_expected_and_the_fix() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let web = r#"(component
        (import "trellis:plugin/web@0.1.0" (instance (export "fetch" (func (param "url" string) (result string)))))
        (instance $i) (export "trellis:plugin/transformer@0.1.0" (instance $i)))"#;
    let cases = [
        (
            r#"(component (import "acme:db/query@1.0.0" (instance)))"#,
            "/imports/acme:db~1query@1.0.0",
            "imports `acme:db/query@1.0.0`, which no host provides",
        ),
        (
            r#"(component (import "wasi:http/types@0.3.0" (instance)))"#,
            "/imports/wasi:http~1types@0.3.0",
            "but this host provides wasi:http in version 0.2",
        ),
        (
            web,
            "/imports/trellis:plugin~1web@0.1.0",
            "expected `fetch: func(request: request) -> result<response, web-error>`",
        ),
        ("(component)", "/exports", "does not export `trellis:plugin/transformer@0.1.0`"),
        (
            r#"(component (instance $i) (export "trellis:plugin/transformer@0.1.0" (instance $i)))"#,
            "/exports/trellis:plugin~1transformer@0.1.0",
            "expected `describe: func() -> json`",
        ),
    ];
    for (text, pointer, says) in cases {
        let bytes = wat::parse_str(text).expect("valid text");
        let problem = upload(&account, "misfit", 1, Upload::of(bytes)).await.problem(422);
        let fault = &problem["faults"][0];
        assert_eq!(fault["pointer"], pointer, "{problem:#}");
        assert!(fault["message"].as_str().is_some_and(|message| message.contains(says)), "{says}: {problem:#}");
        assert!(fault["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{problem:#}");
    }
}

/// A plugin that is refused leaves nothing behind that a project could use.
#[tokio::test]
async fn a_refused_plugin_is_not_there() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    first_fault(upload(&account, "ghost", 1, Upload::of("(component)")).await);
    account.api.send(Method::GET, "/v1/plugins/ghost/1.0.0", "", bytes::Bytes::new()).await.problem(404);
    let mut manifest = project("haunted", &json!({ "a": { "plugin": "ghost", "inputs": { "in": "event" } } }));
    manifest["plugins"] = json!({ "ghost": "ghost@^1" });
    account.api.put("/v1/projects/haunted", &manifest).await.problem(422);
}
