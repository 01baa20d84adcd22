//! One kept HTTP/1.1 connection.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::Target;

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// All but the body, the same for every request.
    parts: Parts,
    body: Bytes,
    _driver: AbortOnDropHandle<hyper::Result<()>>,
}

impl Connection {
    pub async fn open(target: Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("cannot connect the load")?;
        stream.set_nodelay(true).context("cannot set up a connection of the load")?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.context("cannot begin to speak HTTP")?;
        let mut request = Request::post(&target.path)
            .header(header::HOST, target.address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &target.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let (parts, ()) = request.body(()).context("the target is no HTTP request")?.into_parts();
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        Ok(Self { sender, parts, body: target.body, _driver: driver })
    }

    /// Posts the event once and returns the body of its 202.
    ///
    /// # Errors
    /// Another answer, or none.
    pub async fn post(&mut self) -> anyhow::Result<Bytes> {
        self.sender.ready().await.context("a connection of the load was closed")?;
        let request = Request::from_parts(self.parts.clone(), Full::new(self.body.clone()));
        let response = self.sender.send_request(request).await.context("an event was not answered")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("an answer broke off")?.to_bytes();
        if status != StatusCode::ACCEPTED {
            bail!("an event was answered with {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
