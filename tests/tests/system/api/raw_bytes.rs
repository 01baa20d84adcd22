//! The edges of the HTTP parser, and of all that reads requests behind it: random bytes and good requests with random
//! damage, on raw sockets. Nothing may answer that the host has failed, and nothing may hang.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::support::{Account, Host, RawClient, Stage, project};

/// How long damage is done; long enough for some thousand requests on a slow machine.
const LASTING: Duration = Duration::from_secs(15);
const AT_ONCE: usize = 8;

/// The same damage for the same seed; a xorshift generator, after Marsaglia (2003).
struct Damage(u64);

impl Damage {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("smaller than a usize")
    }

    fn byte(&mut self) -> u8 {
        const LIKELY: &[u8] = b"\r\n\0: /%?&={}[]\",.\\-+09azAZ\x7f\x80\xff";
        if self.below(2) == 0 { LIKELY[self.below(LIKELY.len())] } else { self.next().to_le_bytes()[3] }
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        (0..self.below(longest)).map(|_| self.byte()).collect()
    }

    /// Good bytes with some harm done to them.
    fn to(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(6) {
            let (at, until) = (self.below(bytes.len()), self.below(bytes.len()));
            let (from, to) = (at.min(until), at.max(until).min(at.min(until) + 64));
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] = self.byte(),
                1 => bytes.insert(at, self.byte()),
                2 => drop(bytes.drain(from..to)),
                3 => {
                    let again = bytes[from..to].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => drop(bytes.splice(at..at, self.bytes(40)).count()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }
}

/// Good requests to begin with: all sorts of methods, queries and bodies.
fn good(account: &Account) -> Vec<Vec<u8>> {
    let (_, token) = account.api.credentials();
    let request = |line: &str, fields: &str, body: &str| {
        let length = body.len();
        format!(
            "{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{fields}content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    let json = "content-type: application/json\r\n";
    vec![
        request("POST /hooks/acme/shop/events?a=b", json, "{\"id\":[1,2,{\"a\":null}]}"),
        request("POST /v1/projects/shop/grids/main/events", "idempotency-key: k\r\n", "\"x\""),
        request("GET /v1/runs?state=dead&limit=7&accepted_after=2026-01-01T00:00:00Z&before=run_0000000000001", "", ""),
        request("GET /v1/runs/run_0000000000001", "", ""),
        request("POST /v1/runs/cancel", json, "{\"project\":\"shop\",\"grid\":\"main\",\"limit\":5}"),
        request("POST /v1/runs/replay", json, "{\"project\":\"shop\",\"error_contains\":\"x\",\"dry_run\":true}"),
        request(
            "PUT /v1/projects/shop?dry_run=true",
            json,
            "{\"project\":{\"name\":\"shop\"},\"grids\":{\"g\":{\"nodes\":{}}}}",
        ),
        request(
            "PUT /v1/projects/shop?dry_run=true",
            "content-type: application/toml\r\n",
            "[project]\nname = \"shop\"\n[grids.a]\n",
        ),
        request("PUT /v1/plugins/filter/1.2.3", "content-type: application/wasm\r\n", "\0asm\r\0\u{1}\0"),
        request("POST /v1/tokens", json, "{\"name\":\"x\",\"scopes\":[\"runs:read\"],\"expires_in_seconds\":5}"),
        request("DELETE /v1/tokens/9000000000", "trellis-account: acme\r\n", ""),
        request("OPTIONS *", "expect: 100-continue\r\nupgrade: h2c\r\n", ""),
    ]
}

/// What is told of the bytes; nothing, if nothing was wrong.
async fn harm(host: &Host, bytes: Vec<u8>) -> Option<String> {
    let mut client = RawClient::connect(host).await;
    client.send(&bytes).await;
    client.finish().await;
    let answer = client.rest().await;
    // Shedding is no failure; all else from 500 on is, and so is an error that is no problem but one of the parser itself.
    let is_failure = |status: &u16| *status >= 500 && *status != 503;
    let shown = || format!("{:?}\n→ {}", String::from_utf8_lossy(&bytes), answer.text);
    answer.statuses().iter().any(is_failure).then(shown)
}

#[tokio::test]
async fn no_bytes_whatever_make_the_host_fail() {
    let stage = Stage::with(|plan| plan.set("http.header_timeout", "2s").set("http.body_timeout", "2s")).await;
    let account = stage.account("acme").await;
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    account.deploy(&project("shop", &json!({ "a": node }))).await;

    let seed = u64::from(std::process::id()) << 20 | 0x7e11;
    let (mut damage, good, begun) = (Damage(seed), good(&account), Instant::now());
    for request in &good {
        assert_eq!(harm(&stage.host, request.clone()).await, None, "undamaged");
    }
    let attempts = stream::repeat_with(move || {
        if damage.below(8) == 0 {
            damage.bytes(2_000)
        } else {
            let at = damage.below(good.len());
            damage.to(&good[at])
        }
    })
    .take_while(|_| std::future::ready(begun.elapsed() < LASTING))
    .map(|bytes| harm(&stage.host, bytes))
    .buffer_unordered(AT_ONCE);
    let (count, harmed) = attempts
        .fold((0_u32, Vec::new()), |(count, mut harmed), harm| {
            harmed.extend(harm);
            std::future::ready((count + 1, harmed))
        })
        .await;
    println!("{count} requests were tried from seed {seed}");
    assert!(harmed.is_empty(), "seed {seed}: {} of {count}, the first: {}", harmed.len(), harmed[0]);
    let log = stage.host.log();
    assert!(!log.contains("panicked"), "a handler panicked");
    account.run("shop", &json!("canary")).await;
}
