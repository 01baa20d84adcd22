//! A run that is over, as it is looked at once more: its event, its results, and the plan that it ran by.
//!
//! Knows nothing of what is done with it: a fixture is written of it, or a candidate is tried on it.

use std::sync::Arc;

use trellis_model::{
    RevisionId,
    plan::GridPlan,
    run::{Event, NodeResult, RecordedRun},
};
use trellis_operator::catalog::{CatalogError, LoadedRevision};
use trellis_store::runs::RunSummary;

use super::{Api, Problem, auth::Caller, runs};

/// A run that is over.
pub struct Recorded {
    pub summary: RunSummary,
    pub run: RecordedRun,
}

/// A run of the caller's that is over.
///
/// # Errors
/// It is not there or not kept, or it is not over.
pub async fn find(api: &Api, caller: &Caller, run: &str) -> Result<Recorded, Problem> {
    let detail = runs::find(api, caller, caller.account()?, run).await?;
    let (summary, state) = (detail.summary.clone(), detail.summary.state);
    if !state.is_final() {
        let detail = format!("{run} is not over: its state is `{}`; wait for its end or cancel it", state.name());
        return Err(Problem::run_state(detail));
    }
    if summary.project_name.is_empty() {
        return Err(Problem::not_replayable(format!("the project of {run} does not exist any more")));
    }
    let unreadable = |error| {
        let error: serde_json::Error = error;
        tracing::error!(run, %error, "a stored run is not readable");
        Problem::internal()
    };
    let event: Event = serde_json::from_slice(&detail.event).map_err(unreadable)?;
    let results: Option<Vec<NodeResult>> =
        detail.nodes.as_deref().map(serde_json::from_slice).transpose().map_err(unreadable)?;
    Ok(Recorded { summary, run: RecordedRun { event, results: results.unwrap_or_default() } })
}

/// A revision of the run's project, and the run's grid in it.
///
/// # Errors
/// It is no revision of that project, cannot be run any more, or has no such grid.
pub async fn plan(
    api: &Api,
    caller: &Caller,
    summary: &RunSummary,
    revision: RevisionId,
) -> Result<(Arc<LoadedRevision>, Arc<GridPlan>), Problem> {
    let loaded = api.host.catalog.revision(caller.account()?, revision).await;
    let loaded = loaded.map_err(|error| match error {
        CatalogError::Store(error) => error.into(),
        error @ CatalogError::Unusable(_) => Problem::not_replayable(error.to_string()),
    })?;
    let project = &summary.project_name;
    if loaded.project != summary.project {
        return Err(Problem::not_replayable(format!("revision {revision} is none of project `{project}`")));
    }
    let grid = loaded.grid(&summary.grid).ok_or_else(|| {
        let (grid, known) = (&summary.grid, loaded.grid_names().join(", "));
        Problem::not_replayable(format!(
            "revision {revision} of project `{project}` has no grid `{grid}`; it has: {known}"
        ))
    })?;
    Ok((loaded, grid))
}
