//! The world outside, played by a small HTTP server: it counts what it is asked, and answers as the path says.
//!
//! ```text
//! /flaky/{failures}/…   503 so many times, then 200
//! /status/{status}/…    that status
//! /meet/{guests}/…      answers nobody before so many are there at once
//! /hold/{name}          answers when the test lets go
//! /script/{steps}/…     one step a request, such as `200,503,hold`; the last one again and again
//! /slow/{ms}/…          answers after that time
//! /busy/{times}/{s}/…   429 with that many seconds to wait so many times, then 200
//! /drip/{ms}/…          200, and a byte of its body after each such time, without an end
//! /endless/…            200, and a body without an end, as fast as it is read
//! /headers/{count}/…    200 with so many headers
//! anything else         200
//! ```

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use super::eventually;

/// After that, guests who wait for others are told that nobody came.
const MEETING_LONGEST: Duration = Duration::from_secs(20);

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub idempotency_key: Option<String>,
    pub authorization: Option<String>,
    /// When it came in.
    pub at: Instant,
    /// How many requests to this path were being answered then, this one included.
    pub at_once: usize,
}

pub struct Outside {
    pub url: String,
    pub address: SocketAddr,
    world: Arc<World>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct World {
    state: Mutex<Told>,
    changed: Notify,
}

#[derive(Default)]
struct Told {
    received: Vec<Received>,
    /// How many are waiting at each meeting.
    waiting: HashMap<String, usize>,
    /// How many are being answered at each path.
    inside: HashMap<String, usize>,
    released: HashSet<String>,
}

impl Outside {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let world = Arc::new(World::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&world));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { url: format!("http://{address}"), address, world, task }
    }

    /// The requests to paths that begin like this.
    pub fn received(&self, prefix: &str) -> Vec<Received> {
        let told = self.world.told();
        told.received.iter().filter(|request| request.path.starts_with(prefix)).cloned().collect()
    }

    /// Waits until a path was asked for.
    pub async fn asked(&self, prefix: &str) {
        eventually(&format!("a request to {prefix}"), async || (!self.received(prefix).is_empty()).then_some(())).await;
    }

    /// Answers those who are held, and those who come later.
    pub fn release(&self, path: &str) {
        self.world.told().released.insert(path.to_owned());
        self.world.changed.notify_waiters();
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Waits until something holds of what was told.
    async fn until(&self, holds: impl Fn(&Told) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.told()) {
                return;
            }
            changed.await;
        }
    }
}

async fn answer(State(world): State<Arc<World>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let times_before = note(&world, &request, &path);
    let mut steps = path.split('/').skip(1);
    let (verb, argument) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
    let (verb, argument) = if verb == "script" { step(argument, times_before) } else { (verb, argument) };
    let mut headers = HeaderMap::new();
    let status = match verb {
        "flaky" if times_before < number(argument) => StatusCode::SERVICE_UNAVAILABLE,
        "status" => StatusCode::from_u16(argument.parse().expect("a status")).expect("a status"),
        "meet" => meet(&world, &path, number(argument)).await,
        "hold" => {
            world.until(|told| told.released.contains(&path)).await;
            StatusCode::OK
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number(argument) as u64)).await;
            StatusCode::OK
        }
        "busy" if times_before < number(argument) => {
            let seconds = HeaderValue::from(number(steps.next().unwrap_or_default()));
            headers.insert(HeaderName::from_static("retry-after"), seconds);
            StatusCode::TOO_MANY_REQUESTS
        }
        "headers" => {
            for count in 0..number(argument) {
                let name = HeaderName::try_from(format!("x-{count}")).expect("a header's name");
                headers.insert(name, HeaderValue::from_static("x"));
            }
            StatusCode::OK
        }
        _ => StatusCode::OK,
    };
    if let Some(inside) = world.told().inside.get_mut(&path) {
        *inside -= 1;
    }
    let endless = match verb {
        "drip" => Some((Bytes::from_static(b"."), Duration::from_millis(number(argument) as u64))),
        "endless" => Some((Bytes::from_static(&[b'.'; 16_384]), Duration::ZERO)),
        _ => None,
    };
    match endless {
        Some((piece, pause)) => (status, headers, without_end(piece, pause)).into_response(),
        None => (status, headers, Json(json!({ "path": path }))).into_response(),
    }
}

fn without_end(piece: Bytes, pause: Duration) -> Body {
    Body::from_stream(stream::unfold(piece, move |piece| async move {
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(piece.clone()), piece))
    }))
}

/// What a script has for the request after so many others.
fn step(script: &str, times_before: usize) -> (&str, &str) {
    let steps: Vec<&str> = script.split(',').collect();
    match steps[times_before.min(steps.len() - 1)] {
        "hold" => ("hold", ""),
        status => ("status", status),
    }
}

/// Notes a request; answers how often that path was asked for before.
fn note(world: &World, request: &Request, path: &str) -> usize {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let mut told = world.told();
    let before = told.received.iter().filter(|request| request.path == path).count();
    let inside = told.inside.entry(path.to_owned()).or_default();
    *inside += 1;
    let at_once = *inside;
    told.received.push(Received {
        method: request.method().to_string(),
        path: path.to_owned(),
        idempotency_key: header("idempotency-key"),
        authorization: header("authorization"),
        at: Instant::now(),
        at_once,
    });
    before
}

async fn meet(world: &World, path: &str, guests: usize) -> StatusCode {
    *world.told().waiting.entry(path.to_owned()).or_default() += 1;
    world.changed.notify_waiters();
    let all_are_there = world.until(|told| told.waiting[path] >= guests);
    match tokio::time::timeout(MEETING_LONGEST, all_are_there).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::GONE,
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}
