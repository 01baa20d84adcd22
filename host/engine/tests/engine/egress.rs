//! Outgoing requests through both capabilities, against real servers on loopback that an exception of the policy allows.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use trellis_engine::{EngineConfig, egress::policy::EgressPolicy};
use trellis_model::call_limits::CallLimits;

use crate::support::{Fixture, config};

/// Answers each request with the same bytes, and keeps the requests.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answer: impl Into<Vec<u8>>) -> Self {
        Self::answering(answer, Duration::ZERO)
    }

    fn answering(answer: impl Into<Vec<u8>>, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (answer.into(), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, kept) = (answer.clone(), Arc::clone(&kept));
                thread::spawn(move || serve(stream, &answer, &kept, delay));
            }
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

fn serve(mut stream: TcpStream, answer: &[u8], kept: &Mutex<Vec<String>>, delay: Duration) {
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    while !is_whole(&request) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    kept.lock().expect("not poisoned").push(String::from_utf8_lossy(&request).into_owned());
    thread::sleep(delay);
    // The guest may have hung up.
    _ = stream.write_all(answer);
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().expect("a number"))
}

fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n").into_bytes();
    for header in headers {
        answer.extend_from_slice(format!("{header}\r\n").as_bytes());
    }
    answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(body);
    answer
}

async fn fixture(allowed: &[SocketAddr], grants: &[&str]) -> Fixture {
    let config = EngineConfig { egress: EgressPolicy::new(allowed.iter().copied()), ..config() };
    Fixture::with(config).await.grant(grants, &[])
}

async fn fixture_for(server: &Server) -> Fixture {
    fixture(&[server.address], &[&format!("* {}", server.url("/*"))]).await
}

const BOTH: [&str; 2] = ["fetch", "wasi-http"];

fn request(way: &str, method: &str, url: &str) -> Value {
    json!({"do": way, "method": method, "url": url})
}

#[tokio::test]
async fn a_granted_request_comes_back_with_its_answer() {
    let server = Server::new(answer("201 Created", &["x-custom: yes"], b"hello"));
    let fixture = fixture_for(&server).await;
    for way in BOTH {
        let report = fixture.call(request(way, "GET", &server.url("/a?b=c"))).await;
        assert!(!report.outside_effect);
        assert_eq!((report.metering.requests, report.metering.response_bytes), (1, 5), "{way}");
        let effects = crate::support::effects(report);
        let answer: Value = serde_json::from_str(effects.emissions[0].json.get()).expect("JSON");
        assert_eq!((&answer["status"], &answer["body"]), (&json!(201), &json!("hello")), "{way}: {answer}");
        assert!(answer["headers"].as_array().expect("a list").contains(&json!(["x-custom", "yes"])), "{answer}");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for text in requests {
        assert!(text.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{text}");
        assert!(text.contains(&format!("host: {}\r\n", server.address)), "{text}");
        assert!(!text.to_ascii_lowercase().contains("idempotency-key"), "{text}");
    }
}

#[tokio::test]
async fn a_changing_request_is_an_outside_effect_and_carries_a_key() {
    let server = Server::new(answer("200 OK", &[], b""));
    let fixture = fixture_for(&server).await;
    for way in BOTH {
        let action = json!({"do": way, "method": "POST", "url": server.url("/"), "body": "x".repeat(10_000)});
        let report = fixture.call(action).await;
        assert!(report.outside_effect, "{way}");
        assert_eq!(report.metering.request_bytes, 10_000, "{way}");
        let text = server.requests().pop().expect("a request");
        assert!(text.contains("idempotency-key: run_0000000000001-total-1\r\n"), "{way}: {text}");
        assert!(text.matches('x').count() >= 10_000, "{way}");
    }
}

#[tokio::test]
async fn requests_without_a_grant_are_denied_and_the_log_says_how_to_get_one() {
    let server = Server::new(answer("200 OK", &[], b""));
    let fixture = fixture(&[server.address], &[&format!("GET {}", server.url("/allowed"))]).await;
    for (method, path) in [("GET", "/other"), ("POST", "/allowed")] {
        for (way, error) in [("fetch", "Denied"), ("wasi-http", "HttpRequestDenied")] {
            let report = fixture.call(request(way, method, &server.url(path))).await;
            let line = report.log.lines.last().expect("a line").clone();
            assert_eq!(line.context, "trellis");
            assert!(line.message.contains(&format!("add \"{method} {}*\"", server.url("/"))), "{line:?}");
            assert!(!report.outside_effect);
            let effects = crate::support::effects(report);
            assert!(effects.emissions[0].json.get().contains(error), "{way}: {effects:?}");
        }
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn private_addresses_are_refused_under_every_spelling_and_name() {
    let server = Server::new(answer("200 OK", &[], b""));
    let port = server.address.port();
    let spellings = [
        "127.0.0.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0X7F.0.0.0x1",
        "0177.0.0.1",
        "0177.0.0.01",
        "017700000001",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "0.0.0.0",
        "0",
        "[::]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "localhost",
        "LOCALHOST",
    ];
    let grants: Vec<String> = spellings.iter().map(|host| format!("* http://{host}:{port}/*")).collect();
    let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
    let fixture = fixture(&[], &grants).await;
    for host in spellings {
        for way in BOTH {
            let report = fixture.call(request(way, "GET", &format!("http://{host}:{port}/"))).await;
            let lines = format!("{:?}", report.log.lines);
            // Not for the want of a grant. Some hosts are none for `wasi:http` to begin with.
            let unmade = "refused while it was made";
            let is_refused = lines.contains("does not allow") || format!("{:?}", report.outcome).contains(unmade);
            assert!(is_refused, "{host} by {way}: {lines}");
        }
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn hosts_that_are_no_hosts_are_refused() {
    let fixture = fixture(&[], &["* http://example.com/*"]).await;
    for host in
        ["[fe80::1%25lo]", "[fe80::1%lo]", "[::1", "127.0.0.1.1.1", "0x100000000", "a b", "%00", "[127.0.0.1]", ""]
    {
        for way in BOTH {
            let answer = fixture.output(request(way, "GET", &format!("http://{host}/"))).await;
            assert!(!answer["error"].is_null(), "{host} by {way}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_an_operator_denies_no_grant_allows() {
    let server = Server::new(answer("200 OK", &[], b"in"));
    let port = server.address.port();
    let urls = [format!("http://127.0.0.1:{port}/"), format!("http://localhost:{port}/")];
    let grants: Vec<String> = urls.iter().map(|url| format!("GET {url}*")).collect();
    let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
    let v6 = SocketAddr::new("::1".parse().expect("valid"), port);
    for (deny, denied) in [("127.0.0.0/8", [true, true]), ("localhost", [false, true]), ("10.0.0.0/8", [false, false])]
    {
        let egress = EgressPolicy::new([server.address, v6]).denying(vec![deny.parse().expect("a rule")]);
        let fixture = Fixture::with(EngineConfig { egress, ..config() }).await.grant(&grants, &[]);
        for (url, is_denied) in urls.iter().zip(denied) {
            let answer = fixture.output(request("fetch", "GET", url)).await;
            let is_refused = answer["error"].as_str().is_some_and(|error| error.contains("egress.deny"));
            assert_eq!(is_refused, is_denied, "{deny}: {url}: {answer}");
        }
    }
}

/// A server that believes such a length takes the next request on the connection for the body of this one. By `wasi:http`
/// such a request is broken off; by `web` it goes out without.
#[tokio::test]
async fn a_request_without_a_body_does_not_announce_one() {
    let server = Server::new(answer("200 OK", &[], b""));
    let fixture = fixture_for(&server).await;
    for method in ["GET", "POST"] {
        let action = |way: &str| {
            let headers = json!([["content-length", "50"]]);
            json!({"do": way, "method": method, "url": server.url("/"), "headers": headers, "bodiless": true})
        };
        assert_eq!(fixture.output(action("fetch")).await["status"], json!(200));
        let broken_off = fixture.output(action("wasi-http")).await;
        assert!(broken_off["error"].as_str().is_some_and(|error| error.contains("BodySize")), "{broken_off}");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|text| !text.to_ascii_lowercase().contains("content-length: 50")), "{requests:?}");
}

#[tokio::test]
async fn an_exception_holds_for_a_name_too_but_for_its_port_alone() {
    let allowed = Server::new(answer("200 OK", &[], b"in"));
    let refused = Server::new(answer("200 OK", &[], b"in"));
    let url = |server: &Server| format!("http://localhost:{}/", server.address.port());
    let grants = [format!("GET {}*", url(&allowed)), format!("GET {}*", url(&refused))];
    // Whether `localhost` is also ::1 depends on the machine.
    let v6 = SocketAddr::new("::1".parse().expect("valid"), allowed.address.port());
    let fixture = fixture(&[allowed.address, v6], &[&grants[0], &grants[1]]).await;
    let answer = fixture.output(request("fetch", "GET", &url(&allowed))).await;
    assert_eq!(answer["body"], json!("in"), "{answer}");
    let answer = fixture.output(request("fetch", "GET", &url(&refused))).await;
    assert!(answer["error"].as_str().expect("refused").contains("loopback"), "{answer}");
    assert!(refused.requests().is_empty());
}

#[tokio::test]
async fn redirects_are_returned_and_not_followed() {
    let target = Server::new(answer("200 OK", &[], b"secret"));
    let location = format!("location: {}", target.url("/"));
    let server = Server::new(answer("302 Found", &[&location], b""));
    let fixture = fixture(&[server.address, target.address], &[&format!("* {}", server.url("/*"))]).await;
    for way in BOTH {
        let answer = fixture.output(request(way, "GET", &server.url("/"))).await;
        assert_eq!(answer["status"], json!(302), "{way}");
    }
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn long_and_endless_bodies_are_cut_off() {
    let long = Server::new(answer("200 OK", &[], &vec![b'x'; 100_001]));
    let mut endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..300 {
        endless.extend_from_slice(format!("1000\r\n{}\r\n", "x".repeat(4_096)).as_bytes());
    }
    let endless = Server::answering(endless, Duration::ZERO);
    let limits = CallLimits { response_bytes: 100_000, ..CallLimits::default() };
    for server in [long, endless] {
        let fixture = Fixture { limits, ..fixture_for(&server).await };
        let answer = fixture.output(request("fetch", "GET", &server.url("/"))).await;
        assert_eq!(answer, json!({"error": "WebError::TooLarge"}));
        let answer = fixture.output(request("wasi-http", "GET", &server.url("/"))).await;
        assert!(answer["error"].as_str().expect("cut off").contains("100000"), "{answer}");
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_measured_when_it_is_decoded() {
    let server = Server::new(answer("200 OK", &["content-encoding: gzip"], &gzip_of_xs(200_000)));
    let fixture = fixture_for(&server).await;
    let answer = fixture.output(request("fetch", "GET", &server.url("/"))).await;
    assert_eq!(answer["body"].as_str().map(str::len), Some(200_000));
    let limits = CallLimits { response_bytes: 100_000, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture };
    let answer = fixture.output(request("fetch", "GET", &server.url("/"))).await;
    assert_eq!(answer, json!({"error": "WebError::TooLarge"}));
}

/// Many times the letter `x` in a few hundred bytes of gzip.
fn gzip_of_xs(length: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b'x'; length]).expect("into memory");
    let bytes = encoder.finish().expect("into memory");
    assert!(bytes.len() < length / 100, "{}", bytes.len());
    bytes
}

#[tokio::test]
async fn a_slow_answer_ends_at_the_guests_own_deadline_or_at_the_calls() {
    let server = Server::answering(answer("200 OK", &[], b""), Duration::from_secs(20));
    let fixture = fixture_for(&server).await;
    let began = Instant::now();
    let action = json!({"do": "fetch", "method": "GET", "url": server.url("/"), "timeout_ms": 100});
    assert_eq!(fixture.output(action).await, json!({"error": "WebError::Timeout"}));
    let limits = CallLimits { wall_ms: 300, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture };
    for way in BOTH {
        let text = "took longer than its limit of 300 ms";
        fixture.fails(request(way, "GET", &server.url("/")), trellis_engine::FailureKind::TimedOut, text).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_trouble_of_the_transport() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let fixture = fixture(&[port], &["* http://127.0.0.1/*", &format!("* http://{port}/*")]).await;
    let answer = fixture.output(request("fetch", "GET", &format!("http://{port}/"))).await;
    assert!(
        answer["error"].as_str().expect("refused").contains("Transport(\"cannot connect: Connection refused"),
        "{answer}"
    );
    let answer = fixture.output(request("wasi-http", "GET", &format!("http://{port}/"))).await;
    assert!(answer["error"].as_str().expect("refused").contains("ConnectionRefused"), "{answer}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_gets_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The guest may have hung up.
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let url = format!("https://{address}/");
    let fixture = fixture(&[address], &[&format!("* {url}*")]).await;
    let answer = fixture.output(request("fetch", "GET", &url)).await;
    assert!(answer["error"].as_str().expect("refused").contains("no secure connection"), "{answer}");
    let answer = fixture.output(request("wasi-http", "GET", &url)).await;
    assert!(answer["error"].as_str().expect("refused").contains("TlsProtocolError"), "{answer}");
}

#[tokio::test]
async fn requests_are_bounded_in_number_and_at_once() {
    let server = Server::answering(answer("200 OK", &[], b"x"), Duration::from_millis(100));
    let limits = CallLimits { requests: 5, requests_at_once: 2, ..CallLimits::default() };
    let fixture = Fixture { limits, ..fixture_for(&server).await };
    let request = json!({"method": "GET", "url": server.url("/")});
    let began = Instant::now();
    let answers = fixture.output(json!({"do": "wasi-http-at-once", "request": request, "times": 6})).await;
    let count = |key: &str| answers.as_array().expect("a list").iter().filter(|answer| !answer[key].is_null()).count();
    assert_eq!((count("status"), count("error")), (5, 1), "{answers}");
    assert!(began.elapsed() >= Duration::from_millis(300), "three rounds of two: {:?}", began.elapsed());
    let answers = fixture.output(json!({"do": "fetch-times", "request": request, "times": 6})).await;
    assert!(answers[5]["error"].as_str().expect("refused").contains("limit of 5 HTTP requests"), "{answers}");
}

#[tokio::test]
async fn odd_requests_are_refused() {
    let server = Server::new(answer("200 OK", &[], b""));
    let fixture = fixture_for(&server).await;
    let long = "X".repeat(100_000);
    for method in ["CONNECT", "TRACE", "connect", "Trace", "GE T", "GET\r\n", "", &long] {
        for way in BOTH {
            let report = fixture.call(request(way, method, &server.url("/"))).await;
            let log = format!("{:?}", report.log);
            assert!(log.len() < 2_000, "a method is not repeated at length: {}", log.len());
            let refused = crate::support::effects(report).emissions.remove(0).json;
            assert!(refused.get().contains("error"), "{way} {}: {refused}", &method[..method.len().min(9)]);
        }
    }
    let userinfo = server.url("/").replace("http://", "http://user:pass@");
    let answer = fixture.output(request("fetch", "GET", &userinfo)).await;
    assert!(answer["error"].as_str().expect("refused").contains("user name"), "{answer}");
    let answer = Fixture::new()
        .await
        .grant(&["GET https://api.example.com/*"], &[])
        .output(json!({"do": "many-headers", "count": 40_000}))
        .await;
    assert!(answer["error"].as_str().expect("refused").contains("headers"), "{answer}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_as_such() {
    let fixture = fixture(&[], &["* https://does-not-exist.invalid/*"]).await;
    let answer = fixture.output(request("fetch", "GET", "https://does-not-exist.invalid/")).await;
    assert!(answer["error"].as_str().expect("refused").contains("cannot resolve the host"), "{answer}");
}
