//! The revisions that this host knows: their plans, and which trigger a request belongs to.
//!
//! At start all projects are loaded; a revision that only old runs need is loaded when the first of them comes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use dashmap::DashMap;
use trellis_engine::Digest;
use trellis_model::{
    AccountId, PluginId, ProjectId, RevisionId,
    fault::Fault,
    manifest::{Manifest, Target, Trigger, document},
    plan::{GridPlan, ResolvedPlugin, plan_grids},
};
use trellis_store::{Database, StoreError, projects::Revision};

/// Revisions held at most. More are loaded anew when they are needed.
const REVISIONS_MAX: usize = 10_000;

/// One revision, ready to run.
#[derive(Debug)]
pub struct LoadedRevision {
    pub id: RevisionId,
    pub account: AccountId,
    pub project: ProjectId,
    pub project_name: String,
    pub triggers: Vec<Trigger>,
    pub targets: Arc<[Target]>,
    grids: HashMap<String, Arc<GridPlan>>,
    digests: HashMap<PluginId, Digest>,
}

impl LoadedRevision {
    pub fn grid(&self, name: &str) -> Option<Arc<GridPlan>> {
        self.grids.get(name).cloned()
    }

    pub fn grid_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.grids.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    pub fn digest(&self, plugin: PluginId) -> Option<Digest> {
        self.digests.get(&plugin).copied()
    }
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
    /// The newest revision that [`Catalog::refresh`] has seen.
    newest: AtomicI64,
}

impl Catalog {
    pub fn new(database: Database) -> Self {
        Self {
            database,
            revisions: DashMap::new(),
            current: DashMap::new(),
            targets: DashMap::new(),
            newest: AtomicI64::new(0),
        }
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

    pub fn project_count(&self) -> usize {
        self.current.len()
    }

    /// A revision of an account, from memory or from the database.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub async fn revision(&self, account: AccountId, id: RevisionId) -> Result<Arc<LoadedRevision>, CatalogError> {
        if let Some(revision) = self.revisions.get(&id) {
            return Ok(Arc::clone(&revision));
        }
        let stored = self.database.revision(account, id).await?;
        let stored = stored.ok_or_else(|| CatalogError::Unusable(format!("revision {id} does not exist any more")))?;
        let loaded = self.load(&stored).await?;
        self.keep(&loaded);
        Ok(loaded)
    }

    /// Loads the projects that were deployed since the last time, or all of them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]. A revision that cannot be used is logged and passed over.
    pub async fn refresh(&self, all: bool) -> Result<(), StoreError> {
        let after = if all { 0 } else { self.newest.load(Ordering::Acquire) };
        for stored in self.database.current_revisions_after(RevisionId(after)).await? {
            self.adopt(&stored).await?;
            self.newest.fetch_max(stored.id.0, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Makes a revision that was just deployed the current one of its project.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn adopt_deployed(&self, account: AccountId, id: RevisionId) -> Result<(), StoreError> {
        match self.database.revision(account, id).await? {
            Some(stored) => self.adopt(&stored).await,
            None => Ok(()),
        }
    }

    async fn adopt(&self, stored: &Revision) -> Result<(), StoreError> {
        let loaded = match self.load(stored).await {
            Ok(loaded) => loaded,
            Err(CatalogError::Store(error)) => return Err(error),
            Err(CatalogError::Unusable(reason)) => {
                tracing::error!(project = stored.project_name, revision = %stored.id, reason, "a project was not loaded");
                return Ok(());
            }
        };
        self.keep(&loaded);
        self.adopt_targets(&loaded);
        let names = (stored.account_name.clone(), stored.project_name.clone());
        let mut current = self.current.entry(names).or_insert_with(|| Arc::clone(&loaded));
        // Two deployments at once may be loaded in any order: the later one stays.
        if current.id < loaded.id {
            *current = loaded;
        }
        Ok(())
    }

    fn adopt_targets(&self, loaded: &LoadedRevision) {
        let mut current =
            self.targets.entry(loaded.project).or_insert_with(|| (loaded.id, Arc::clone(&loaded.targets)));
        if current.0 < loaded.id {
            *current = (loaded.id, Arc::clone(&loaded.targets));
        }
    }

    async fn load(&self, stored: &Revision) -> Result<Arc<LoadedRevision>, CatalogError> {
        let ids: Vec<PluginId> = stored.plugins.values().copied().collect();
        let plugins = self.database.plugins_by_id(stored.account, &ids).await?;
        let by_id: HashMap<PluginId, _> = plugins.into_iter().map(|plugin| (plugin.id, plugin)).collect();
        let resolve = |(name, id): (&String, &PluginId)| {
            let plugin = by_id.get(id)?;
            let description = Arc::new(plugin.description.clone());
            Some((name.clone(), ResolvedPlugin { id: *id, description }))
        };
        let resolved: BTreeMap<String, ResolvedPlugin> = stored.plugins.iter().filter_map(resolve).collect();
        let manifest = document::from_stored_json(&stored.manifest.to_string())
            .and_then(|document| Manifest::read(&document))
            .map_err(|faults| unusable(&faults))?;
        let grids = plan_grids(&manifest, &resolved).map_err(|faults| unusable(&faults))?;
        Ok(Arc::new(LoadedRevision {
            id: stored.id,
            account: stored.account,
            project: stored.project,
            project_name: stored.project_name.clone(),
            triggers: manifest.triggers,
            targets: manifest.targets.into(),
            grids: grids.into_iter().map(|(name, plan)| (name, Arc::new(plan))).collect(),
            digests: by_id.into_iter().map(|(id, plugin)| (id, Digest(plugin.digest))).collect(),
        }))
    }

    fn keep(&self, loaded: &Arc<LoadedRevision>) {
        if self.revisions.len() >= REVISIONS_MAX {
            self.revisions.clear();
        }
        self.revisions.insert(loaded.id, Arc::clone(loaded));
    }
}

fn unusable(faults: &[Fault]) -> CatalogError {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    CatalogError::Unusable(format!("this version of Trellis cannot run the revision: {}", faults.join("; ")))
}
