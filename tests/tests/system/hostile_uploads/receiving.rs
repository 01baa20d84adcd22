//! How bytes come in: too many, too slowly, other than announced, and from too many at once.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{accepted, bytes::small, upload};
use crate::support::{Account, Host, Stage};

/// Far longer than any answer here takes.
const LONGEST: Duration = Duration::from_secs(60);

/// A connection that has sent the head of an upload.
struct Sender(TcpStream);

impl Sender {
    async fn begin(account: &Account, fields: &str) -> Self {
        let (url, token) = account.api.credentials();
        let address = url.strip_prefix("http://").expect("a plain address");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = format!(
            "PUT /v1/plugins/raw/1.0.0 HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n{fields}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        Self(stream)
    }

    /// Sends; a host that has had enough may be gone.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// The status of the answer; none: the connection was cut before there was one.
    async fn status(mut self) -> Option<u16> {
        let mut answer = Vec::new();
        let read = async {
            let mut piece = [0; 4_096];
            while !answer.windows(2).any(|pair| pair == b"\r\n") {
                match self.0.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => answer.extend_from_slice(&piece[..count]),
                }
            }
        };
        tokio::time::timeout(LONGEST, read).await.expect("an answer in time");
        String::from_utf8_lossy(&answer).split_whitespace().nth(1)?.parse().ok()
    }
}

async fn small_host() -> Stage {
    // Like the defaults, but that all of it is over sooner.
    Stage::with(|plan| plan.set("http.upload_max", "64KiB").set("http.body_timeout", "1s").set("uploads.wait", "1s"))
        .await
}

#[tokio::test]
async fn an_upload_that_announces_too_much_is_refused_before_it_comes() {
    let stage = small_host().await;
    let account = stage.account("acme").await;
    // The last one is more than any HTTP implementation counts to: it does not get as far as the host.
    for (length, status) in [("65537", 413), ("1000000000000000", 413), ("18446744073709551615", 431)] {
        let sender = Sender::begin(&account, &format!("content-length: {length}")).await;
        assert_eq!(sender.status().await, Some(status), "{length}");
    }
    accepted(&account, "after", "announced").await;
}

#[tokio::test]
async fn an_upload_without_a_length_is_cut_off_at_the_limit() {
    let stage = small_host().await;
    let account = stage.account("acme").await;
    let mut sender = Sender::begin(&account, "transfer-encoding: chunked").await;
    let chunk = [b"1000\r\n".to_vec(), vec![0; 0x1000], b"\r\n".to_vec()].concat();
    for _ in 0..17 {
        sender.send(&chunk).await;
    }
    assert_eq!(sender.status().await, Some(413));
    accepted(&account, "after", "endless").await;
}

#[tokio::test]
async fn an_upload_that_is_shorter_than_it_announced_is_an_upload_that_stalls() {
    let stage = small_host().await;
    let account = stage.account("acme").await;
    let mut stalled = Sender::begin(&account, "content-length: 1000").await;
    stalled.send(b"\0asm\x0d\0\x01\0").await;
    assert_eq!(stalled.status().await, Some(408));

    let mut hung_up = Sender::begin(&account, "content-length: 1000").await;
    hung_up.send(b"\0asm").await;
    hung_up.0.shutdown().await.expect("it is open");
    assert!(matches!(hung_up.status().await, None | Some(400)));
    accepted(&account, "after", "stalled").await;
}

#[tokio::test]
async fn an_upload_that_is_longer_than_it_announced_is_cut_at_that_length() {
    let stage = small_host().await;
    let account = stage.account("acme").await;
    let bytes = small();
    let mut sender = Sender::begin(&account, &format!("content-length: {}", bytes.bytes().len() / 2)).await;
    sender.send(bytes.bytes()).await;
    assert_eq!(sender.status().await, Some(422), "half a component");
    accepted(&account, "after", "longer").await;
}

/// An account that stalls on all the turns it can get has no one else wait.
#[tokio::test]
async fn those_who_dawdle_hold_up_none_but_themselves() {
    let stage = Stage::with(|plan| {
        plan.set("http.body_timeout", "300s")
            .set("http.request_timeout", "1h")
            .set("uploads.wait", "1s")
            .set("uploads.at_once", "3")
    })
    .await;
    let (slow, quick) = (stage.account("slow").await, stage.account("quick").await);
    let mut dawdlers = Vec::new();
    for _ in 0..2 {
        let mut sender = Sender::begin(&slow, "content-length: 1000").await;
        assert!(sender.send(b"\0asm").await);
        dawdlers.push(sender);
    }
    let full = crate::support::eventually("both have a turn", async || {
        let answer = upload(&slow, "third", 1, small().marked("third")).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(full.header("retry-after"), Some("1"));
    full.problem(503);
    accepted(&quick, "quick", "beside those who dawdle").await;
    drop(dawdlers);
    crate::support::eventually("the turns are free again", async || {
        matches!(upload(&slow, "fourth", 1, small().marked("fourth")).await.status, 200 | 201).then_some(())
    })
    .await;
}

fn memory_kib(host: &Host, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.process())).expect("it runs");
    let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("Linux tells");
    value.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn two_hundred_uploads_at_once_are_taken_a_few_at_a_time() {
    const UPLOADS: u32 = 200;
    const SIZE_MIB: usize = 4;
    let stage = Stage::with(|plan| plan.set("uploads.wait", "3s")).await;
    let account = stage.account("acme").await;
    accepted(&account, "first", "before the flood").await;
    let before_kib = memory_kib(&stage.host, "VmRSS");
    let bytes: bytes::Bytes = small().padded("flood", SIZE_MIB << 20).into();
    let uploads = (1..=UPLOADS).map(|version| {
        let path = format!("/v1/plugins/flood/{version}.0.0");
        let bytes = bytes.clone();
        let account = &account;
        async move { account.api.send(Method::PUT, &path, "application/wasm", bytes).await }
    });
    let (mut taken, mut sent_away) = (0, 0);
    for answer in join_all(uploads).await {
        match answer.status {
            201 => taken += 1,
            _ => {
                assert!(answer.header("retry-after").is_some(), "{:#}", answer.body);
                answer.problem(503);
                sent_away += 1;
            }
        }
    }
    let (peak_kib, after_kib) = (memory_kib(&stage.host, "VmHWM"), memory_kib(&stage.host, "VmRSS"));
    println!("{taken} taken, {sent_away} sent away; memory {before_kib} KiB, at most {peak_kib}, then {after_kib}");
    assert!(taken > 0 && sent_away > 0, "{taken} and {sent_away}");
    // All at once would have been four times as much.
    assert!(peak_kib - before_kib < 200 * 1024, "the host grew by {} KiB", peak_kib - before_kib);
    accepted(&account, "last", "after the flood").await;
}
