//! HTTPS to a server with a certificate of an authority of its own: reached where that is trusted, and not elsewhere.
//!
//! The certificates (in `certificates/`) were made for this test, are good for `localhost` and 127.0.0.1, and expire in
//! 2120. The key of the authority is gone.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use trellis_engine::{EngineConfig, egress::policy::EgressPolicy};

use crate::support::{Fixture, config};

const AUTHORITY: &[u8] = include_bytes!("certificates/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("certificates/server.pem");
const KEY: &[u8] = include_bytes!("certificates/server.key");

/// Answers requests over TLS, and counts those that came.
fn serve() -> (SocketAddr, Arc<AtomicUsize>) {
    serve_at("127.0.0.1:0")
}

fn serve_at(address: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let (config, requests) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind(address).expect("a free port");
    let (address, counted) = (listener.local_addr().expect("bound"), Arc::clone(&requests));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a valid configuration");
            let mut stream = StreamOwned::new(connection, stream);
            let mut buffer = [0; 4_096];
            // A client that does not trust us hangs up instead.
            if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                counted.fetch_add(1, SeqCst);
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\nsecure"));
                stream.conn.send_close_notify();
                drop(stream.flush());
            }
        }
    });
    (address, requests)
}

async fn fixture(address: SocketAddr, ca_certificates: &[u8], grants: &[&str]) -> Fixture {
    // Whether `localhost` is also ::1 depends on the machine.
    let v6 = SocketAddr::new("::1".parse().expect("valid"), address.port());
    let egress = EgressPolicy::new([address, v6]);
    let config = EngineConfig { egress, ca_certificates: ca_certificates.to_vec(), ..config() };
    Fixture::with(config).await.grant(grants, &[])
}

#[tokio::test]
async fn a_server_is_reached_whose_authority_the_operator_trusts() {
    let (address, requests) = serve();
    let urls = [format!("https://localhost:{}/", address.port()), format!("https://{address}/")];
    let grants: Vec<String> = urls.iter().map(|url| format!("GET {url}*")).collect();
    let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
    let trusting = fixture(address, AUTHORITY, &grants).await;
    for url in &urls {
        for way in ["fetch", "wasi-http"] {
            let answer = trusting.output(json!({ "do": way, "method": "GET", "url": url })).await;
            assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("secure")), "{url}: {answer}");
        }
    }
    assert_eq!(requests.load(SeqCst), 4);

    // Without that word, the very same server is a stranger, and gets no request.
    let others = fixture(address, b"", &grants).await;
    for url in &urls {
        let answer = others.output(json!({ "do": "fetch", "method": "GET", "url": url })).await;
        assert!(answer["error"].as_str().expect("refused").contains("no secure connection"), "{answer}");
    }
    assert_eq!(requests.load(SeqCst), 4);
}

#[tokio::test]
async fn a_certificate_is_good_for_its_own_names_alone() {
    // On another address of this machine, which the certificate does not name.
    let (address, requests) = serve_at("127.0.0.2:0");
    let url = format!("https://{address}/");
    let fixture = fixture(address, AUTHORITY, &[&format!("GET {url}*")]).await;
    let answer = fixture.output(json!({ "do": "fetch", "method": "GET", "url": url })).await;
    assert!(answer["error"].as_str().expect("refused").contains("no secure connection"), "{answer}");
    assert_eq!(requests.load(SeqCst), 0);
}

#[tokio::test]
async fn certificates_that_are_none_keep_an_engine_from_starting() {
    for pem in [b"no certificate".as_slice(), b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let refused = trellis_engine::Engine::new(&EngineConfig { ca_certificates: pem.to_vec(), ..config() });
        assert!(refused.expect_err("refused").to_string().contains("egress.ca_file"));
    }
}
