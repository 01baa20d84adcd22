//! Clients that are slow, that lie about what they send, and that send too much: each is cut off or told why, and what
//! others do is not held up.

use serde_json::{Value, json};

use crate::support::{Account, Host, RawClient, Stage, project};

fn small() -> Value {
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    project("shop", &json!({ "a": node }))
}

/// A host with little patience, and an account that has a project there.
async fn impatient() -> (Stage, Account) {
    let stage = Stage::with(|plan| {
        plan.set("http.header_timeout", "1s").set("http.body_timeout", "1s").set("http.stall_timeout", "1s")
    })
    .await;
    let account = stage.account("acme").await;
    account.deploy(&small()).await;
    (stage, account)
}

/// The head of an event, with whatever says how long its body is.
fn event_head(account: &Account, length: &str) -> String {
    let (_, token) = account.api.credentials();
    let hook = account.hook("shop");
    format!(
        "POST {hook} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    )
}

/// Sends pieces, a byte each, until the host closes or there are no more; then what it has answered.
async fn drip(host: &Host, head: &str, piece: &str) -> Option<u16> {
    let mut client = RawClient::connect(host).await;
    client.send(head).await;
    // Slower than any limit allows, and never a pause as long as one.
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(200));
    for _ in 0..300 {
        pause.tick().await;
        if !client.send(piece).await {
            break;
        }
    }
    client.rest().await.status()
}

#[tokio::test]
async fn whoever_dawdles_is_cut_off_whichever_way_and_holds_nobody_up() {
    let (stage, account) = impatient().await;
    let host = &stage.host;
    let silence = async {
        let mut client = RawClient::connect(host).await;
        assert_eq!(client.rest().await.text, "", "connected, and silent");
    };
    let half_a_head = async {
        let mut client = RawClient::connect(host).await;
        client.send("GET /healthz HTTP/1.1\r\nhost: x\r\n").await;
        assert!(client.rest().await.status().is_none_or(|status| status == 408), "half a head");
    };
    let idle = async {
        let mut client = RawClient::connect(host).await;
        client.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(client.rest().await.statuses(), [200], "idle behind a request");
    };
    let slow_head = async {
        let status = drip(host, "GET /healthz HTTP/1.1\r\nx: ", "a").await;
        assert!(status.is_none_or(|status| status == 408), "a head in drops: {status:?}");
    };
    let slow_body = async {
        let head = event_head(&account, "content-length: 100000");
        assert_eq!(drip(host, &head, " ").await, Some(408), "a body in drops");
    };
    let slow_chunks = async {
        let head = event_head(&account, "transfer-encoding: chunked");
        assert_eq!(drip(host, &head, "1\r\n \r\n").await, Some(408), "chunks in drops");
    };
    let silent_body = async {
        let mut client = RawClient::connect(host).await;
        client.send(event_head(&account, "content-length: 5")).await;
        let answer = client.rest().await;
        assert_eq!(answer.status(), Some(408), "a body that does not come");
        assert!(
            answer.text.contains("application/problem+json") && answer.text.contains("too slowly"),
            "{}",
            answer.text
        );
    };
    let canaries = async {
        for number in 0..5 {
            account.run("shop", &json!(number)).await;
        }
    };
    tokio::join!(silence, half_a_head, idle, slow_head, slow_body, slow_chunks, silent_body, canaries);
}

#[tokio::test]
async fn whoever_takes_nothing_of_what_they_ask_for_is_cut_off() {
    let (stage, account) = impatient().await;
    let mut client = RawClient::connect(&stage.host).await;
    let asked = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    // Until the host, which can write no more and so reads no more, has had enough.
    let cut_off = async { while client.send(&asked).await {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), cut_off).await.expect("it is cut off");
    account.run("shop", &json!("canary")).await;
}

#[tokio::test]
async fn lies_about_a_bodys_length_are_found_out() {
    let (stage, account) = impatient().await;
    let cases: [(&str, &str, &str, &[u16]); 9] = [
        ("more announced than sent", "content-length: 50", "[1]", &[400]),
        ("less announced than sent", "content-length: 1", "1]]]] nonsense\r\n\r\n", &[202, 400]),
        ("two lengths", "content-length: 1\r\ncontent-length: 2", "12", &[400]),
        ("a length with a sign", "content-length: +1", "1", &[400]),
        ("a negative length", "content-length: -1", "1", &[400]),
        ("no number", "content-length: one", "1", &[400]),
        ("beyond all numbers", "content-length: 99999999999999999999", "1", &[400]),
        ("a chunk that is no number", "transfer-encoding: chunked", "xyz\r\n1\r\n0\r\n\r\n", &[400]),
        ("a coding that nobody knows", "transfer-encoding: chunked, gzip", "1", &[400]),
    ];
    for (what, length, body, statuses) in cases {
        let mut client = RawClient::connect(&stage.host).await;
        client.send(format!("{}{body}", event_head(&account, length))).await;
        client.finish().await;
        assert_eq!(client.rest().await.statuses(), statuses, "{what}");
    }
    // Two ways to tell the length: whoever stands between may believe the other one. Nothing behind is taken for a request.
    let mut client = RawClient::connect(&stage.host).await;
    let both = event_head(&account, "content-length: 6\r\ntransfer-encoding: chunked");
    client.send(format!("{both}1\r\n1\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    client.finish().await;
    let statuses = client.rest().await.statuses();
    assert!(matches!(statuses.as_slice(), [400] | [202]), "{statuses:?}");
}

#[tokio::test]
async fn packed_bodies_are_refused_unopened() {
    let (stage, account) = impatient().await;
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"] {
        let mut client = RawClient::connect(&stage.host).await;
        let length = format!("content-encoding: {encoding}\r\nconnection: close\r\ncontent-length: 2");
        client.send(format!("{}\x1f\x7f", event_head(&account, &length))).await;
        let answer = client.rest().await;
        assert_eq!(answer.status(), Some(415), "{encoding}: {}", answer.text);
    }
    let mut client = RawClient::connect(&stage.host).await;
    let length = "content-encoding: identity\r\nconnection: close\r\ncontent-length: 1";
    client.send(format!("{}1", event_head(&account, length))).await;
    assert_eq!(client.rest().await.statuses(), [202]);
}

#[tokio::test]
async fn everything_oversized_is_refused_and_the_host_goes_on() {
    let (stage, account) = impatient().await;
    let head = |line: &str, fields: &str| format!("{line}\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    let cases: [(&str, String, &[u16]); 7] = [
        ("a long address", head(&format!("GET /{} HTTP/1.1", "a".repeat(60_000)), ""), &[414, 431]),
        ("a long query", head(&format!("GET /v1/runs?grid={} HTTP/1.1", "a".repeat(20_000)), ""), &[401]),
        ("a long field", head("GET /healthz HTTP/1.1", &format!("x: {}\r\n", "a".repeat(40_000))), &[431]),
        ("many fields", head("GET /healthz HTTP/1.1", &"x: 1\r\n".repeat(40_000)), &[431]),
        ("a long method", head(&format!("{} / HTTP/1.1", "A".repeat(20_000)), ""), &[400, 405, 404, 431]),
        ("another protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[400, 505]),
        ("a version to come", "GET / HTTP/9.9\r\n\r\n".to_owned(), &[400, 505]),
    ];
    for (what, request, statuses) in cases {
        let mut client = RawClient::connect(&stage.host).await;
        client.send(&request).await;
        client.finish().await;
        let status = client.rest().await.status();
        // A client that is still sending may be cut off before it hears why.
        assert!(status.is_none_or(|status| statuses.contains(&status)), "{what}: {status:?}");
    }
    let mut client = RawClient::connect(&stage.host).await;
    client.send(event_head(&account, "connection: close\r\ncontent-length: 2000000")).await;
    let spaces = " ".repeat(8_192);
    while client.send(&spaces).await {}
    assert!(client.rest().await.status().is_none_or(|status| status == 413));
    account.run("shop", &json!("canary")).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_one_after_the_other() {
    let (stage, _account) = impatient().await;
    let mut client = RawClient::connect(&stage.host).await;
    let one = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.send(format!("{}{last}", one.repeat(500))).await;
    let statuses = client.rest().await.statuses();
    assert_eq!(statuses.len(), 501);
    assert!(statuses[..500].iter().all(|status| *status == 200) && statuses[500] == 404, "{statuses:?}");
}
