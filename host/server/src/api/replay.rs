//! Replaying runs that are over: one, or the dead letters of a project.

use std::{fmt, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
};
use trellis_model::{
    AccountId, RunId,
    plan::GridPlan,
    replay::{ReplayFrom, ReplayRevision, kept_results, replayed_event},
    run::{Event, NodeResult, RunState},
};
use trellis_operator::{
    catalog::{CatalogError, LoadedRevision},
    ingest::{EventKeys, NewEvent, ReplayOf},
};
use trellis_store::{
    replays::{DeadLetter, DeadLetterFilter},
    runs::{RunDetail, RunSummary},
};

use super::{
    Api, Problem,
    auth::Caller,
    page, projects,
    request::{PathOf, json, read_body},
    runs,
};

/// How a run is replayed.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayOne {
    from: ReplayFrom,
    revision: ReplayRevision,
    /// Even if it was replayed before.
    again: bool,
}

/// The answer to a replay: it is committed, and this is its run.
#[derive(Debug, Serialize)]
pub struct Replayed {
    pub run: RunId,
    pub replay_of: RunId,
}

/// `POST /v1/runs/{run}/replay`
pub async fn replay(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(run): PathOf<String>,
    request: Request,
) -> Result<(StatusCode, Json<Replayed>), Problem> {
    let id = runs::id(&run)?;
    let wanted: ReplayOne = body(&api, request).await?;
    let replayed = replay_one(&api, &caller, id, wanted).await?;
    Ok((StatusCode::ACCEPTED, Json(Replayed { run: replayed, replay_of: id })))
}

/// A body that may be left out.
async fn body<T: DeserializeOwned + Default>(api: &Api, request: Request) -> Result<T, Problem> {
    let bytes = read_body(request.into_body(), api.config.body_bytes_max).await?;
    if bytes.is_empty() { Ok(T::default()) } else { json(&bytes) }
}

async fn replay_one(api: &Api, caller: &Caller, run: RunId, wanted: ReplayOne) -> Result<RunId, Problem> {
    let account = caller.account()?;
    let detail = api.host.database.run(account, run).await?;
    let detail = detail.filter(|detail| caller.may_see(detail.summary.project));
    let detail = detail.ok_or_else(|| runs::unknown(&run.to_string()))?;
    check(&detail.summary, wanted)?;
    let revision = revision(api, caller, &detail.summary, wanted.revision).await?;
    let grid = grid(&revision, &detail.summary.grid)?;
    let nodes = match wanted.from {
        ReplayFrom::Start => None,
        ReplayFrom::Failed => kept_nodes(api, account, &detail, &revision, &grid).await?,
    };
    let event = event(&detail)?;
    let event = NewEvent {
        place: revision.place(&detail.summary.grid, &event),
        payload: serde_json::to_vec(&event).map_err(|error| unreadable(run, &error))?,
        account,
        project: revision.project,
        revision: revision.id,
        grid: detail.summary.grid.as_str().into(),
        keys: EventKeys::default(),
    };
    Ok(api.host.ingest.replay(event, ReplayOf { run, again: wanted.again, nodes }).await?)
}

/// Whether the run can be replayed at all.
fn check(summary: &RunSummary, wanted: ReplayOne) -> Result<(), Problem> {
    let (run, state) = (summary.run, summary.state);
    if !state.is_final() {
        let detail = format!("{run} is not over: its state is `{}`; wait for its end or cancel it", state.name());
        return Err(Problem::run_state(detail));
    }
    if let Some(replay) = summary.replayed_as.filter(|_| !wanted.again) {
        let detail = format!("{run} was replayed already, as {replay}; ask for it with `\"again\": true`");
        return Err(Problem::run_state(detail));
    }
    if wanted.from == ReplayFrom::Failed && state == RunState::Succeeded {
        let detail = format!("{run} has succeeded: there is no failed node to begin with; replay it from `start`");
        return Err(Problem::not_replayable(detail));
    }
    Ok(())
}

async fn revision(
    api: &Api,
    caller: &Caller,
    summary: &RunSummary,
    wanted: ReplayRevision,
) -> Result<Arc<LoadedRevision>, Problem> {
    if summary.project_name.is_empty() {
        return Err(Problem::not_replayable(format!("the project of {} does not exist any more", summary.run)));
    }
    let id = match wanted {
        ReplayRevision::Same => Some(summary.revision),
        ReplayRevision::Current => projects::find(api, caller, &summary.project_name).await?.revision,
    };
    let id = id.ok_or_else(|| {
        Problem::not_replayable(format!("project `{}` has no current revision", summary.project_name))
    })?;
    api.host.catalog.revision(caller.account()?, id).await.map_err(|error| match error {
        CatalogError::Store(error) => error.into(),
        CatalogError::Unusable(reason) => Problem::not_replayable(reason),
    })
}

fn grid(revision: &LoadedRevision, name: &str) -> Result<Arc<GridPlan>, Problem> {
    revision.grid(name).ok_or_else(|| {
        let known = revision.grid_names().join(", ");
        let project = &revision.project_name;
        Problem::not_replayable(format!(
            "revision {} of project `{project}` has no grid `{name}`; it has: {known}; replay it on its own revision with `\"revision\": \"same\"`",
            revision.id
        ))
    })
}

/// What the new run need not do again.
async fn kept_nodes(
    api: &Api,
    account: AccountId,
    detail: &RunDetail,
    revision: &LoadedRevision,
    grid: &GridPlan,
) -> Result<Option<Vec<u8>>, Problem> {
    let summary = &detail.summary;
    let Some(nodes) = &detail.nodes else { return Ok(None) };
    let results: Vec<NodeResult> = serde_json::from_slice(nodes).map_err(|error| unreadable(summary.run, &error))?;
    let before = match api.host.catalog.revision(account, summary.revision).await {
        Ok(before) => before.grid(&summary.grid),
        Err(CatalogError::Store(error)) => return Err(error.into()),
        Err(CatalogError::Unusable(reason)) => {
            tracing::info!(run = %summary.run, revision = %revision.id, reason, "replayed without its own plan");
            None
        }
    };
    let kept = kept_results(results, grid, before.as_deref());
    if kept.is_empty() {
        return Ok(None);
    }
    serde_json::to_vec(&kept).map(Some).map_err(|error| unreadable(summary.run, &error))
}

/// What the new run is told of the old one.
fn event(detail: &RunDetail) -> Result<Event, Problem> {
    let run = detail.summary.run;
    let event: Event = serde_json::from_slice(&detail.event).map_err(|error| unreadable(run, &error))?;
    Ok(replayed_event(event, run))
}

fn unreadable(run: RunId, error: &serde_json::Error) -> Problem {
    tracing::error!(%run, %error, "a stored run is not readable");
    Problem::internal()
}

/// Which dead letters are replayed, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayMany {
    project: String,
    grid: Option<String>,
    /// Text that the error has in it; upper and lower case differ.
    error_contains: Option<String>,
    /// RFC 3339: accepted then or later.
    accepted_after: Option<String>,
    /// RFC 3339: accepted earlier.
    accepted_before: Option<String>,
    #[serde(default)]
    from: ReplayFrom,
    #[serde(default)]
    revision: ReplayRevision,
    /// The `next` of the answer before.
    after: Option<Cursor>,
    limit: Option<i64>,
    /// Only tell which.
    #[serde(default)]
    dry_run: bool,
}

/// What became of a number of dead letters.
#[derive(Debug, Serialize)]
pub struct ReplayedMany {
    pub replayed: usize,
    pub runs: Vec<ReplayedItem>,
    /// Pass as `after` to go on; absent: there were no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// Where to go on: behind the last dead letter that was looked at, and only up to where the first request has looked. A
/// replay that becomes a dead letter again is not replayed again by the requests that follow, or they would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    after: RunId,
    before: RunId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.after, self.before)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = || {
            let (after, before) = text.split_once('-')?;
            Some(Self { after: after.parse().ok()?, before: before.parse().ok()? })
        };
        parse().ok_or_else(|| de::Error::custom("`after` is not the `next` of an answer"))
    }
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct ReplayedItem {
    pub run: RunId,
    pub grid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_as: Option<RunId>,
    /// Why it was not replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Dead letters that one request looks at, whether their errors match or not.
const LOOKED_AT_MAX: i64 = 2_000;
/// Dead letters that are being replayed at the same time: each is held in memory whole.
const AT_ONCE: usize = 8;

/// `POST /v1/runs/replay`: dead letters that were not replayed yet, oldest first, a bounded number at a time.
pub async fn replay_many(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<ReplayedMany>, Problem> {
    let wanted: ReplayMany = json(&read_body(request.into_body(), api.config.body_bytes_max).await?)?;
    let limit = page::limit(wanted.limit)?;
    let filter = filter(&api, &caller, &wanted).await?;
    let looked_at = api.host.database.dead_letters(caller.account()?, &filter, LOOKED_AT_MAX).await?;
    let (matches, last) = page_of(looked_at, usize::try_from(limit).unwrap_or(usize::MAX));
    let next = last.map(|after| Cursor { after, before: filter.before });
    let runs = if wanted.dry_run {
        matches.into_iter().map(|letter| item(letter, None, None)).collect()
    } else {
        let how = ReplayOne { from: wanted.from, revision: wanted.revision, again: false };
        let replays = stream::iter(matches).map(|letter| replay_letter(&api, &caller, letter, how));
        replays.buffered(AT_ONCE).try_collect::<Vec<ReplayedItem>>().await?
    };
    let replayed = runs.iter().filter(|item| item.replayed_as.is_some()).count();
    Ok(Json(ReplayedMany { replayed, runs, next }))
}

async fn filter(api: &Api, caller: &Caller, wanted: &ReplayMany) -> Result<DeadLetterFilter, Problem> {
    let from_ms = runs::unix_ms("accepted_after", wanted.accepted_after.as_deref())?;
    let until_ms = runs::unix_ms("accepted_before", wanted.accepted_before.as_deref())?;
    let earliest = from_ms.map_or(RunId(0), |from| RunId(RunId::first_at(from).0 - 1));
    // What is accepted from now on is none of what was asked for.
    let (after, before) = match wanted.after {
        Some(cursor) => (cursor.after, cursor.before),
        None => (RunId(0), RunId::first_at(api.host.clock.now_ms().saturating_add(1))),
    };
    Ok(DeadLetterFilter {
        project: projects::find(api, caller, &wanted.project).await?.id,
        grid: wanted.grid.clone(),
        error_contains: wanted.error_contains.clone(),
        after: after.max(earliest),
        before: until_ms.map_or(before, |until| before.min(RunId::first_at(until))),
    })
}

/// The first matches, and behind which run to go on looking.
fn page_of(looked_at: Vec<DeadLetter>, limit: usize) -> (Vec<DeadLetter>, Option<RunId>) {
    let is_all = i64::try_from(looked_at.len()).is_ok_and(|count| count < LOOKED_AT_MAX);
    let last = looked_at.last().map(|letter| letter.run);
    let matches: Vec<DeadLetter> = looked_at.into_iter().filter(|letter| letter.is_match).take(limit).collect();
    let is_full = matches.len() == limit;
    let next = if is_full { matches.last().map(|letter| letter.run) } else { last.filter(|_| !is_all) };
    (matches, next)
}

/// Replays one of many. What is wrong with it alone is told with it; a host that cannot go on says so instead.
async fn replay_letter(
    api: &Api,
    caller: &Caller,
    letter: DeadLetter,
    how: ReplayOne,
) -> Result<ReplayedItem, Problem> {
    match replay_one(api, caller, letter.run, how).await {
        Ok(run) => Ok(item(letter, Some(run), None)),
        Err(problem) if problem.status < 500 => Ok(item(letter, None, Some(problem.detail))),
        Err(problem) => Err(problem),
    }
}

fn item(letter: DeadLetter, replayed_as: Option<RunId>, refused: Option<String>) -> ReplayedItem {
    ReplayedItem { run: letter.run, grid: letter.grid, error: letter.error, replayed_as, refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(matches: impl Iterator<Item = bool>) -> Vec<DeadLetter> {
        let letter = |(run, is_match)| DeadLetter { run: RunId(run), grid: "g".to_owned(), error: None, is_match };
        (1..).zip(matches).map(letter).collect()
    }

    fn page(looked_at: Vec<DeadLetter>, limit: usize) -> (Vec<i64>, Option<i64>) {
        let (matches, next) = page_of(looked_at, limit);
        (matches.into_iter().map(|letter| letter.run.0).collect(), next.map(|run| run.0))
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = Cursor { after: RunId(7), before: RunId(i64::MAX) };
        let text = serde_json::to_string(&cursor).expect("serializes");
        assert_eq!(serde_json::from_str::<Cursor>(&text).expect("reads back"), cursor);
        for text in ["\"\"", "\"run_0000000000007\"", "\"run_0000000000007-\"", "7"] {
            assert!(serde_json::from_str::<Cursor>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_full_page_goes_on_behind_its_last_match() {
        assert_eq!(page(letters([true, false, true, true].into_iter()), 2), (vec![1, 3], Some(3)));
    }

    #[test]
    fn a_page_that_has_seen_everything_is_the_last() {
        assert_eq!(page(letters([true, false].into_iter()), 2), (vec![1], None));
        assert_eq!(page(Vec::new(), 2), (Vec::new(), None));
    }

    #[test]
    fn looking_that_was_cut_short_goes_on_although_nothing_matched() {
        let looked_at = letters(std::iter::repeat_n(false, usize::try_from(LOOKED_AT_MAX).expect("small")));
        assert_eq!(page(looked_at, 2), (Vec::new(), Some(LOOKED_AT_MAX)));
    }
}
