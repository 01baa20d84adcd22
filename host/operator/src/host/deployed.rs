//! What a host does when a project was deployed through it: it serves the project, tells the others, and lets runs move up that
//! wait for targets which take more by now.

use std::sync::Arc;

use trellis_model::{AccountId, RevisionId};
use trellis_store::{StoreError, fail_point, notices::Notice};

use super::Host;
use crate::{run::move_up, scheduler::Message};

impl Host {
    /// A project was deployed through this host, perhaps some time ago: serve it, and tell the others. `former`: the revision
    /// that was current until now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]. To be called again: until then the project is served as it was, for up to a minute.
    pub async fn deployed(
        &self,
        account: AccountId,
        revision: RevisionId,
        former: Option<RevisionId>,
    ) -> Result<(), StoreError> {
        self.indexes_declared.notify_one();
        let adopted = self.adopt_deployed(account, revision).await;
        let told = self.database.notify(&[Notice::Deployed(account, revision)]).await;
        self.wakeups.tell(Message::LookAtDue).await;
        if let Some(former) = former {
            self.move_up(account, former, revision);
        }
        adopted.and(told)
    }

    async fn adopt_deployed(&self, account: AccountId, revision: RevisionId) -> Result<(), StoreError> {
        fail_point!("deployment-not-adopted", Err(StoreError::Fenced));
        self.catalog.adopt_deployed(account, revision).await
    }

    /// Beside whoever deployed: thousands of runs may wait for a target, and the project is served already.
    fn move_up(&self, account: AccountId, former: RevisionId, revision: RevisionId) {
        let (catalog, database, wakeups) = (Arc::clone(&self.catalog), self.database.clone(), self.wakeups.clone());
        tokio::spawn(async move {
            let raised = match catalog.raised(account, former, revision).await {
                Ok(raised) if raised.is_empty() => return,
                Ok(raised) => raised,
                Err(error) => {
                    tracing::warn!(%account, %revision, %error, "runs that wait for targets keep their times");
                    return;
                }
            };
            move_up(&database, &raised).await;
            // Whoever hears of it looks at when the next job is due, which is sooner than it was.
            wakeups.tell(Message::LookAtDue).await;
            if let Err(error) = database.notify(&[Notice::Deployed(account, revision)]).await {
                tracing::warn!(%account, %error, "other hosts were not told of runs that moved up");
            }
        });
    }
}
