//! Replaying runs that are over: one, or the dead letters of a project.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use trellis_model::{
    AccountId, RunId,
    description::NAME_BYTES_MAX,
    plan::GridPlan,
    replay::{ReplayFrom, ReplayRevision, kept_results, replayed_event},
    run::{Event, NodeResult, RunState},
    token::Scope,
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
    cursor::Cursor,
    page::{self, LIMIT_MAX},
    projects,
    request::{PathOf, at_most, grid_name, json, optional_json, read_body},
    route::Route,
    runs,
};

pub fn declared() -> Vec<Route> {
    vec![
        Route::post("/v1/runs/{run}/replay", Scope::RunsWrite, "Run once more what is over", replay)
            .optional_json::<ReplayOne>()
            .answers::<Replayed>(202, "The replay is committed")
            .problems(&[409, 422]),
        Route::post(
            "/v1/runs/replay",
            Scope::RunsWrite,
            "Replay dead letters, a bounded number at a time",
            replay_many,
        )
        .json::<ReplayMany>()
        .answers::<ReplayedMany>(200, "What became of each")
        .problems(&[409, 422]),
    ]
}

/// How a run is replayed.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayOne {
    from: ReplayFrom,
    revision: ReplayRevision,
    /// Even if it was replayed before.
    again: bool,
}

/// The answer to a replay: it is committed, and this is its run.
#[derive(Debug, Serialize, JsonSchema)]
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
async fn body<T: DeserializeOwned + Default + JsonSchema>(api: &Api, request: Request) -> Result<T, Problem> {
    let bytes = read_body(request.into_body(), api.config.body_bytes_max).await?;
    optional_json(&bytes)
}

async fn replay_one(api: &Api, caller: &Caller, run: RunId, wanted: ReplayOne) -> Result<RunId, Problem> {
    let account = caller.account()?;
    let detail = api.host.database.run(account, run).await?;
    let detail = detail.filter(|detail| caller.may_see(detail.summary.project));
    let detail = detail.ok_or_else(|| runs::unknown(&run.to_string()))?;
    check(&detail.summary, wanted)?;
    let revision = revision(api, caller, &detail.summary, wanted.revision).await?;
    projects::servable(&revision)?;
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
        error @ CatalogError::Unusable(_) => Problem::not_replayable(error.to_string()),
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
        Err(reason @ CatalogError::Unusable(_)) => {
            tracing::info!(run = %summary.run, revision = %revision.id, %reason, "replayed without its own plan");
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayMany {
    project: String,
    #[schemars(length(max = NAME_BYTES_MAX))]
    grid: Option<String>,
    /// Text that the error has in it; upper and lower case differ.
    #[schemars(length(max = ERROR_TEXT_BYTES_MAX))]
    error_contains: Option<String>,
    /// RFC 3339: accepted then or later.
    #[schemars(extend("format" = "date-time"))]
    accepted_after: Option<String>,
    /// RFC 3339: accepted earlier.
    #[schemars(extend("format" = "date-time"))]
    accepted_before: Option<String>,
    #[serde(default)]
    from: ReplayFrom,
    #[serde(default)]
    revision: ReplayRevision,
    /// The `next` of the answer before.
    after: Option<Cursor>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
    /// Only tell which.
    #[serde(default)]
    dry_run: bool,
}

/// What became of a number of dead letters.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReplayedMany {
    pub replayed: usize,
    pub runs: Vec<ReplayedItem>,
    /// Pass as `after` to go on, after an error too; absent: there were no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
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

/// What became of one dead letter; an error stops all that follow.
type Attempt = Result<ReplayedItem, Problem>;

/// Dead letters that one request looks at, whether their errors match or not.
const LOOKED_AT_MAX: i64 = 2_000;
/// Bytes of the text that is looked for in every error.
const ERROR_TEXT_BYTES_MAX: usize = 256;
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
    grid_name(wanted.grid.as_deref())?;
    at_most("error_contains", wanted.error_contains.as_deref(), ERROR_TEXT_BYTES_MAX)?;
    let filter = filter(&api, &caller, &wanted).await?;
    let looked_at = api.host.database.dead_letters(caller.account()?, &filter, LOOKED_AT_MAX).await?;
    let (matches, last) = page_of(looked_at, usize::try_from(limit).unwrap_or(usize::MAX));
    let (runs, last) = if wanted.dry_run {
        (matches.into_iter().map(|letter| item(letter, None, None)).collect(), last)
    } else {
        let how = ReplayOne { from: wanted.from, revision: wanted.revision, again: false };
        let replays = attempts(matches, |letter| replay_letter(&api, &caller, letter, how)).await;
        let (runs, broken_off) = made(replays, filter.after)?;
        (runs, broken_off.or(last))
    };
    let replayed = runs.iter().filter(|item| item.replayed_as.is_some()).count();
    let next = last.map(|after| Cursor { after, before: filter.before });
    Ok(Json(ReplayedMany { replayed, runs, next }))
}

async fn filter(api: &Api, caller: &Caller, wanted: &ReplayMany) -> Result<DeadLetterFilter, Problem> {
    let from_ms = runs::unix_ms("accepted_after", wanted.accepted_after.as_deref())?;
    let until_ms = runs::unix_ms("accepted_before", wanted.accepted_before.as_deref())?;
    let earliest = from_ms.map_or(RunId(0), |from| RunId(RunId::first_at(from).0 - 1));
    let Cursor { after, before } = wanted.after.unwrap_or_else(|| Cursor::first(api.host.clock.now_ms()));
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

/// Tries one after the other, some at the same time, until one fails: what is under way then is seen to its end. In their
/// order, what became of each; none: it was not begun.
async fn attempts<F>(letters: Vec<DeadLetter>, attempt: impl Fn(DeadLetter) -> F) -> Vec<(RunId, Option<Attempt>)>
where
    F: Future<Output = Attempt>,
{
    let has_failed = AtomicBool::new(false);
    let begun = stream::iter(letters).map(|letter| {
        let (run, attempt, has_failed) = (letter.run, &attempt, &has_failed);
        async move {
            if has_failed.load(Ordering::Relaxed) {
                return (run, None);
            }
            let outcome = attempt(letter).await;
            has_failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            (run, Some(outcome))
        }
    });
    begun.buffered(AT_ONCE).collect().await
}

/// What was made, and behind which run to go on if an error has broken it off: behind the last one before the first that is
/// not done. What was replayed behind that is no dead letter any more when it is looked for again.
///
/// # Errors
/// The first error, if nothing was replayed.
fn made(attempts: Vec<(RunId, Option<Attempt>)>, begin: RunId) -> Result<(Vec<ReplayedItem>, Option<RunId>), Problem> {
    let is_done = |attempt: &Option<Attempt>| matches!(attempt, Some(Ok(_)));
    let done = attempts.iter().take_while(|(_, attempt)| is_done(attempt)).count();
    let is_broken_off = done < attempts.len();
    let last = attempts[..done].last().map_or(begin, |(run, _)| *run);
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    for attempt in attempts.into_iter().filter_map(|(_, attempt)| attempt) {
        attempt.map_or_else(|error| errors.push(error), |item| items.push(item));
    }
    let is_any_replayed = items.iter().any(|item: &ReplayedItem| item.replayed_as.is_some());
    match errors.into_iter().next() {
        Some(error) if !is_any_replayed => Err(error),
        Some(error) => {
            tracing::warn!(
                error = error.detail,
                "replaying dead letters was broken off; the client is told where to go on"
            );
            Ok((items, is_broken_off.then_some(last)))
        }
        None => Ok((items, None)),
    }
}

/// Replays one of many. What is wrong with it alone is told with it; a host that cannot go on says so instead.
async fn replay_letter(api: &Api, caller: &Caller, letter: DeadLetter, how: ReplayOne) -> Attempt {
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
    use std::{sync::Mutex, time::Duration};

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
    /// What is told of dead letters of which one cannot be replayed for now, and which were tried in the end.
    async fn tried(failing: i64) -> (Result<(Vec<i64>, Option<i64>), u16>, Vec<i64>) {
        let tried = Mutex::new(Vec::new());
        let attempts = attempts(letters(std::iter::repeat_n(true, 30)), async |letter| {
            tokio::task::yield_now().await;
            tried.lock().expect("no panic").push(letter.run.0);
            if letter.run.0 == failing {
                return Err(Problem::unavailable("away", Duration::from_secs(1)));
            }
            Ok(item(letter, Some(RunId(100)), None))
        })
        .await;
        let told = made(attempts, RunId(0)).map_err(|problem| problem.status);
        let told = told.map(|(items, next)| (items.iter().map(|item| item.run.0).collect(), next.map(|run| run.0)));
        (told, tried.into_inner().expect("no panic"))
    }

    #[tokio::test]
    async fn an_error_tells_what_was_replayed_before_and_where_to_go_on() {
        let (told, tried) = tried(11).await;
        let (replayed, next) = told.expect("ten were replayed");
        assert_eq!(next, Some(10));
        assert!(replayed.starts_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]), "what was under way is told: {replayed:?}");
        assert!(
            replayed.len() + 1 == tried.len() && tried.len() < 11 + AT_ONCE + 1,
            "nothing more is begun: {tried:?}"
        );
    }

    #[tokio::test]
    async fn without_an_error_all_are_replayed() {
        let (told, _) = tried(0).await;
        assert_eq!(told, Ok(((1..=30).collect(), None)));
    }

    #[test]
    fn an_error_before_anything_was_replayed_is_the_answer() {
        let refused = |letter| Some(Ok(item(letter, None, Some("gone".to_owned()))));
        let problem = || Problem::unavailable("away", Duration::from_secs(1));
        let letter = letters([true].into_iter()).remove(0);
        let attempts = vec![(RunId(1), refused(letter)), (RunId(2), Some(Err(problem()))), (RunId(3), None)];
        assert_eq!(made(attempts, RunId(0)).expect_err("nothing was replayed").status, 503);
    }
}
