//! Runs that the host itself has failed at: each such failure counts like a host that was lost.

use trellis_model::{AccountId, Lane, RunId};
use uuid::Uuid;

use crate::{Database, Result, jobs::FetchedJob, shards::Holding};

/// Where the job of a run stands, and under which epoch it was fetched.
#[derive(Clone, Copy, Debug)]
pub struct StartedJob {
    pub holding: Holding,
    pub account: AccountId,
    pub lane: Lane,
    pub run: RunId,
}

impl From<&FetchedJob> for StartedJob {
    fn from(job: &FetchedJob) -> Self {
        let holding = Holding { shard: job.shard, epoch: job.epoch };
        Self { holding, account: job.account, lane: job.place.lane, run: job.run }
    }
}

impl Database {
    /// Notes that a host was as good as lost while it ran this job: a run at which every host fails must come to an end. A
    /// former owner of its shard notes nothing.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`].
    pub async fn count_lost_host(&self, host: Uuid, job: StartedJob) -> Result<()> {
        sqlx::query(
            "update job set lost_hosts = lost_hosts + 1, is_resumed = true from shard
             where shard.shard = $2 and shard.epoch = $3 and shard.owner = $1
               and job.shard = shard.shard and job.account_id = $4 and job.lane = $5 and job.id = $6",
        )
        .bind(host)
        .bind(job.holding.shard.0)
        .bind(job.holding.epoch)
        .bind(job.account.0)
        .bind(job.lane.number())
        .bind(job.run.0)
        .execute(&self.durable)
        .await?;
        Ok(())
    }
}
