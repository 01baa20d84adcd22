//! Answering an event with what its run has come to: by `Prefer: wait=N` with the whole of it, by a trigger with
//! `reply = "result"` with what one node has emitted.
//!
//! | the run | a trigger answers | `Prefer: wait` |
//! |---|---|---|
//! | succeeded, and the port has a value | 200 and the value | 200 and the run |
//! | succeeded, and the port stayed empty | 204 | 200 and the run |
//! | a node found its input invalid | 422 | 200 and the run |
//! | a node did not answer in time | 504 | 200 and the run |
//! | failed otherwise, or was cancelled | 502 | 200 and the run |
//! | is not over in time, or there was no place to wait | 202 and its address | 202 and its address |
//!
//! Whoever sends to a trigger may be anybody: what guests say of a failure is for those who may see the run.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::value::RawValue;
use trellis_model::{
    AccountId, RunId,
    plan::PlannedReply,
    results::OMITTED_KEY,
    run::{Event, NodeResult, NodeState, ReasonKind, RunState},
};
use trellis_operator::{
    catalog::LoadedRevision,
    ingest::Accepted,
    watch::{EndedRun, WaitEnd},
};

use super::{
    Api, Problem, events, page,
    runs::{self, EventView, RunItem, RunView},
};

/// Names the run on answers that say what it came to.
const RUN_HEADER: HeaderName = HeaderName::from_static("trellis-run");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// A request is answered so long before it would be cut off.
const BEFORE_THE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a request wants to wait (RFC 7240), in whole seconds. What is no such preference is passed over, as the
/// specification wants it.
pub fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = preferences.flat_map(|value| value.split(','));
    preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds: u64 = value.trim().trim_matches('"').parse().ok()?;
        (name.trim().eq_ignore_ascii_case("wait") && seconds > 0).then(|| Duration::from_secs(seconds))
    })
}

/// An accepted event, and where it came in.
pub struct Waiting<'a> {
    pub api: &'a Api,
    pub account: AccountId,
    pub revision: &'a LoadedRevision,
    pub grid: &'a str,
    pub accepted: Accepted,
}

impl Waiting<'_> {
    /// Answers with the run when it is over, after `wait` at most.
    pub async fn with_run(&self, wait: Duration, event: Event) -> Result<Response, Problem> {
        let wait = self.longest(Some(wait));
        let Some(view) = self.view(self.wait(wait).await?, event).await? else {
            return Ok(self.not_yet());
        };
        let mut response = (StatusCode::OK, Json(view)).into_response();
        let applied = format!("wait={}", wait.as_secs());
        if let Ok(applied) = HeaderValue::from_str(&applied) {
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
        Ok(self.named(response))
    }

    /// Answers with what a node has emitted.
    pub async fn with_result(&self, reply: &PlannedReply) -> Result<Response, Problem> {
        let end = self.wait(self.longest(reply.timeout_ms.map(Duration::from_millis))).await?;
        let Some((state, nodes)) = self.results(end).await? else { return Ok(self.not_yet()) };
        Ok(self.named(result(state, &nodes, reply).unwrap_or_else(IntoResponse::into_response)))
    }

    fn longest(&self, wanted: Option<Duration>) -> Duration {
        let config = &self.api.config;
        let longest = config.watch.wait_max.min(config.request_timeout.saturating_sub(BEFORE_THE_TIMEOUT));
        wanted.map_or(longest, |wanted| wanted.min(longest))
    }

    async fn wait(&self, longest: Duration) -> Result<WaitEnd, Problem> {
        let Ok(_place) = self.api.waits.take(self.account) else { return Ok(WaitEnd::NotYet) };
        let (host, run) = (&self.api.host, self.accepted.run);
        let place = (self.account, run, host.shard_of(self.account, run));
        Ok(host.watches.wait(&host.database, place, self.accepted.is_repeat, longest).await?)
    }

    /// 202, with where the run can be looked at.
    fn not_yet(&self) -> Response {
        let mut response = events::accepted(self.accepted);
        let address = format!("{}/v1/runs/{}", self.api.config.base_url, self.accepted.run);
        if let Ok(address) = HeaderValue::from_str(&address) {
            response.headers_mut().insert(header::LOCATION, address);
        }
        response
    }

    fn named(&self, mut response: Response) -> Response {
        if let Ok(run) = HeaderValue::from_str(&self.accepted.run.to_string()) {
            response.headers_mut().insert(RUN_HEADER, run);
        }
        response
    }

    /// None: nothing is known, or not yet.
    async fn results(&self, end: WaitEnd) -> Result<Option<(RunState, Vec<NodeResult>)>, Problem> {
        if let WaitEnd::Ended(end) = &end
            && let Some(nodes) = &end.nodes
        {
            return Ok(Some((end.news.state, read(self.accepted.run, nodes)?)));
        }
        Ok(self.in_history(&end).await?.map(|view| (view.item.state, view.nodes)))
    }

    async fn view(&self, end: WaitEnd, event: Event) -> Result<Option<RunView>, Problem> {
        // Of an event that was accepted before, the revision and the attributes are those of then.
        if self.accepted.is_repeat
            && let Some(view) = self.in_history(&end).await?
        {
            return Ok(Some(view));
        }
        if let WaitEnd::Ended(end) = &end
            && let Some(nodes) = &end.nodes
        {
            let nodes = read(self.accepted.run, nodes)?;
            let event = EventView { attributes: event.attributes.into_iter().collect(), data: event.data };
            return Ok(Some(RunView { item: self.item(end), event, nodes }));
        }
        self.in_history(&end).await
    }

    async fn in_history(&self, end: &WaitEnd) -> Result<Option<RunView>, Problem> {
        if matches!(end, WaitEnd::NotYet | WaitEnd::NotKept) {
            return Ok(None);
        }
        let detail = self.api.host.database.run(self.account, self.accepted.run).await?;
        // What is not kept is gone by now.
        detail.filter(|detail| detail.summary.state.is_final()).map(runs::view).transpose()
    }

    fn item(&self, end: &EndedRun) -> RunItem {
        RunItem {
            run: self.accepted.run,
            project: self.revision.project_name.clone(),
            revision: self.revision.id,
            grid: self.grid.to_owned(),
            state: end.news.state,
            accepted_at: page::time_ms(self.accepted.run.accepted_at_ms()),
            started_at: end.started_at_ms.map(page::time_ms),
            ended_at: Some(page::time_ms(end.news.at_ms)),
            run_at: None,
            error: end.news.error.clone(),
            replayed_as: None,
        }
    }
}

fn read(run: RunId, nodes: &[u8]) -> Result<Vec<NodeResult>, Problem> {
    serde_json::from_slice(nodes).map_err(|error| {
        tracing::error!(%run, %error, "what a run came to is not readable");
        Problem::internal()
    })
}

/// The answer of a trigger.
fn result(state: RunState, nodes: &[NodeResult], reply: &PlannedReply) -> Result<Response, Problem> {
    match state {
        RunState::Succeeded => {}
        RunState::Cancelled => return Err(Problem::run_failed("the run was cancelled")),
        _ => return Err(failed(nodes)),
    }
    let node = nodes.iter().find(|node| node.node == reply.node);
    let Some(value) = node.and_then(|node| node.outputs.get(&reply.port)) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    if is_omitted(value) {
        let detail = format!("what node `{}` has emitted was too large to be kept; emit less", reply.node);
        return Err(Problem::run_failed(detail));
    }
    let kind = HeaderValue::from_static("application/json");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], value.get().to_owned()).into_response())
}

/// Whether this is what history has in the place of a value that was too large.
fn is_omitted(value: &RawValue) -> bool {
    value.get().strip_prefix("{\"").is_some_and(|rest| rest.starts_with(OMITTED_KEY))
}

fn failed(nodes: &[NodeResult]) -> Problem {
    let Some(node) = nodes.iter().find(|node| node.state == NodeState::Failed) else {
        return Problem::run_failed("the run has failed");
    };
    let name = &node.node;
    match node.reason.as_ref().map(|reason| reason.kind) {
        Some(ReasonKind::InvalidInput) => Problem::run_input(format!("node `{name}` does not take what it was given")),
        Some(ReasonKind::Timeout) => Problem::run_timeout(format!("node `{name}` did not come to an end in time")),
        _ => Problem::run_failed(format!("node `{name}` has failed")),
    }
}

#[cfg(test)]
mod tests {
    use trellis_model::run::{Outputs, Reason};

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_preference_to_wait_is_found_among_others_and_what_is_none_is_passed_over() {
        for (values, expected) in [
            (vec!["wait=10"], Some(10)),
            (vec!["respond-async, Wait = 5"], Some(5)),
            (vec!["handling=lenient", "wait=\"7\"; x=y"], Some(7)),
            (vec!["wait"], None),
            (vec!["wait=soon"], None),
            (vec!["wait=0"], None),
            (vec!["wait=-1"], None),
            (vec!["waiting=3"], None),
            (vec![], None),
        ] {
            let wait = preferred_wait(&headers(&values));
            assert_eq!(wait.map(|wait| wait.as_secs()), expected, "{values:?}");
        }
    }

    fn node(state: NodeState, kind: Option<ReasonKind>, output: Option<&str>) -> NodeResult {
        let reason = kind.map(|kind| Reason { kind, message: "a secret of the guest".to_owned() });
        let raw = |json: &str| RawValue::from_string(json.to_owned()).expect("JSON");
        let outputs = output.map(|json| ("out".to_owned(), raw(json))).into_iter().collect::<Outputs>();
        NodeResult { reason, outputs, ..NodeResult::new("a", state) }
    }

    #[test]
    fn each_end_of_a_run_has_its_status_and_tells_nothing_of_the_guest() {
        let reply = PlannedReply { node: "a".to_owned(), port: "out".to_owned(), timeout_ms: None };
        let failed = |kind| node(NodeState::Failed, Some(kind), None);
        for (state, node, status) in [
            (RunState::Succeeded, node(NodeState::Succeeded, None, Some("{\"n\":1}")), 200),
            (RunState::Succeeded, node(NodeState::Succeeded, None, None), 204),
            (RunState::Succeeded, node(NodeState::Skipped, Some(ReasonKind::NoInput), None), 204),
            (RunState::Succeeded, node(NodeState::Succeeded, None, Some("{\"omitted-output-bytes\":9}")), 502),
            (RunState::Dead, failed(ReasonKind::InvalidInput), 422),
            (RunState::Dead, failed(ReasonKind::Timeout), 504),
            (RunState::Dead, failed(ReasonKind::Permanent), 502),
            (RunState::Cancelled, failed(ReasonKind::Permanent), 502),
        ] {
            let (told, problem) = match result(state, &[node], &reply) {
                Ok(response) => (response.status().as_u16(), String::new()),
                Err(problem) => (problem.status, problem.detail),
            };
            assert_eq!(told, status);
            assert!(!problem.contains("secret"), "{problem}");
        }
        assert!(matches!(result(RunState::Dead, &[], &reply), Err(problem) if problem.status == 502));
    }
}
