//! Bad input: each is refused with a problem that names the place and the way out, and none brings the host down.

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use trellis_model::token::{RANDOM_BYTES, TokenKind, TokenText};

use crate::support::{Account, Stage, guest, project};

fn good() -> Value {
    let nodes = json!({
        "a": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } },
        "b": { "plugin": "filter", "inputs": { "in": "a.out" }, "config": { "expression": "true" } },
    });
    project("shop", &nodes)
}

async fn shop(stage: &Stage) -> Account {
    let account = stage.account("acme").await;
    account.deploy(&good()).await;
    account
}

/// Whose token a request carries.
#[derive(Clone, Copy, Debug)]
enum Token {
    Own,
    None,
    Mistyped,
    /// Well made, and of nobody.
    Unknown,
    Strangers,
    /// Without the right to send events.
    Reader,
}

struct BadRequest {
    method: Method,
    path: &'static str,
    token: Token,
    body: Bytes,
    status: u16,
    says: &'static str,
}

fn bad(
    method: Method,
    path: &'static str,
    token: Token,
    body: impl Into<Bytes>,
    status: u16,
    says: &'static str,
) -> BadRequest {
    BadRequest { method, path, token, body: body.into(), status, says }
}

const HOOK: &str = "/hooks/acme/shop/events";
const EVENTS: &str = "/v1/projects/shop/grids/main/events";
const BODY_BYTES_MAX: usize = 1 << 20;

fn bad_requests() -> Vec<BadRequest> {
    use Token::{Mistyped, None, Own, Reader, Strangers, Unknown};
    let too_large = format!("\"{}\"", "x".repeat(BODY_BYTES_MAX));
    vec![
        bad(
            Method::POST,
            HOOK,
            Own,
            "{\"a\": ",
            400,
            "the body is not JSON: EOF while parsing a value at line 1 column 6",
        ),
        bad(Method::POST, HOOK, Own, "{} {}", 400, "line 1 column 4"),
        bad(Method::POST, HOOK, Own, "{\"n\": 1e999}", 400, "number out of range"),
        bad(Method::POST, EVENTS, Own, "\"\\ud800\"", 400, "line 1 column 8"),
        bad(Method::POST, HOOK, Own, "[".repeat(200) + &"]".repeat(200), 400, "recursion limit exceeded"),
        bad(Method::POST, HOOK, Own, &b"\"\xff\""[..], 400, "not UTF-8 from byte 1 on"),
        bad(Method::POST, HOOK, Own, too_large, 413, "at most 1048576 bytes"),
        bad(Method::POST, EVENTS, Own, "{'a': 1}", 400, "the body is not JSON"),
        bad(Method::POST, "/hooks/acme/shop/orders", Own, "1", 404, "has no trigger at `/orders`"),
        bad(Method::POST, "/hooks/acme/shop", Own, "1", 404, "has no trigger at `/`"),
        bad(Method::POST, "/hooks/acme/stop/events", Own, "1", 404, "no such trigger is deployed"),
        bad(Method::POST, "/hooks/acne/shop/events", Own, "1", 404, "no such trigger is deployed"),
        bad(
            Method::POST,
            "/v1/projects/shop/grids/mian/events",
            Own,
            "1",
            404,
            "no grid `mian`; it has: main; did you mean `main`?",
        ),
        bad(Method::POST, "/v1/projects/stop/grids/main/events", Own, "1", 404, "no project `stop`"),
        bad(Method::GET, HOOK, Own, "", 405, "takes POST"),
        bad(Method::DELETE, EVENTS, Own, "", 405, "does not take DELETE"),
        bad(Method::POST, HOOK, None, "1", 401, "Authorization: Bearer trl_"),
        bad(Method::POST, "/hooks/acme/shop/events?token=trl_axxxxxxxx", None, "1", 401, "Authorization: Bearer trl_"),
        bad(Method::POST, HOOK, Mistyped, "1", 401, "mistyped"),
        bad(Method::POST, HOOK, Unknown, "1", 401, "unknown, revoked or expired"),
        bad(Method::POST, HOOK, Strangers, "1", 404, "no such trigger is deployed for the account of this token"),
        bad(Method::POST, HOOK, Reader, "1", 403, "needs the scope `events:write`"),
        bad(Method::GET, "/v1/runs", None, "", 401, "Authorization: Bearer trl_"),
        bad(Method::GET, "/v1/runs?stat=dead", Own, "", 400, "unknown field `stat`"),
        bad(Method::GET, "/v1/runs?state=lost", Own, "", 400, "unknown variant `lost`"),
        bad(Method::GET, "/v1/runs?limit=0", Own, "", 400, "limit=0 is out of range; from 1 to 500"),
        bad(Method::GET, "/v1/runs/run_nonsense", Own, "", 404, "no run `run_nonsense`"),
        bad(Method::GET, "/v1/nothing", Own, "", 404, "nothing is served at `/v1/nothing`"),
        bad(Method::POST, "/v1/tokens", Own, r#"{"name":"x","scope":[]}"#, 400, "unknown field `scope`"),
        bad(
            Method::POST,
            "/v1/tokens",
            Own,
            r#"{"name":"x","scopes":["runs:raed"]}"#,
            400,
            "unknown variant `runs:raed`",
        ),
        bad(Method::POST, "/v1/tokens", Own, r#"{"name":"","scopes":["runs:read"]}"#, 400, "1 to 128 bytes"),
        bad(Method::DELETE, "/v1/tokens/one", Own, "", 404, "nothing has this address"),
        bad(Method::PUT, "/v1/plugins/1st/1.0.0", Own, "x", 400, "does not begin with a letter"),
        bad(Method::PUT, "/v1/plugins/first/one", Own, "x", 400, "`one`"),
    ]
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason_and_leave_nothing_behind() {
    let stage = Stage::new().await;
    let account = shop(&stage).await;
    let stranger = stage.account("stranger").await;
    let wanted = json!({ "name": "reader", "scopes": ["runs:read"] });
    let reader = account.api.post("/v1/tokens", &wanted).await.expect(201);
    let unknown = TokenText::from_random(TokenKind::Account, &[7; RANDOM_BYTES]);

    for request in bad_requests() {
        let api = match request.token {
            Token::Own => account.api.clone(),
            Token::None => account.api.with_token(None),
            Token::Mistyped => account.api.with_token(Some("trl_a0123456789")),
            Token::Unknown => account.api.with_token(Some(unknown.reveal())),
            Token::Strangers => stranger.api.clone(),
            Token::Reader => account.api.with_token(reader["token"].as_str()),
        };
        let what = format!("{} {} with {:?}", request.method, request.path, request.token);
        let kind = if request.path.starts_with("/v1/plugins") { "application/wasm" } else { "application/json" };
        let answer = api.send(request.method, request.path, kind, request.body).await;
        assert_eq!(answer.status, request.status, "{what}: {:#}", answer.body);
        if request.status == 405 && request.path == HOOK {
            assert_eq!(answer.header("allow"), Some("POST"), "{what}");
        }
        let problem = answer.problem(request.status);
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(request.says), "{what}: `{}` is not in `{detail}`", request.says);
    }
    assert_eq!(stage.database.unfinished_count().await + stage.database.ended_count().await, 0, "no run came of it");
    account.run("shop", &json!(1)).await;
}

/// Bytes that are no plugin.
fn bad_uploads() -> Vec<(&'static str, Bytes, &'static str, &'static str)> {
    let component = &guest("misbehave").bytes;
    let half = Bytes::copy_from_slice(&component[..component.len() / 2]);
    let mut damaged = component.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    vec![
        ("nothing", Bytes::new(), "the upload is empty", "send the bytes"),
        ("a core module", Bytes::from_static(b"\0asm\x01\0\0\0"), "a core WebAssembly module", "wasm32-wasip2"),
        ("text", Bytes::from_static(b"(component)"), "WebAssembly text (WAT)", "wasm-tools parse"),
        (
            "prose",
            Bytes::from_static(b"Dear Sir or Madam"),
            "text, not a WebAssembly component",
            "upload the .wasm file",
        ),
        ("a program", Bytes::from_static(b"\x7fELF\x02\x01"), "a native program", "wasm32-wasip2"),
        ("half a component", half, "the component breaks off", "upload the whole file"),
        ("a damaged component", damaged.into(), "", "build the component anew"),
        (
            "no plugin",
            Bytes::from_static(b"\0asm\x0d\0\x01\0"),
            "does not export `trellis:plugin/transformer",
            "#[transformer]",
        ),
    ]
}

#[tokio::test]
async fn an_upload_that_is_no_plugin_is_refused_with_what_it_is_and_how_to_make_one() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    for (what, bytes, says, fix) in bad_uploads() {
        let answer = account.api.send(Method::PUT, "/v1/plugins/bad/1.0.0", "application/wasm", bytes).await;
        let problem = answer.problem(422);
        let fault = &problem["faults"][0];
        assert!(fault["message"].as_str().is_some_and(|text| text.contains(says)), "{what}: {problem:#}");
        assert!(fault["fix"].as_str().is_some_and(|text| text.contains(fix)), "{what}: {problem:#}");
        account.api.get("/v1/plugins/bad/1.0.0").await.problem(404);
    }
    account.upload("filter").await;
    let version = &guest("filter").version;
    let other = guest("json-map").bytes.clone().into();
    let answer =
        account.api.send(Method::PUT, &format!("/v1/plugins/filter/{version}"), "application/wasm", other).await;
    let problem = answer.problem(409);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("under a new version")), "{problem:#}");
}

/// A change to the good manifest, and the one fault that must come of it: pointer, message, fix.
struct BadManifest {
    at: &'static str,
    instead: Value,
    pointer: &'static str,
    message: &'static str,
    fix: &'static str,
}

fn bad_manifests() -> Vec<BadManifest> {
    let change = |at, instead, pointer, message, fix| BadManifest { at, instead, pointer, message, fix };
    vec![
        change(
            "/grids/main/nodes/a/inputs/in",
            json!("b.out"),
            "/grids/main/nodes",
            "a cycle: a → b → a",
            "take one of these edges out",
        ),
        change(
            "/grids/main/nodes/a/inputs/in",
            json!("a.out"),
            "/grids/main/nodes",
            "a cycle: a → a",
            "take one of these edges out",
        ),
        change(
            "/grids/main/nodes/b/pluign",
            json!("x"),
            "/grids/main/nodes/b/pluign",
            "unknown key `pluign`",
            "did you mean `plugin`?",
        ),
        change("/triggres", json!([]), "/triggres", "unknown key `triggres`", "did you mean `triggers`?"),
        change(
            "/grids/main/nodes/b/inputs/in",
            json!("a.oot"),
            "/grids/main/nodes/b/inputs/in",
            "plugin `json-map` has no output port `oot`",
            "did you mean `out`?",
        ),
        change(
            "/grids/main/nodes/b/inputs/extra",
            json!("event"),
            "/grids/main/nodes/b/inputs/extra",
            "plugin `filter` has no input port `extra`",
            "it has: in",
        ),
        change(
            "/grids/main/nodes/b/inputs/in",
            json!("ghost.out"),
            "/grids/main/nodes/b/inputs/in",
            "node `ghost` does not exist",
            "name a node of this grid",
        ),
        change(
            "/grids/main/nodes/b/inputs",
            json!({}),
            "/grids/main/nodes/b/inputs/in",
            "input port `in` of plugin `filter` has no origin",
            "add `in = \"event\"`",
        ),
        change(
            "/grids/main/nodes/b/plugin",
            json!("fliter"),
            "/grids/main/nodes/b/plugin",
            "plugin `fliter` is not defined",
            "did you mean `filter`?",
        ),
        change(
            "/plugins/filter",
            json!("filtre@^0.1"),
            "/plugins/filter",
            "no plugin `filtre` was uploaded",
            "did you mean `filter`?",
        ),
        change(
            "/plugins/filter",
            json!("filter@^7"),
            "/plugins/filter",
            "no version of plugin `filter` fits `^7`",
            "there are: 0.1.0",
        ),
        change(
            "/plugins/filter",
            json!({ "path": "plugins/filter" }),
            "/plugins/filter",
            "a path, which means nothing to a server",
            "trellis deploy",
        ),
        change(
            "/triggers/0/grid",
            json!("man"),
            "/triggers/0/grid",
            "grid `man` is not defined",
            "did you mean `main`?",
        ),
        change("/triggers/0/path", json!("events"), "/triggers/0/path", "`events` is no path", "begin with `/`"),
        change(
            "/project/name",
            json!("stop"),
            "/project/name",
            "the manifest is of project `stop`",
            "the address of its own project",
        ),
    ]
}

/// Puts a value at a pointer whose parent exists.
fn changed(mut manifest: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer below the root");
    let parent = manifest.pointer_mut(parent).expect("the parent exists");
    match parent {
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value,
        parent => parent[key] = value,
    }
    manifest
}

#[tokio::test]
async fn a_bad_manifest_is_refused_with_the_place_and_the_fix_and_changes_nothing() {
    let stage = Stage::new().await;
    let account = shop(&stage).await;
    let before = account.api.get("/v1/projects/shop").await.expect(200);
    for BadManifest { at, instead, pointer, message, fix } in bad_manifests() {
        let answer = account.api.put("/v1/projects/shop", &changed(good(), at, instead)).await;
        let problem = answer.problem(422);
        let faults = problem["faults"].as_array().expect("faults");
        assert_eq!(faults.len(), 1, "{at}: {problem:#}");
        assert_eq!(faults[0]["pointer"], pointer, "{at}: {problem:#}");
        assert!(faults[0]["message"].as_str().is_some_and(|text| text.contains(message)), "{at}: {problem:#}");
        assert!(faults[0]["fix"].as_str().is_some_and(|text| text.contains(fix)), "{at}: {problem:#}");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains(message) && detail.contains(fix), "{at}: {detail}");
    }
    assert_eq!(account.api.get("/v1/projects/shop").await.expect(200), before);
    account.run("shop", &json!(1)).await;
}

const MANY_FAULTS: &str = r#"[project]
name = "shop"

[plugins]
json-map = "json-map@^0.1"

[[triggers]]
name = "events"
kind = "htp"
grid = "mian"
path = "/events"

[grids.main.nodes.a]
plugin = "json-map"
inputs = { in = "evnt" }
retry = { attempts = 0 }
colour = "red"

[grids.main.nodes.b]
plugin = "filter"
inputs = { in = "a.out" }
"#;

async fn put_toml(account: &Account, text: &'static str) -> Value {
    account.api.send(Method::PUT, "/v1/projects/shop", "application/toml", text.into()).await.problem(422)
}

fn places(problem: &Value) -> Vec<(u64, &str)> {
    let faults = problem["faults"].as_array().expect("faults");
    faults
        .iter()
        .map(|fault| (fault["line"].as_u64().expect("a line"), fault["message"].as_str().expect("a message")))
        .collect()
}

#[tokio::test]
async fn all_faults_of_a_manifest_come_at_once_with_their_lines() {
    let stage = Stage::new().await;
    let account = shop(&stage).await;
    let problem = put_toml(&account, MANY_FAULTS).await;
    let mut found = places(&problem);
    found.sort_unstable();
    let expected = [
        (9, "`htp` is not known here"),
        (10, "grid `mian` is not defined in this manifest"),
        (13, "config of plugin `json-map`: `expression` is missing"),
        (15, "`evnt` is no origin"),
        (16, "0 is out of range"),
        (17, "unknown key `colour`"),
        (20, "plugin `filter` is not defined in this manifest"),
    ];
    assert_eq!(found.len(), expected.len(), "{problem:#}");
    for ((line, message), (expected_line, begins)) in found.iter().zip(expected) {
        assert!(*line == expected_line && message.starts_with(begins), "{line}: {message}; expected {begins}");
    }

    let broken = put_toml(&account, "[project]\nname = \n").await;
    assert_eq!(places(&broken)[0].0, 2, "{broken:#}");
    let json = account.api.send(Method::PUT, "/v1/projects/shop", "application/json", "{\"project\": }".into()).await;
    assert_eq!(places(&json.problem(422))[0].0, 1);
}

const MANY_MISFITS: &str = r#"[project]
name = "shop"

[plugins]
json-map = "json-map@^0.1"
filter = "filter@^0.1"

[grids.main.nodes.a]
plugin = "json-map"
inputs = { inn = "event" }

[grids.main.nodes.b]
plugin = "filter"
inputs = { in = "a.uot" }

[grids.other.nodes.x]
plugin = "filter"
inputs = { in = "y.out" }

[grids.other.nodes.y]
plugin = "filter"
inputs = { in = "x.out" }
"#;

#[tokio::test]
async fn all_misfits_between_nodes_and_plugins_come_at_once_with_their_lines() {
    let stage = Stage::new().await;
    let account = shop(&stage).await;
    let problem = put_toml(&account, MANY_MISFITS).await;
    let found = places(&problem);
    for (line, begins) in [
        (8, "config of plugin `json-map`: `expression` is missing"),
        (12, "config of plugin `filter`: `expression` is missing"),
        (10, "plugin `json-map` has no input port `inn`"),
        (10, "input port `in` of plugin `json-map` has no origin"),
        (14, "plugin `json-map` has no output port `uot`"),
        (16, "the grid has a cycle: x → y → x"),
    ] {
        assert!(found.iter().any(|(at, message)| *at == line && message.starts_with(begins)), "{begins}: {problem:#}");
    }
    assert_eq!(found.len(), 6, "{problem:#}");
}
