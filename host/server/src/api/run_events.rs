//! `GET /v1/runs/{run}/events`: a run as it goes on, as server-sent events, from whichever host is asked.
//!
//! ```text
//! snapshot from the database ─► news as they come ─► the end of the run, and of the stream
//! ```
//!
//! Each event says where the run or one of its nodes stands, and replaces what was said of it before; so whoever reads slowly
//! misses nothing that is still true, and nothing is kept for them but the newest. The id of an event is when it happened:
//! who comes back with `Last-Event-ID` is told what has happened since, and perhaps once more what happened in that very
//! millisecond.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;
use trellis_model::{
    AccountId, RunId,
    news::{CallProgress, NodeNews, NodePhase, RunNews},
    run::{NodeResult, RunState},
    token::Scope,
};
use trellis_operator::watch::{EndedRun, LOOK_INTERVAL, Watcher};
use trellis_store::runs::RunDetail;

use super::{
    Api, Problem,
    auth::{self, Caller},
    page::time_ms,
    places::{NoPlace, TakenPlace},
    request::PathOf,
    route::Route,
    runs,
};

pub fn declared() -> Vec<Route> {
    let summary = "Follow a run: an event for each change of the run and of its nodes, until it is over";
    vec![
        Route::get("/v1/runs/{run}/events", Scope::RunsRead, summary, follow)
            .answers_events::<RunEvent>("The events `run` and `node`, each with its data")
            .answers_nothing(204, "The run is over, and `Last-Event-ID` says that its end was seen")
            .problems(&[429]),
    ]
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// News are gathered for this long between two looks: more often nobody can read.
const GATHER: Duration = Duration::from_millis(50);
/// When a reader without a place may try again.
const PLACE_RETRY: Duration = Duration::from_secs(5);
/// The end of the id of a run's last event.
const END: &str = "-end";

/// The data of one event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RunEvent {
    /// `event: run`: where the run stands. The last one of a stream that was not cut off.
    Run(RunStanding),
    /// `event: node`: where one of its nodes stands.
    Node(NodeStanding),
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct RunStanding {
    pub run: RunId,
    pub state: RunState,
    pub at: String,
    /// When a waiting run goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct NodeStanding {
    pub node: String,
    pub state: NodePhase,
    /// Of the call that is or was made last; 0: none was.
    pub attempt: u32,
    pub at: String,
    /// When a waiting node is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a node with `each`: how many elements have succeeded, and of how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements_done: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements_total: Option<u32>,
    /// How far a running call has come, as its plugin says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<CallProgress>,
}

/// `GET /v1/runs/{run}/events`
pub async fn follow(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(name): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (account, run) = (caller.account()?, runs::id(&name)?);
    let place = api.streams.take(account).map_err(no_place)?;
    // Watched before it is looked for.
    let watcher = api.host.watches.watch(account, run);
    let detail = runs::find(&api, &caller, account, &name).await?;
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    if detail.summary.state.is_final() && seen.ends_with(END) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let since_ms = seen.trim_end_matches(END).parse().unwrap_or(i64::MIN);
    let config = &api.config.watch;
    let heartbeat = KeepAlive::new().interval(config.heartbeat).text("heartbeat");
    let mut follower = Follower::new(Arc::clone(&api), (account, run), headers, watcher, (since_ms, place));
    follower.snapshot(detail);
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let mut response = Sse::new(events).keep_alive(heartbeat).into_response();
    // Proxies are not to wait for more.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

fn no_place(none: NoPlace) -> Problem {
    match none {
        NoPlace::Account => {
            Problem::too_many_streams("this account follows as many runs as it may at the same time", PLACE_RETRY)
        }
        NoPlace::Host => Problem::unavailable("as many runs are followed through this host as it can", PLACE_RETRY),
    }
}

/// One reader of a run's events.
struct Follower {
    api: Arc<Api>,
    account: AccountId,
    run: RunId,
    /// Of the request: who reads.
    headers: HeaderMap,
    watcher: Watcher,
    /// What happened before this is known to the reader.
    since_ms: i64,
    /// What was said last of each node.
    nodes: HashMap<String, NodeNews>,
    state: Option<RunNews>,
    waiting: VecDeque<Event>,
    looks: u64,
    next_look: Instant,
    until: Instant,
    is_over: bool,
    _place: TakenPlace,
}

impl Follower {
    fn new(
        api: Arc<Api>,
        (account, run): (AccountId, RunId),
        headers: HeaderMap,
        watcher: Watcher,
        (since_ms, place): (i64, TakenPlace),
    ) -> Self {
        let (now, longest) = (Instant::now(), api.config.watch.stream_max);
        Self {
            api,
            account,
            run,
            headers,
            watcher,
            since_ms,
            nodes: HashMap::new(),
            state: None,
            waiting: VecDeque::new(),
            looks: 0,
            next_look: now,
            until: now + longest,
            is_over: false,
            _place: place,
        }
    }

    /// None: there is no more.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        // First, or news that never cease would keep a stream for ever.
        let now = Instant::now();
        if now >= self.until {
            self.is_over = true;
            return;
        }
        if now >= self.next_look {
            if !self.may_read_on().await {
                self.is_over = true;
                return;
            }
            // The first time at once: whoever runs it is to say where it stands.
            self.watcher.ask();
            self.next_look = now + LOOK_INTERVAL;
        }
        let live = self.watcher.now();
        if let Some(end) = live.ended {
            return self.end(&end).await;
        }
        if let Some(news) = live.run {
            self.note_run(news);
        }
        self.note_nodes(live.nodes.into_values().collect());
        if live.looks > self.looks {
            self.looks = live.looks;
            return self.look().await;
        }
        if !self.waiting.is_empty() {
            return;
        }
        tokio::select! {
            () = self.watcher.changed() => tokio::time::sleep(GATHER).await,
            () = tokio::time::sleep_until(self.next_look) => self.look().await,
            () = tokio::time::sleep_until(self.until) => self.is_over = true,
            // The reader goes on at another host.
            () = self.api.host.watches.closed() => self.is_over = true,
        }
    }

    /// Whether the reader's token is good still: they may read on for no longer than they could ask anew.
    async fn may_read_on(&self) -> bool {
        match auth::authorize(&self.api, &self.headers, Scope::RunsRead).await {
            Ok(_) => true,
            Err(problem) => problem.status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
        }
    }

    /// What the database knows: for news that got lost.
    async fn look(&mut self) {
        match self.api.host.database.run(self.account, self.run).await {
            Ok(Some(detail)) => self.snapshot(detail),
            // Over and not kept; if nobody says how it ended, the reader finds that out by coming back.
            Ok(None) => self.is_over = self.watcher.now().ended.is_none(),
            Err(error) => tracing::debug!(run = %self.run, %error, "a run that is followed was not looked at"),
        }
    }

    fn snapshot(&mut self, detail: RunDetail) {
        let (summary, run) = (detail.summary, self.run);
        let state = summary.state;
        let at_ms = match state {
            RunState::Queued => run.accepted_at_ms(),
            _ => summary
                .ended_at_ms
                .or(self.state.as_ref().filter(|said| said.state == state).map(|said| said.at_ms))
                .unwrap_or_else(|| self.api.host.clock.now_ms()),
        };
        let nodes = detail.nodes.as_deref().map(serde_json::from_slice::<Vec<NodeResult>>);
        if let Some(Ok(nodes)) = nodes {
            self.note_nodes(nodes.iter().map(NodeNews::of).collect());
        }
        let news = RunNews { run_at_ms: summary.run_at_ms, error: summary.error, ..RunNews::new(state, at_ms) };
        if state.is_final() { self.say_end(&news) } else { self.note_run(news) }
    }

    async fn end(&mut self, end: &EndedRun) {
        match &end.nodes {
            Some(nodes) => {
                let nodes: Vec<NodeResult> = serde_json::from_slice(nodes).unwrap_or_default();
                self.note_nodes(nodes.iter().map(NodeNews::of).collect());
            }
            None => self.look().await,
        }
        if !self.is_over {
            self.say_end(&end.news);
        }
    }

    fn say_end(&mut self, news: &RunNews) {
        let id = format!("{}{END}", news.at_ms);
        self.push("run", id, &RunEvent::Run(self.run_standing(news)));
        self.is_over = true;
    }

    fn note_run(&mut self, news: RunNews) {
        let is_known = self.state.as_ref().is_some_and(|said| {
            (said.state, said.run_at_ms, &said.error) == (news.state, news.run_at_ms, &news.error)
                // The database tells it as it was a moment ago.
                || said.at_ms > news.at_ms
        });
        if !is_known {
            self.push("run", news.at_ms.to_string(), &RunEvent::Run(self.run_standing(&news)));
            self.state = Some(news);
        }
    }

    fn note_nodes(&mut self, mut news: Vec<NodeNews>) {
        news.sort_by(|one, other| (one.at_ms, &one.node).cmp(&(other.at_ms, &other.node)));
        for one in news {
            let known = self.nodes.get(&one.node);
            if known.is_some_and(|known| *known == one || known.at_ms > one.at_ms) {
                continue;
            }
            // What has come to its end before the reader went away, it has been told.
            if one.at_ms >= self.since_ms || !one.state.is_final() {
                self.push("node", one.at_ms.to_string(), &RunEvent::Node(node_standing(&one)));
            }
            self.nodes.insert(one.node.clone(), one);
        }
    }

    fn push(&mut self, kind: &str, id: String, data: &RunEvent) {
        match Event::default().event(kind).id(id).json_data(data) {
            Ok(event) => self.waiting.push_back(event),
            Err(error) => tracing::error!(run = %self.run, %error, "an event of a run cannot be written"),
        }
    }

    fn run_standing(&self, news: &RunNews) -> RunStanding {
        RunStanding {
            run: self.run,
            state: news.state,
            at: time_ms(news.at_ms),
            run_at: news.run_at_ms.map(time_ms),
            error: news.error.clone(),
        }
    }
}

fn node_standing(news: &NodeNews) -> NodeStanding {
    NodeStanding {
        node: news.node.clone(),
        state: news.state,
        attempt: news.attempt,
        at: time_ms(news.at_ms),
        due_at: news.due_at_ms.map(time_ms),
        reason: news.reason.clone(),
        elements_done: news.elements_done,
        elements_total: news.elements_total,
        progress: news.progress.clone(),
    }
}
