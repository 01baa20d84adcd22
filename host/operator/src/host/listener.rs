//! What other hosts tell: heard, and passed on to whoever it concerns. A notice is a hint; whatever it is about is read from
//! the database, also by those who never heard it.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, Queue};
use trellis_store::{
    Database, StoreError,
    notices::{Notice, Notices},
};

use crate::{
    call_budgets::CallBudgets,
    cancellations::Cancellations,
    catalog::Catalog,
    lease::Lease,
    limiter::Limiter,
    scheduler::{Message, Wakeups},
    spreads::Spreads,
    watch::Watches,
};

/// After the connection for notices was lost.
const LISTEN_RETRY: Duration = Duration::from_secs(1);
/// Deployments of other hosts are looked for this often, should their notices get lost.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Heeds what other hosts tell.
pub(super) struct Listener {
    pub lease: Arc<Lease>,
    pub cancellations: Arc<Cancellations>,
    pub database: Database,
    pub catalog: Arc<Catalog>,
    pub limiter: Limiter,
    pub spreads: Arc<Spreads>,
    pub budgets: Arc<CallBudgets>,
    pub wakeups: Wakeups,
    pub watches: Arc<Watches>,
}

impl Listener {
    pub async fn run(self, notices: Notices, stop: CancellationToken) {
        tokio::select! {
            () = self.listen(notices) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn listen(&self, mut notices: Notices) {
        let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
        loop {
            tokio::select! {
                notice = notices.next() => match notice {
                    Ok(Some(notice)) => self.heed(notice).await,
                    Ok(None) => self.catch_up().await,
                    Err(error) => {
                        tracing::warn!(%error, "notices of other hosts are not received; trying again");
                        tokio::time::sleep(LISTEN_RETRY).await;
                        if let Ok(anew) = self.database.listen().await {
                            notices = anew;
                            self.catch_up().await;
                        }
                    }
                },
                _ = refresh.tick() => self.refresh(false).await,
            }
        }
    }

    async fn heed(&self, notice: Notice) {
        let done = match &notice {
            Notice::Run(text) => {
                self.watches.heed(text);
                Ok(())
            }
            Notice::Jobs(shard) => {
                self.wakeups.tell(Message::Look(*shard)).await;
                Ok(())
            }
            Notice::Cancel(shard) => {
                if self.lease.holds(*shard) {
                    self.cancellations.want_look();
                }
                Ok(())
            }
            Notice::Deployed(account, revision) => {
                let done = self.catalog.adopt_deployed(*account, *revision).await;
                self.wakeups.tell(Message::LookAtDue).await;
                done
            }
            Notice::Limits(account) => {
                let done = self.reload(*account).await;
                self.wakeups.tell(Message::LimitsChanged(*account)).await;
                done
            }
            Notice::Throttled(account, shard, until_ms) => {
                self.limiter.note_throttled(Queue { shard: *shard, account: *account }, *until_ms).await;
                Ok(())
            }
            Notice::Taken(account, shard) => {
                self.limiter.count(Queue { shard: *shard, account: *account }).await;
                Ok(())
            }
            Notice::Balance => {
                self.lease.look();
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(?notice, %error, "a notice was not heeded");
        }
    }

    async fn reload(&self, account: AccountId) -> Result<(), StoreError> {
        self.limiter.reload_limits(account).await?;
        self.budgets.reload(account).await?;
        self.spreads.reload(account).await
    }

    /// Anything may have been missed.
    async fn catch_up(&self) {
        self.wakeups.tell(Message::LookEverywhere).await;
        self.cancellations.want_look();
        if let Err(error) = self.limiter.reload_all().await {
            tracing::warn!(%error, "limits that other hosts changed were not looked for");
        }
        self.refresh(true).await;
    }

    async fn refresh(&self, all: bool) {
        if let Err(error) = self.catalog.refresh(all).await {
            tracing::warn!(%error, "deployments of other hosts were not looked for");
        }
        self.watches.forget_gone();
        if let Err(error) = self.spreads.refresh().await {
            tracing::warn!(%error, "the spread of accounts was not looked for");
        }
        if let Err(error) = self.budgets.refresh().await {
            tracing::warn!(%error, "what accounts may use in a call was not looked for");
        }
        if !all && let Err(error) = self.limiter.refresh().await {
            tracing::warn!(%error, "the limits of accounts in use were not looked for");
        }
    }
}
