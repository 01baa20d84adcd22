//! The sender against servers on loopback, with a resolver that answers as a test says.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, TcpListener},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use http::{HeaderMap, Method};
use url::Url;

use super::*;
use crate::egress::{limits::Deadlines, outbound::WireMeter};

fn senders(policy: EgressPolicy) -> Senders {
    Senders::new(Arc::new(policy), EgressLimits::default(), Vec::new())
}

#[test]
fn clients_are_kept_per_account_and_the_least_used_go() {
    let senders = senders(EgressPolicy::default());
    let accounts = i64::try_from(CLIENTS_MAX).expect("small");
    for account in 0..=accounts {
        senders.client(AccountId(0), 443).expect("a client");
        senders.client(AccountId(account), 443).expect("a client");
    }
    let clients = senders.clients.lock().expect("not poisoned");
    assert_eq!(clients.by_key.len(), CLIENTS_MAX);
    assert!(clients.by_key.contains_key(&(AccountId(0), None)), "used all the time");
    assert!(!clients.by_key.contains_key(&(AccountId(1), None)), "used least recently");
}

#[test]
fn a_port_with_an_exception_has_a_client_of_its_own() {
    let senders = senders(EgressPolicy::new(["127.0.0.1:8080".parse().expect("valid")]));
    for port in [443, 80, 8080] {
        senders.client(AccountId(1), port).expect("a client");
    }
    let clients = senders.clients.lock().expect("not poisoned");
    let mut ports: Vec<_> = clients.by_key.keys().map(|(_, port)| *port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [None, Some(8080)]);
}

/// Answers one name differently each time; the last answer stays.
struct Played {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Played {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().expect("valid")).collect();
        Arc::new(Self { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Played {
    fn addresses(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, SeqCst);
        Ok(self.answers[asked.min(self.answers.len() - 1)].clone())
    }
}

/// Answers every request with 200, and counts connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn at(address: &str, keeps_alive: bool) -> Self {
        let listener = TcpListener::bind(address).expect("a free address");
        let (address, connections) = (listener.local_addr().expect("bound"), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                counted.fetch_add(1, SeqCst);
                thread::spawn(move || {
                    let mut buffer = [0; 4_096];
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                        let connection = if keeps_alive { "keep-alive" } else { "close" };
                        let answer =
                            format!("HTTP/1.1 200 OK\r\nconnection: {connection}\r\ncontent-length: 0\r\n\r\n");
                        if stream.write_all(answer.as_bytes()).is_err() || !keeps_alive {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn get(senders: &Arc<Senders>, account: i64, url: String, deadlines: Deadlines) -> Result<(), SendError> {
    let sender = AccountSender { senders: Arc::clone(senders), account: AccountId(account) };
    let (url, headers) = (url.parse::<Url>().expect("a URL"), HeaderMap::new());
    let response = sender
        .send(OutboundRequest {
            method: Method::GET,
            url,
            headers,
            body: OutboundBody::Empty,
            deadlines,
            wire: WireMeter::default(),
        })
        .await?;
    // To its end, so that the connection is free for the next one.
    response.body.collect().await.map(drop)
}

fn asking(names: &Arc<Played>, policy: EgressPolicy) -> Arc<Senders> {
    let names = Arc::clone(names) as Arc<dyn Lookup>;
    Arc::new(Senders::asking(names, Arc::new(policy), EgressLimits::default(), Vec::new()))
}

#[tokio::test]
async fn a_name_that_is_bound_to_another_address_meanwhile_is_judged_anew() {
    let server = Server::at("127.0.0.1:0", false);
    let port = server.address.port();
    let canary = Server::at(&format!("127.0.0.2:{port}"), false);
    let names = Played::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let senders = asking(&names, EgressPolicy::new([server.address]));
    let url = format!("http://rebinding.example:{port}/");
    get(&senders, 1, url.clone(), Deadlines::default()).await.expect("the first answer is allowed");
    // Looked up once: between the judgement and the connection there is no second answer that could be another one.
    assert_eq!((names.asked.load(SeqCst), server.connections()), (1, 1));
    let refused = get(&senders, 1, url.clone(), Deadlines::default()).await.expect_err("the second is not");
    assert!(matches!(&refused, SendError::Denied(rule) if rule.contains("127.0.0.2")), "{refused}");
    assert_eq!((names.asked.load(SeqCst), canary.connections()), (2, 0));

    // The canary would have told: where the policy lets it, the very same name arrives there.
    let lenient = asking(&names, EgressPolicy::new([server.address, canary.address]));
    get(&lenient, 1, url, Deadlines::default()).await.expect("allowed");
    assert_eq!(canary.connections(), 1);
}

#[tokio::test]
async fn one_forbidden_address_among_several_spoils_a_name_and_nothing_is_dialled() {
    let server = Server::at("127.0.0.1:0", false);
    let url = format!("http://mixed.example:{}/", server.address.port());
    for answer in
        [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "::1"], ["127.0.0.1", "::ffff:127.0.0.1"]]
    {
        let senders = asking(&Played::new(&[&answer]), EgressPolicy::new([server.address]));
        let refused = get(&senders, 1, url.clone(), Deadlines::default()).await.expect_err("one is forbidden");
        assert!(matches!(refused, SendError::Denied(_)), "{answer:?}: {refused}");
    }
    assert_eq!(server.connections(), 0);
    let senders = asking(&Played::new(&[&["127.0.0.1"]]), EgressPolicy::new([server.address]));
    get(&senders, 1, url, Deadlines::default()).await.expect("alone it is allowed");
}

#[tokio::test]
async fn connections_are_used_again_by_their_own_account_alone() {
    let server = Server::at("127.0.0.1:0", true);
    let senders = Arc::new(senders(EgressPolicy::new([server.address])));
    let url = format!("http://{}/", server.address);
    for _ in 0..3 {
        get(&senders, 1, url.clone(), Deadlines::default()).await.expect("answered");
    }
    assert_eq!(server.connections(), 1, "an account uses its connection again");
    get(&senders, 2, url.clone(), Deadlines::default()).await.expect("answered");
    assert_eq!(server.connections(), 2, "another account gets one of its own");
    get(&senders, 1, url, Deadlines::default()).await.expect("answered");
    assert_eq!(server.connections(), 2);
}

/// Takes requests and answers with nothing, or only this.
fn silent(beginning: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 4_096];
                let mut is_told = false;
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    // Whoever has given up meanwhile is not told either.
                    drop((!is_told).then(|| stream.write_all(beginning.as_bytes())));
                    is_told = true;
                }
            });
        }
    });
    address
}

/// Each wait alone has run out when its text comes: the others are far too long.
#[tokio::test]
async fn every_wait_has_its_deadline() {
    let (moment, long) = (Duration::from_millis(50), Duration::from_secs(600));
    let longest = EgressLimits {
        lookup_timeout: long,
        connect_timeout: long,
        first_byte_timeout: long,
        between_bytes_timeout: long,
        exchange_timeout: long,
        ..EgressLimits::default()
    };
    let (mute, stuck) = (silent(""), silent("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"));
    let half = moment / 2;
    for (what, url, limits, own, text) in [
        (
            "TLS",
            format!("https://{mute}/"),
            EgressLimits { connect_timeout: moment, ..longest },
            Deadlines::default(),
            "while connecting",
        ),
        (
            "first byte",
            format!("http://{mute}/"),
            EgressLimits { connect_timeout: half, first_byte_timeout: half, ..longest },
            Deadlines::default(),
            "waiting for the response",
        ),
        (
            "the guest's own",
            format!("http://{mute}/"),
            longest,
            Deadlines { connect: Some(half), first_byte: Some(half), ..Deadlines::default() },
            "waiting for the response",
        ),
        (
            "between bytes",
            format!("http://{stuck}/"),
            EgressLimits { between_bytes_timeout: moment, ..longest },
            Deadlines::default(),
            "waiting for more of the response",
        ),
        (
            "between bytes, the guest's own",
            format!("http://{stuck}/"),
            longest,
            Deadlines { between_bytes: Some(moment), ..Deadlines::default() },
            "waiting for more of the response",
        ),
        (
            "in all",
            format!("http://{stuck}/"),
            EgressLimits { exchange_timeout: moment, ..longest },
            Deadlines::default(),
            "waiting for the response",
        ),
    ] {
        let policy = Arc::new(EgressPolicy::new([mute, stuck]));
        let senders = Arc::new(Senders::new(policy, limits, Vec::new()));
        let answer = timeout(Duration::from_secs(30), get(&senders, 1, url, own)).await.expect("it has a deadline");
        assert_eq!(answer, Err(SendError::Timeout(text)), "{what}");
    }
}

#[tokio::test]
async fn a_lookup_has_its_deadline() {
    struct Never;
    impl Lookup for Never {
        fn addresses(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
            thread::sleep(Duration::from_secs(2));
            Ok(Vec::new())
        }
    }
    let limits = EgressLimits { lookup_timeout: Duration::from_millis(50), ..EgressLimits::default() };
    let senders = Arc::new(Senders::asking(Arc::new(Never), Arc::default(), limits, Vec::new()));
    let answer = get(&senders, 1, "http://slow.example/".to_owned(), Deadlines::default()).await;
    assert_eq!(answer, Err(SendError::Timeout("looking up the host")));
}
