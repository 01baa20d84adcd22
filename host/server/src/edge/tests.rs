//! Well-behaved and hostile clients against a real listener.

use std::time::Instant;

use axum::{extract::State, routing::get};
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::*;

const SHORT: Duration = Duration::from_millis(300);
/// Far beyond what any of these tests needs: a test that waits this long has failed.
const LONG: Duration = Duration::from_secs(20);

struct Edge {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<Drained>,
}

fn config() -> EdgeConfig {
    EdgeConfig {
        header_timeout: LONG,
        headers_max: 10,
        header_bytes_max: 8 * 1024,
        stall_timeout: LONG,
        response_bytes_per_second: 1,
        connections_max: 100,
        peer_connections_max: 100,
        proxies: Vec::new(),
        drain: LONG,
    }
}

async fn start(router: Router, config: EdgeConfig) -> Edge {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let shutdown = CancellationToken::new();
    let served = tokio::spawn(serve(listener, router, config, shutdown.clone()));
    Edge { address, shutdown, served }
}

impl Edge {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut client = self.connect().await;
        client.write_all(text.as_bytes()).await.expect("it reads");
        client
    }

    async fn ended(self) -> Drained {
        timeout(LONG, self.served).await.expect("in time").expect("no panic")
    }
}

fn hello() -> Router {
    Router::new().route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { format!("hello {peer}") }))
}

/// All that comes until the server closes, which it must do in time. A reset counts as closing.
async fn rest(client: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(LONG, client.read_to_end(&mut text)).await.expect("the server closes in time");
    drop(read);
    String::from_utf8_lossy(&text).into_owned()
}

/// One response to a request that keeps the connection.
async fn response(client: &mut TcpStream) -> String {
    let mut buffer = vec![0; 4096];
    let count = timeout(LONG, client.read(&mut buffer)).await.expect("an answer in time").expect("no reset");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_client_is_answered_and_its_address_is_known() {
    let edge = start(hello(), config()).await;
    let mut client = edge.send(GET).await;
    let own = client.local_addr().expect("it is connected");
    let first = response(&mut client).await;
    assert!(first.starts_with("HTTP/1.1 200 OK") && first.ends_with(&format!("hello {own}")), "{first}");
    client.write_all(GET.as_bytes()).await.expect("the connection is kept");
    assert!(response(&mut client).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut_off() {
    let edge = start(hello(), EdgeConfig { header_timeout: SHORT, ..config() }).await;
    let mut client = edge.send("GET / HTTP/1.1\r\n").await;
    let began = Instant::now();
    let (mut reading, mut writing) = client.split();
    let dawdle = async {
        // A byte now and then: as long as bytes come, a timeout per read would never strike.
        while writing.write_all(b"a").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    let cut_off = async {
        let mut text = Vec::new();
        let _reset_or_end = reading.read_to_end(&mut text).await;
    };
    tokio::select! {
        () = dawdle => {}
        () = cut_off => {}
        () = sleep(LONG) => panic!("the client may dawdle on"),
    }
    assert!(began.elapsed() >= SHORT - Duration::from_millis(50), "cut off after {:?}", began.elapsed());
}

#[tokio::test]
async fn silent_and_idle_connections_are_closed() {
    let edge = start(hello(), EdgeConfig { header_timeout: SHORT, ..config() }).await;
    let mut silent = edge.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    let mut idle = edge.send(GET).await;
    assert!(response(&mut idle).await.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(rest(&mut idle).await, "");
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let edge = start(hello(), config()).await;
    let many: String = (0..20).map(|n| format!("x-{n}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(10_000));
    for headers in [many, large] {
        let mut client = edge.send(&format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        let answer = response(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let edge = start(hello(), EdgeConfig { connections_max: 1, ..config() }).await;
    let mut first = edge.send(GET).await;
    assert!(response(&mut first).await.starts_with("HTTP/1.1 200 OK"));
    let mut second = edge.send(GET).await;
    let mut byte = [0];
    assert!(timeout(SHORT, second.peek(&mut byte)).await.is_err(), "there is no place for it");
    drop(first);
    assert!(response(&mut second).await.starts_with("HTTP/1.1 200 OK"));
}

/// A router whose handler says when it has begun, and answers when it is let go.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = |State((begun, go)): State<(Arc<Notify>, Arc<Notify>)>| async move {
        begun.notify_one();
        go.notified().await;
        "finished"
    };
    let router = Router::new().route("/", get(handler)).with_state((Arc::clone(&begun), Arc::clone(&go)));
    (router, begun, go)
}

#[tokio::test]
async fn a_drain_lets_the_running_request_finish_and_refuses_new_ones() {
    let (router, begun, go) = held();
    let edge = start(router, config()).await;
    let mut idle = edge.connect().await;
    let mut running = edge.send(GET).await;
    begun.notified().await;
    edge.shutdown.cancel();

    assert_eq!(rest(&mut idle).await, "", "a connection without a request is closed at once");
    let refused = async {
        while TcpStream::connect(edge.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, refused).await.expect("new connections are refused");
    sleep(SHORT).await;
    assert!(!edge.served.is_finished(), "the request still runs");

    go.notify_one();
    let answer = rest(&mut running).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("finished"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(edge.ended().await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_off() {
    let (router, begun, _never) = held();
    let edge = start(router, EdgeConfig { drain: SHORT, ..config() }).await;
    let mut running = edge.send(GET).await;
    begun.notified().await;
    edge.shutdown.cancel();
    assert_eq!(rest(&mut running).await, "");
    assert_eq!(edge.ended().await, Drained { cut_off: 1 });
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_response_is_cut_off() {
    let (dropped, was_dropped) = oneshot::channel::<()>();
    let dropped = Arc::new(std::sync::Mutex::new(Some(dropped)));
    let endless = move || {
        // Lives as long as the response's body.
        let alive = dropped.lock().expect("no panic while locked").take();
        let chunks = stream::repeat_with(move || {
            let _alive = &alive;
            Ok::<_, Infallible>(Bytes::from_static(&[0; 64 * 1024]))
        });
        async { Body::from_stream(chunks) }
    };
    let edge = start(Router::new().route("/", get(endless)), EdgeConfig { stall_timeout: SHORT, ..config() }).await;
    let _client = edge.send(GET).await;
    let outcome = timeout(LONG, was_dropped).await.expect("the response is given up");
    assert!(outcome.is_err(), "the body was dropped");
}

#[tokio::test]
async fn a_client_with_too_many_connections_is_told_so_and_has_room_again_when_one_of_them_ends() {
    let edge = start(hello(), EdgeConfig { peer_connections_max: 2, ..config() }).await;
    let mut kept = [edge.send(GET).await, edge.send(GET).await];
    for one in &mut kept {
        assert!(response(one).await.starts_with("HTTP/1.1 200 OK"));
    }
    let told = rest(&mut edge.connect().await).await;
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\r\nretry-after: 1\r\n"), "{told}");
    let (head, body) = told.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
    let problem: Problem = serde_json::from_str(body).expect("a problem like any other");
    assert_eq!((problem.status, problem.retry_after), (503, Some(1)));
    let [first, mut second] = kept;
    drop(first);
    let served = async {
        loop {
            let mut client = edge.connect().await;
            // Whoever is turned away may find the connection closed already.
            let _sent =
                client.write_all(format!("{}connection: close\r\n\r\n", &GET[..GET.len() - 2]).as_bytes()).await;
            if rest(&mut client).await.starts_with("HTTP/1.1 200 OK") {
                return;
            }
        }
    };
    timeout(LONG, served).await.expect("its place is free again");
    second.write_all(GET.as_bytes()).await.expect("the other one was left alone");
    assert!(response(&mut second).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn clients_behind_a_proxy_have_no_limit_of_their_own() {
    let proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let edge = start(hello(), EdgeConfig { peer_connections_max: 1, proxies, ..config() }).await;
    let mut clients = [edge.send(GET).await, edge.send(GET).await];
    for client in &mut clients {
        assert!(response(client).await.starts_with("HTTP/1.1 200 OK"));
    }
}
