//! The revisions that this host knows: their plans, and which trigger a request belongs to.
//!
//! At start all projects are loaded; a revision that only old runs need is loaded when the first of them comes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use dashmap::DashMap;
use tokio::sync::Notify;
use trellis_engine::Digest;
use trellis_model::{
    AccountId, Place, PluginId, ProjectId, RevisionId,
    fault::Fault,
    manifest::{Manifest, Target, Trigger, document},
    plan::{GridPlan, PlannedReply, ResolvedPlugin, plan_grids, plan_replies},
    records::{Collections, collections_of},
    run::Event,
};
use trellis_store::{Database, StoreError, plugins::Plugin, projects::Revision};

/// Revisions held besides the current ones. More are loaded anew when they are needed.
const FORMER_REVISIONS_MAX: usize = 1_000;
/// Projects loaded with one statement each for their manifests and their plugins.
const PAGE_PROJECTS: i64 = 500;
/// A revision may be committed later than one with a higher id: so many ids back are looked at again.
const OVERLAP_REVISIONS: i64 = 1_000;

/// One revision, ready to run.
#[derive(Debug)]
pub struct LoadedRevision {
    pub id: RevisionId,
    pub account: AccountId,
    pub project: ProjectId,
    pub project_name: String,
    pub triggers: Vec<Trigger>,
    pub targets: Arc<[Target]>,
    /// Of managed data, as this revision declares them.
    pub collections: Arc<Collections>,
    grids: HashMap<String, Arc<GridPlan>>,
    /// What triggers answer with, by their names.
    replies: BTreeMap<String, PlannedReply>,
    digests: HashMap<PluginId, Digest>,
    is_servable: bool,
}

impl LoadedRevision {
    pub fn grid(&self, name: &str) -> Option<Arc<GridPlan>> {
        self.grids.get(name).cloned()
    }

    /// The node whose output answers an event of this trigger; none: the trigger says that the event was accepted.
    pub fn reply(&self, trigger: &str) -> Option<&PlannedReply> {
        self.replies.get(trigger)
    }

    /// Where a run of a grid stands in its account's queue.
    pub fn place(&self, grid: &str, event: &Event) -> Place {
        self.grids.get(grid).map(|plan| plan.order.place(self.project, grid, &event.data)).unwrap_or_default()
    }

    pub fn grid_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.grids.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Whether this host can take events for it: not if it needs credentials, for a node or to know its senders, and the host
    /// has no key to open any. Told of the newest revision all the same, or the host would go on under a former one.
    pub fn is_servable(&self) -> bool {
        self.is_servable
    }

    pub fn digest(&self, plugin: PluginId) -> Option<Digest> {
        self.digests.get(&plugin).copied()
    }
}

/// A target takes requests faster than before.
#[derive(Clone, Debug)]
pub struct RaisedRate {
    pub account: AccountId,
    pub project: ProjectId,
    pub target: String,
    /// Of a time to wait by the former rate, what is left of it by the new one: from 0 to less than 1.
    pub factor: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored revision does not exist, or cannot be run by this version of Trellis.
    #[error("{0}")]
    Unusable(String),
}

#[derive(Debug)]
pub struct Catalog {
    database: Database,
    revisions: DashMap<RevisionId, Arc<LoadedRevision>>,
    /// The current revision of each project, by the names of account and project.
    current: DashMap<(String, String), Arc<LoadedRevision>>,
    /// The targets of each project's current revision.
    targets: DashMap<ProjectId, (RevisionId, Arc<[Target]>)>,
    /// Whether this host can open credentials; if not, it takes no events for projects that need any.
    has_keys: bool,
    /// The newest revision that [`Catalog::refresh`] has seen.
    newest: AtomicI64,
    /// Tells one who waits that projects have new revisions.
    changed: Notify,
}

impl Catalog {
    pub fn new(database: Database, has_keys: bool) -> Self {
        Self {
            database,
            has_keys,
            revisions: DashMap::new(),
            current: DashMap::new(),
            targets: DashMap::new(),
            newest: AtomicI64::new(0),
            changed: Notify::new(),
        }
    }

    /// Whether this host can open credentials.
    pub fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// The current revision of a project, by names.
    pub fn current(&self, account: &str, project: &str) -> Option<Arc<LoadedRevision>> {
        self.current.get(&(account.to_owned(), project.to_owned())).map(|revision| Arc::clone(&revision))
    }

    /// The targets that hold for a run, whichever revision it was accepted under: those of its project's current one.
    pub fn targets(&self, revision: &LoadedRevision) -> Arc<[Target]> {
        let current = self.targets.get(&revision.project);
        current.map_or_else(|| Arc::clone(&revision.targets), |current| Arc::clone(&current.1))
    }

    /// The components that current revisions are made of.
    pub fn digests(&self) -> HashSet<Digest> {
        self.current.iter().flat_map(|revision| revision.digests.values().copied().collect::<Vec<_>>()).collect()
    }

    /// Waits until a project gets a new revision, or has got one since this was last waited for. For one task alone.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn project_count(&self) -> usize {
        self.current.len()
    }

    /// A revision of an account, from memory or from the database.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub async fn revision(&self, account: AccountId, id: RevisionId) -> Result<Arc<LoadedRevision>, CatalogError> {
        if let Some(revision) = self.revisions.get(&id).filter(|revision| revision.account == account) {
            return Ok(Arc::clone(&revision));
        }
        let stored = self.database.revision(account, id).await?;
        let stored = stored.ok_or_else(|| CatalogError::Unusable(format!("revision {id} does not exist any more")))?;
        let loaded = load(&stored, &self.plugins(std::slice::from_ref(&stored)).await?, self.has_keys)?;
        self.keep(&loaded);
        Ok(loaded)
    }

    /// Loads the projects that were deployed since the last time, or all of them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]. A revision that cannot be used is logged and passed over.
    pub async fn refresh(&self, all: bool) -> Result<(), StoreError> {
        let newest = self.newest.load(Ordering::Acquire);
        let mut after = RevisionId(if all { 0 } else { newest.saturating_sub(OVERLAP_REVISIONS) });
        let known: Vec<RevisionId> = self.current.iter().map(|one| one.id).filter(|id| *id > after).collect();
        loop {
            let page = self.database.current_revisions(after, &known, PAGE_PROJECTS).await?;
            let Some(last) = page.last().map(|stored| stored.id) else { return Ok(()) };
            self.adopt(&page).await?;
            self.newest.fetch_max(last.0, Ordering::AcqRel);
            after = last;
        }
    }

    /// Makes a revision that was deployed the current one of its project, unless a later one is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn adopt_deployed(&self, account: AccountId, id: RevisionId) -> Result<(), StoreError> {
        match self.database.revision(account, id).await? {
            Some(stored) => self.adopt(&[stored]).await,
            None => Ok(()),
        }
    }

    /// Which targets take more by a revision than by the former one.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub async fn raised(
        &self,
        account: AccountId,
        former: RevisionId,
        revision: RevisionId,
    ) -> Result<Vec<RaisedRate>, CatalogError> {
        let (former, now) = (self.revision(account, former).await?, self.revision(account, revision).await?);
        Ok(former.targets.iter().filter_map(|former| raised(former, &now)).collect())
    }

    async fn adopt(&self, revisions: &[Revision]) -> Result<(), StoreError> {
        let plugins = self.plugins(revisions).await?;
        for stored in revisions {
            match load(stored, &plugins, self.has_keys) {
                Ok(loaded) => self.make_current(stored, loaded),
                Err(error) => {
                    tracing::error!(project = stored.project_name, revision = %stored.id, %error, "a project was not loaded");
                }
            }
        }
        Ok(())
    }

    fn make_current(&self, stored: &Revision, loaded: Arc<LoadedRevision>) {
        if !loaded.is_servable {
            tracing::error!(
                project = loaded.project_name, revision = %loaded.id,
                "a project is not served: it needs credentials, and this host has no master key for them; set `credentials.master_key_file`"
            );
        }
        self.keep(&loaded);
        self.adopt_targets(&loaded);
        let names = (stored.account_name.clone(), stored.project_name.clone());
        let mut current = self.current.entry(names).or_insert_with(|| Arc::clone(&loaded));
        // Two deployments at once may be loaded in any order: the later one stays.
        if current.id < loaded.id {
            *current = loaded;
        }
        drop(current);
        self.changed.notify_one();
    }

    fn adopt_targets(&self, loaded: &LoadedRevision) {
        let mut current =
            self.targets.entry(loaded.project).or_insert_with(|| (loaded.id, Arc::clone(&loaded.targets)));
        if current.0 < loaded.id {
            *current = (loaded.id, Arc::clone(&loaded.targets));
        }
    }

    /// The plugins of some revisions, with one statement.
    async fn plugins(&self, revisions: &[Revision]) -> Result<HashMap<PluginId, Plugin>, StoreError> {
        let used = |stored: &Revision| stored.plugins.values().map(|id| (stored.account, *id)).collect::<Vec<_>>();
        let wanted: Vec<(AccountId, PluginId)> = revisions.iter().flat_map(used).collect();
        let found = self.database.plugins_by_id(&wanted).await?;
        Ok(found.into_iter().map(|plugin| (plugin.id, plugin)).collect())
    }

    fn keep(&self, loaded: &Arc<LoadedRevision>) {
        if self.revisions.len() >= self.current.len() + FORMER_REVISIONS_MAX {
            // The current ones, and those that a run is using, are held by others as well.
            self.revisions.retain(|_, revision| Arc::strong_count(revision) > 1);
        }
        self.revisions.insert(loaded.id, Arc::clone(loaded));
    }
}

fn raised(former: &Target, loaded: &LoadedRevision) -> Option<RaisedRate> {
    let before_us = former.limit.rate?.spacing_us();
    let now = loaded.targets.iter().find(|target| target.name == former.name).and_then(|target| target.limit.rate);
    let factor = now.map_or(0.0, |rate| rate.spacing_us() / before_us);
    (factor < 1.0).then(|| RaisedRate {
        account: loaded.account,
        project: loaded.project,
        target: former.name.clone(),
        factor,
    })
}

/// Joins a stored revision with its plugins.
fn load(
    stored: &Revision,
    plugins: &HashMap<PluginId, Plugin>,
    has_keys: bool,
) -> Result<Arc<LoadedRevision>, CatalogError> {
    let own = |id: &PluginId| plugins.get(id);
    let resolve = |(name, id): (&String, &PluginId)| {
        let description = Arc::new(own(id)?.description.clone());
        Some((name.clone(), ResolvedPlugin { id: *id, description }))
    };
    let resolved: BTreeMap<String, ResolvedPlugin> = stored.plugins.iter().filter_map(resolve).collect();
    let manifest = document::from_stored_json(&stored.manifest.to_string())
        .and_then(|document| Manifest::read(&document))
        .map_err(|faults| unusable(&faults))?;
    let grids = plan_grids(&manifest, &resolved).map_err(|faults| unusable(&faults))?;
    let replies = plan_replies(&manifest, &resolved).map_err(|faults| unusable(&faults))?;
    let collections = collections_of(&manifest).map_err(|faults| unusable(&faults))?;
    let digests = stored.plugins.values().filter_map(|id| Some((*id, Digest(own(id)?.digest))));
    Ok(Arc::new(LoadedRevision {
        id: stored.id,
        account: stored.account,
        project: stored.project,
        project_name: stored.project_name.clone(),
        is_servable: has_keys || manifest.credential_uses().is_empty(),
        triggers: manifest.triggers,
        targets: manifest.targets.into(),
        collections: Arc::new(collections),
        grids: grids.into_iter().map(|(name, plan)| (name, Arc::new(plan))).collect(),
        replies,
        digests: digests.collect(),
    }))
}

fn unusable(faults: &[Fault]) -> CatalogError {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    CatalogError::Unusable(format!("this version of Trellis cannot run the revision: {}", faults.join("; ")))
}
