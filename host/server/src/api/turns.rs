//! Work that keeps a core busy: done on threads that answer nobody, a few pieces at a time, and one of each account.
//!
//! An account that asks for much of it waits for itself: the line of all is as long as there are accounts that want something.
//! Does not know what the work is.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use trellis_model::AccountId;

use super::Problem;

/// Pieces of work of one kind.
pub struct Turns {
    /// For the log: what has failed.
    what: &'static str,
    all: Arc<Semaphore>,
    by_account: DashMap<AccountId, Arc<Semaphore>>,
}

impl Turns {
    /// So many at once. How many wait, `http.requests_max` bounds.
    pub fn new(what: &'static str, at_once: usize) -> Self {
        Self { what, all: Arc::new(Semaphore::new(at_once)), by_account: DashMap::new() }
    }

    /// Does a piece of work when it is its turn. The turn lasts as long as the work, also when nobody waits for it any more.
    ///
    /// # Errors
    /// It has panicked.
    pub async fn work<T: Send + 'static>(
        &self,
        account: AccountId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.enter(account).await.map_err(|_| Problem::internal())?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        let done = done.await.map_err(|error| {
            tracing::error!(%error, "{} has failed", self.what);
            Problem::internal()
        });
        self.by_account.remove_if(&account, |_, own| Arc::strong_count(own) == 1);
        done
    }

    async fn enter(&self, account: AccountId) -> Result<[OwnedSemaphorePermit; 2], AcquireError> {
        let own = Arc::clone(&self.by_account.entry(account).or_insert_with(|| Arc::new(Semaphore::new(1))));
        let own = own.acquire_owned().await?;
        Ok([own, Arc::clone(&self.all).acquire_owned().await?])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_account_waits_for_itself_and_holds_up_nobody_else() {
        let turns = Arc::new(Turns::new("a test", 2));
        let (go, wait) = mpsc::channel::<()>();
        let held = {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.work(AccountId(1), move || wait.recv().is_ok()).await })
        };
        while turns.all.available_permits() == 2 {
            tokio::task::yield_now().await;
        }
        let next = {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.work(AccountId(1), || 2).await })
        };
        assert_eq!(turns.work(AccountId(2), || 3).await.expect("no panic"), 3, "another account has its turn");
        assert!(!next.is_finished());
        // Whoever has asked is gone; the work is not, and keeps its turn.
        held.abort();
        assert!(held.await.is_err_and(|error| error.is_cancelled()) && !next.is_finished());
        go.send(()).expect("it waits for this");
        assert_eq!(next.await.expect("no panic").expect("no panic"), 2);
        assert!(turns.by_account.is_empty(), "nothing is kept of those who want nothing");
        let broken: Result<(), Problem> = turns.work(AccountId(1), || panic!("in the work")).await;
        assert!(broken.is_err());
        assert_eq!(turns.all.available_permits(), 2);
    }
}
