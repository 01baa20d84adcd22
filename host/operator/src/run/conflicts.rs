//! Whose turn it is among runs that met a conflict: only a few of a project are run again at the same time.
//!
//! Run again all at once, hundreds of runs that read and write the same few records would spend the host on calls of which
//! the next commit voids nearly all. A turn is a courtesy, not a lock: what may be committed is for the commit to say, and
//! nobody waits for a turn for long.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use trellis_model::ProjectId;

/// Runs of a project that are run again at the same time. Sixteen transfers between a hundred records rarely meet, and
/// fill a flush.
const AT_ONCE: usize = 16;
/// After this long a run goes on without a turn: those before it may be waiting for the outside world.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Held by a run from its first conflict to its end.
pub type ConflictTurn = OwnedSemaphorePermit;

#[derive(Debug, Default)]
pub struct Conflicts {
    /// Lives as long as a run holds a turn or waits for one.
    projects: Mutex<HashMap<ProjectId, Weak<Semaphore>>>,
}

impl Conflicts {
    /// Waits for a turn among the runs of the project; none if that would take too long.
    pub async fn turn(&self, project: ProjectId) -> Option<ConflictTurn> {
        let turns = self.turns(project);
        // The semaphore is never closed.
        timeout(WAIT_MAX, turns.acquire_owned()).await.ok()?.ok()
    }

    fn turns(&self, project: ProjectId) -> Arc<Semaphore> {
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = projects.get(&project).and_then(Weak::upgrade) {
            return turns;
        }
        projects.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        projects.insert(project, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_so_many_runs_of_a_project_have_a_turn_and_another_project_has_its_own() {
        let conflicts = Conflicts::default();
        let mut turns = Vec::new();
        for _ in 0..AT_ONCE {
            turns.push(conflicts.turn(ProjectId(1)).await.expect("a free turn"));
        }
        assert!(conflicts.turn(ProjectId(1)).await.is_none(), "it goes on without a turn, after a while");
        assert!(conflicts.turn(ProjectId(2)).await.is_some());
        turns.pop();
        assert!(conflicts.turn(ProjectId(1)).await.is_some());
    }

    #[tokio::test]
    async fn a_project_without_conflicts_takes_no_memory() {
        let conflicts = Conflicts::default();
        drop(conflicts.turn(ProjectId(1)).await);
        let _turn = conflicts.turn(ProjectId(2)).await;
        assert_eq!(conflicts.projects.lock().expect("no panic").len(), 1);
    }
}
