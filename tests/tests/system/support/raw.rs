//! A client that writes bytes instead of requests: as slow, as wrong and as many as a test likes.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Host;

/// Longer than any answer takes on a busy machine.
const ANSWER_LONGEST: Duration = Duration::from_secs(60);
/// What is kept of an answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub struct RawClient {
    stream: TcpStream,
}

/// All that came before the host closed.
#[derive(Debug)]
pub struct RawResponse {
    pub text: String,
}

impl RawClient {
    pub async fn connect(host: &Host) -> Self {
        let address = host.url.strip_prefix("http://").expect("hosts of tests speak plain HTTP");
        Self { stream: TcpStream::connect(address).await.expect("it listens") }
    }

    /// False: the host has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Says that no more bytes come.
    pub async fn finish(&mut self) {
        // Who has closed already needs not be told.
        drop(self.stream.shutdown().await);
    }

    /// All that comes until the host closes, which it must do in time. A reset counts as closing.
    pub async fn rest(&mut self) -> RawResponse {
        let mut bytes = Vec::new();
        let reading = async {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = self.stream.read(&mut buffer).await {
                if bytes.len() < ANSWER_BYTES_MAX {
                    bytes.extend_from_slice(&buffer[..count]);
                }
            }
        };
        timeout(ANSWER_LONGEST, reading).await.expect("the host closes the connection in time");
        RawResponse { text: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

impl RawResponse {
    /// The statuses of all responses, in their order.
    pub fn statuses(&self) -> Vec<u16> {
        let lines = self.text.match_indices("HTTP/1.").filter_map(|(at, _)| self.text.get(at..at + 12));
        lines.filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect()
    }

    pub fn status(&self) -> Option<u16> {
        self.statuses().first().copied()
    }
}
