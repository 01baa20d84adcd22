//! The manifest reader as a table: broken manifests and the faults they must name.

use super::*;

const GOOD: &str = r#"
[project]
name = "shop"

[plugins]
tally = { path = "plugins/tally" }
shape = "json-map@^0.1"

[[triggers]]
name = "orders"
kind = "http"
grid = "order"
path = "/orders"
dedupe = "/id"

[grids.order]
concurrency_key = "/customer"
running_max = 8

[grids.order.nodes.tally]
plugin = "tally"
inputs = { in = "event#/order" }
config = { currency = "EUR", rounds = 2 }
grants = { http = ["GET https://api.example.com/*"], storage = ["totals:rw"] }
limits = { wall = "20s", memory = "16MiB" }
retry = { attempts = 3, first = "2s" }

[grids.order.nodes.alert]
plugin = "shape"
inputs = { in = "tally.large" }
"#;

#[test]
fn a_good_manifest_is_read_the_same_from_toml_and_json() {
    let manifest = Manifest::from_toml(GOOD).expect("valid");
    let json = document::from_toml(GOOD).expect("valid TOML").to_json().to_string();
    assert_eq!(Manifest::from_json(&json).expect("valid"), manifest);
    assert_eq!(manifest.triggers[0].http.methods, ["POST"]);
    let order = &manifest.grids["order"].order;
    assert_eq!((order.concurrency_key.as_deref(), order.running_max), (Some("/customer"), Some(8)));
    let tally = &manifest.grids["order"].nodes["tally"];
    assert_eq!(tally.retry.attempts_max, 3);
    assert_eq!(tally.limits.lower(Default::default()).wall_ms, 20_000);
}

/// Replaces a piece of the good manifest and expects one fault with this line and this text.
fn check(piece: &str, instead: &str, line: usize, expected: &str) {
    assert!(GOOD.contains(piece), "{piece}");
    let faults = Manifest::from_toml(&GOOD.replacen(piece, instead, 1)).expect_err(instead);
    let found = faults.iter().any(|fault| fault.line == Some(line) && fault.to_string().contains(expected));
    assert!(found, "{instead}: {expected} at line {line} not in {faults:#?}");
}

#[test]
fn every_fault_names_its_place_and_its_fix() {
    check("plugin = \"tally\"", "pluign = \"tally\"", 21, "did you mean `plugin`?");
    check("plugin = \"tally\"", "plugin = \"taly\"", 21, "did you mean `tally`?");
    check("grid = \"order\"", "grid = \"orders\"", 12, "did you mean `order`?");
    check("kind = \"http\"", "kind = \"cron\"", 11, "known here: http");
    check("\"event#/order\"", "\"evnt\"", 22, "is no origin");
    check("\"event#/order\"", "5", 22, "expected a string, found a number");
    check("wall = \"20s\"", "wall = 20", 25, "expected a string");
    check("wall = \"20s\"", "wall = \"20 parsecs\"", 25, "is no duration");
    check("memory = \"16MiB\"", "memory = \"1B\"", 25, "`1B` is out of range; from 64KiB to 4GiB is allowed");
    check("attempts = 3", "attempts = 0", 26, "out of range");
    check("GET https://api.example.com/*", "https://api.example.com/*", 24, "has no method");
    check("totals:rw", "totals", 24, "no storage grant");
    check("[\"totals:rw\"]", "[], emit = [\"ordr\"]", 24, "did you mean `order`?");
    check("[\"totals:rw\"]", "[], emit = [\"ledger\"]", 24, "grid `ledger` is not defined in this manifest");
    check("path = \"/orders\"", "path = \"orders\"", 13, "begin with `/`");
    check("dedupe = \"/id\"", "dedupe = \"id\"", 14, "is no place of a key");
    check("dedupe = \"/id\"", "dedupe = \"header:\"", 14, "header:NAME");
    check("dedupe = \"/id\"", &format!("dedupe = \"/{}\"", "d".repeat(256)), 14, "has 257 bytes; at most 256");
    check("json-map@^0.1", "json-map", 7, "names no version");
    check("json-map@^0.1", "json-map@newest", 7, "no version range");
    check("name = \"shop\"", "name = \"my shop\"", 3, "has characters other than");
    check("name = \"shop\"", "title = \"shop\"", 2, "`name` is missing");
    check("nodes.alert", "nodes.event", 28, "cannot be named `event`");
    check("concurrency_key = \"/customer\"", "concurrency_key = \"customer\"", 17, "is no JSON Pointer");
    check("concurrency_key = \"/customer\"", "concurrency_key = \"\"", 17, "is no JSON Pointer");
    check("concurrency_key = \"/customer\"", "priority = \"urgent\"", 17, "known here: high, normal, low");
    check("running_max = 8", "priority = \"high\"", 18, "takes no priority");
    check("concurrency_key = \"/customer\"", "priority = \"low\"", 17, "takes no priority");
    check("running_max = 8", "running_max = 0", 18, "out of range");
    check(
        "[grids.order.nodes.alert]",
        "[[triggers]]\nname = \"orders\"\nkind = \"http\"\ngrid = \"order\"\npath = \"/x\"\n[grids.order.nodes.alert]",
        28,
        "defined twice",
    );
}

fn auth_of(auth: &str) -> TriggerAuth {
    let text = GOOD.replacen("dedupe = \"/id\"", auth, 1);
    Manifest::from_toml(&text).unwrap_or_else(|faults| panic!("{auth}: {faults:?}")).triggers.remove(0).http.auth
}

#[test]
fn senders_are_known_by_a_token_or_by_what_they_sign() {
    use crate::signature::{Algorithm, Encoding, HmacScheme, Scheme, SenderSignature};
    assert_eq!(auth_of(""), TriggerAuth::Token);
    assert_eq!(auth_of("auth = \"none\""), TriggerAuth::None);
    let signature = |scheme, credentials: &[&str], tolerance_ms| {
        let credentials = credentials.iter().map(|name| (*name).to_owned()).collect();
        TriggerAuth::Signature(SenderSignature { scheme, credentials, tolerance_ms })
    };
    assert_eq!(
        auth_of("auth = { scheme = \"github\", credential = \"gh-webhook\" }"),
        signature(Scheme::Github, &["gh-webhook"], 300_000)
    );
    assert_eq!(
        auth_of("auth = { scheme = \"stripe\", credential = [\"new\", \"old\"], tolerance = \"90s\" }"),
        signature(Scheme::Stripe, &["new", "old"], 90_000)
    );
    let hmac = |algorithm, encoding, prefix: &str| {
        let (header, prefix) = ("x-sign".to_owned(), prefix.to_owned());
        signature(Scheme::Hmac(HmacScheme { header, algorithm, encoding, prefix }), &["k"], 300_000)
    };
    assert_eq!(
        auth_of("auth = { scheme = \"hmac\", credential = \"k\", header = \"X-Sign\" }"),
        hmac(Algorithm::Sha256, Encoding::Hex, "")
    );
    assert_eq!(
        auth_of(
            "auth = { scheme = \"hmac\", credential = \"k\", header = \"X-Sign\", algorithm = \"sha1\", encoding = \"base64\", prefix = \"sha1=\" }"
        ),
        hmac(Algorithm::Sha1, Encoding::Base64, "sha1=")
    );
}

#[test]
fn the_id_that_a_scheme_gives_an_event_is_its_key_unless_the_trigger_names_another() {
    let dedupe = |auth: &str, dedupe: &str| {
        let text = GOOD.replacen("dedupe = \"/id\"", &format!("auth = {auth}\n{dedupe}"), 1);
        Manifest::from_toml(&text).expect("valid").triggers.remove(0).http.dedupe
    };
    let scheme = |word: &str| format!("{{ scheme = \"{word}\", credential = \"k\" }}");
    for (word, key) in [
        ("standard-webhooks", Some(Dedupe::Header("webhook-id".to_owned()))),
        ("github", Some(Dedupe::Header("x-github-delivery".to_owned()))),
        ("shopify", Some(Dedupe::Header("x-shopify-webhook-id".to_owned()))),
        ("stripe", Some(Dedupe::Pointer("/id".to_owned()))),
        ("slack", Some(Dedupe::Pointer("/event_id".to_owned()))),
    ] {
        assert_eq!(dedupe(&scheme(word), ""), key, "{word}");
        assert_eq!(dedupe(&scheme(word), "dedupe = \"/other\""), Some(Dedupe::Pointer("/other".to_owned())), "{word}");
    }
    assert_eq!(dedupe("{ scheme = \"hmac\", credential = \"k\", header = \"x\" }", ""), None);
}

#[test]
fn faults_of_senders_name_their_place_and_their_fix() {
    let check = |auth: &str, expected: &str| check("dedupe = \"/id\"", &format!("auth = {auth}"), 14, expected);
    check("\"github\"", "auth = { scheme = \"github\", credential = \"…\" }");
    check("\"tokn\"", "did you mean `token`?");
    check("5", "expected a string");
    check("{ scheme = \"github\" }", "`credential` is missing");
    check("{ credential = \"k\" }", "`scheme` is missing");
    check("{ scheme = \"gihub\", credential = \"k\" }", "did you mean `github`?");
    check("{ scheme = \"github\", credential = \"k\", secret = \"x\" }", "unknown key `secret`");
    check("{ scheme = \"github\", credential = \"k k\" }", "has characters other than");
    check("{ scheme = \"github\", credential = [] }", "0 credentials; from 1 to 4");
    check("{ scheme = \"github\", credential = [\"a\", \"b\", \"c\", \"d\", \"e\"] }", "5 credentials; from 1 to 4");
    check("{ scheme = \"github\", credential = \"k\", tolerance = \"5m\" }", "which signs no time");
    check("{ scheme = \"stripe\", credential = \"k\", tolerance = \"0s\" }", "from 1s to 1h is allowed");
    check("{ scheme = \"stripe\", credential = \"k\", tolerance = \"2h\" }", "`2h` is out of range; from 1s to 1h");
    check("{ scheme = \"stripe\", credential = \"k\", header = \"x\" }", "means nothing to the scheme `stripe`");
    check("{ scheme = \"hmac\", credential = \"k\" }", "`header` is missing");
    check("{ scheme = \"hmac\", credential = \"k\", header = \"a b\" }", "is no name of a header");
    check("{ scheme = \"hmac\", credential = \"k\", header = \"x\", algorithm = \"md5\" }", "known here: sha256");
    check("{ scheme = \"hmac\", credential = \"k\", header = \"x\", encoding = \"hax\" }", "did you mean `hex`?");
    check(
        "{ scheme = \"hmac\", credential = \"k\", header = \"x\", prefix = \"a, \" }",
        "cannot stand before a signature",
    );
}

#[test]
fn all_faults_come_at_once() {
    let broken = GOOD
        .replace("wall = \"20s\"", "wall = 1")
        .replace("evnt", "")
        .replace("totals:rw", "totals")
        .replace("grid = \"order\"", "grid = \"o\"");
    assert_eq!(Manifest::from_toml(&broken).expect_err("three faults").len(), 3);
}

#[test]
fn text_that_is_no_toml_or_json_says_where() {
    let faults = Manifest::from_toml("[project]\nname = \n").expect_err("broken");
    assert_eq!(faults[0].line, Some(2), "{faults:?}");
    let faults = Manifest::from_json("{\"project\": }").expect_err("broken");
    assert_eq!(faults[0].line, Some(1), "{faults:?}");
    let faults = Manifest::from_json(r#"{"project":{"name":"a","name":"b"}}"#).expect_err("twice");
    assert!(faults[0].message.contains("given twice"), "{faults:?}");
}

#[test]
fn hostile_documents_end_in_faults_and_not_in_a_crash() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(Manifest::from_json(&deep).is_err());
    assert!(Manifest::from_toml(&format!("a = {deep}")).is_err());
    let huge = "x".repeat(document::MANIFEST_BYTES_MAX + 1);
    assert!(Manifest::from_toml(&huge).expect_err("too large")[0].message.contains("at most"));
    assert!(Manifest::from_json("null").is_err());
    assert!(Manifest::from_json("[]").is_err());
    let faults =
        Manifest::from_json(r#"{"project":{"name":"a"},"grids":{"a\u0000":{"nodes":{}}}}"#).expect_err("a NUL");
    assert!(faults[0].message.contains("NUL"), "{faults:?}");
}

/// Before a value: letters of one to four bytes each, more than are counted at a time.
#[test]
fn a_column_is_counted_in_characters_however_long_the_line() {
    let before = "aä漢🦀".repeat(333);
    let text = format!("# one line above\n\"{before}\" = 99999999999999999999");
    let faults = Manifest::from_toml(&text).expect_err("it does not fit");
    let columns = 2 + before.chars().count() + " = ".len() + 1;
    assert_eq!((faults[0].line, faults[0].column), (Some(2), Some(columns)));
}
