//! From a fetched job to an execution: what the run is, and where it was left.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::stream::FuturesUnordered;
use trellis_model::{
    plan::GridPlan,
    replay::is_replay,
    run::{Event, LOST_HOSTS_MAX, NodeResult, Progress, event_attributes},
};
use trellis_store::{
    commit::{Checkpoint, Conclusion, Effects, Finished, RunCommit},
    jobs::FetchedJob,
    shards::Holding,
};

use super::{Execution, FirstPermit, Pending, RunContext, Saved};
use crate::{cancellations::InFlight, catalog::CatalogError};

/// Why a job was not begun.
pub enum NotBegun {
    /// It may be another time.
    GivenBack(GivenBack),
    /// It can never be run: this buries it.
    Never(Box<RunCommit>),
}

/// Why a job is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenBack {
    /// The database did not answer.
    NotNow,
    /// Its grid needs credentials, and this host has no key to open any.
    Keyless,
}

impl<'c> Execution<'c> {
    /// Loads the revision, the event and the checkpoint. `in_flight` says when somebody wants the run to end, or to know
    /// where it stands.
    pub async fn begin(
        context: &'c Arc<RunContext>,
        job: FetchedJob,
        first_permit: FirstPermit,
        in_flight: &InFlight<'_>,
    ) -> Result<Self, NotBegun> {
        let holding = Holding { shard: job.shard, epoch: job.epoch };
        let event = serde_json::from_slice::<Event>(&job.payload);
        let may_have_checkpoint = job.is_resumed || event.as_ref().is_ok_and(is_replay);
        let checkpoint = if may_have_checkpoint { load_checkpoint(context, &job).await? } else { None };
        let never = |error: String| never(&job, holding, &error, checkpoint.as_ref());
        if job.lost_hosts >= LOST_HOSTS_MAX {
            // It is probably what they were lost of.
            return Err(never(format!("{} hosts were lost or failed while they ran this run", job.lost_hosts)));
        }
        let revision = match context.catalog.revision(job.account, job.revision).await {
            Ok(revision) => revision,
            Err(CatalogError::Store(error)) if error.is_unavailable() => {
                tracing::warn!(run = %job.run, %error, "a revision was not loaded; its run is given back");
                return Err(NotBegun::GivenBack(GivenBack::NotNow));
            }
            Err(error) => return Err(never(error.to_string())),
        };
        let Some(grid) = revision.grid(&job.grid) else {
            return Err(never(format!("grid `{}` does not exist in this revision", job.grid)));
        };
        if !context.catalog.has_keys() && grid.needs_credentials() {
            tracing::debug!(run = %job.run, "a run that needs credentials is passed over: this host has no master key");
            return Err(NotBegun::GivenBack(GivenBack::Keyless));
        }
        let event = event.map_err(|error| never(format!("the stored event is not readable: {error}")))?;
        let mut saved = match &checkpoint {
            Some(checkpoint) => Saved::read(checkpoint, &grid).map_err(never)?,
            None => Saved { progress: Progress::new(&grid), sequence: 0 },
        };
        saved.progress.hasten(&context.catalog.targets(&revision), context.clock.now_ms());
        Ok(Self {
            context,
            holding,
            attributes: Arc::new(event_attributes(&event, job.run)),
            progress: saved.progress.clone(),
            saved,
            started_at_ms: context.clock.now_ms(),
            looked_at_ms: 0,
            job,
            first_permit: Arc::new(first_permit),
            revision,
            grid,
            event,
            pending: Pending::default(),
            calls: FuturesUnordered::new(),
            busy: HashSet::new(),
            suspension: None,
            cancellation: in_flight.cancellation(),
            flight: in_flight.flight(),
            progress_of: HashMap::new(),
            generation: 0,
            conflicts: 0,
            turn: None,
        })
    }
}

async fn load_checkpoint(context: &RunContext, job: &FetchedJob) -> Result<Option<Checkpoint>, NotBegun> {
    context.database.checkpoint(job.shard, job.account, job.run).await.map_err(|error| {
        tracing::warn!(run = %job.run, %error, "a checkpoint was not loaded; its run is given back");
        NotBegun::GivenBack(GivenBack::NotNow)
    })
}

impl Saved {
    fn read(checkpoint: &Checkpoint, grid: &GridPlan) -> Result<Self, String> {
        let nodes: Vec<NodeResult> = serde_json::from_slice(&checkpoint.nodes)
            .map_err(|error| format!("the stored checkpoint is not readable: {error}"))?;
        Ok(Self { progress: Progress::resume(grid, nodes), sequence: checkpoint.sequence })
    }
}

fn never(job: &FetchedJob, holding: Holding, error: &str, checkpoint: Option<&Checkpoint>) -> NotBegun {
    let nodes = checkpoint.map(|checkpoint| checkpoint.nodes.clone());
    NotBegun::Never(Box::new(RunCommit {
        holding,
        account: job.account,
        lane: job.place.lane,
        project: job.project,
        run: job.run,
        effects: Effects::default(),
        conclusion: Conclusion::Finished(Finished::dead_letter(job.run, error, nodes)),
    }))
}
