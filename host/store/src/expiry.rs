//! Deleting row by row what has had its time, in batches small enough that nobody notices: runs beyond their account's own
//! retention, expired entries of stores, checkpoints of runs that are no more. What goes by whole days is in
//! [`crate::run_days`].
//!
//! Claims are not among it: one of an earlier epoch is evidence for the next owner of the shard, who deletes it.

use trellis_model::{AccountId, RunId, Shard, retention::DAYS_DEFAULT};

use crate::{Database, Result};

/// An account that has runs beyond its retention, which is shorter than the longest of all.
#[derive(Clone, Copy, Debug)]
pub struct Overdue {
    pub account: AccountId,
    days: i32,
    /// The first run that is to stay.
    cutoff: RunId,
}

/// What one batch deleted.
#[derive(Clone, Copy, Debug)]
pub struct Pruned {
    pub count: u64,
    /// The newest of them: the next batch begins behind it, so that no deleted row is walked over again.
    pub newest: RunId,
}

/// Where a checkpoint stands in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointKey {
    pub shard: Shard,
    pub account: AccountId,
    pub run: RunId,
}

impl CheckpointKey {
    /// Before all of them.
    pub const FIRST: Self = Self { shard: Shard(-1), account: AccountId(0), run: RunId(0) };
}

/// What came of a look at some checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointsLookedAt {
    /// How many were deleted.
    pub deleted: u64,
    /// The last that was looked at: the next look begins behind it. None: there are no more.
    pub last: Option<CheckpointKey>,
}

impl Database {
    /// The accounts behind `after` that have runs to be deleted one by one, at most `limit`. Those with the longest
    /// retention have none: their days are dropped whole.
    pub async fn overdue_accounts(&self, after: AccountId, limit: i64) -> Result<Vec<Overdue>> {
        let rows: Vec<(i64, i32, i64)> = sqlx::query_as(
            "select id, history_days, cutoff from (
                 select id, history_days,
                        run_id_at(date_trunc('day', now(), 'UTC') - make_interval(days => history_days)) as cutoff
                 from account where id > $1 and history_days < (select max(history_days) from account)
             ) as account
             where exists (
                 select from run
                 where run.account_id = account.id and run.id < cutoff
                   and (run.state = 'succeeded' or run.ended_at < now() - make_interval(days => history_days))
             )
             order by id limit $2",
        )
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.relaxed)
        .await?;
        let overdue = |(account, days, cutoff)| Overdue { account: AccountId(account), days, cutoff: RunId(cutoff) };
        Ok(rows.into_iter().map(overdue).collect())
    }

    /// Deletes the oldest runs of an account behind `after`, some `limit` of them. None: there are no more.
    pub async fn prune_runs(&self, overdue: Overdue, after: RunId, limit: i64) -> Result<Option<Pruned>> {
        // Two statements, each planned with its values: a deletion of a range opens the partitions of that range alone.
        let newest: Option<i64> = sqlx::query_scalar(
            "select max(id) from (
                 select id from run
                 where account_id = $1 and id > $2 and id < $3
                   and (state = 'succeeded' or ended_at < now() - make_interval(days => $4))
                 order by id limit $5
             ) as old",
        )
        .bind(overdue.account.0)
        .bind(after.0)
        .bind(overdue.cutoff.0)
        .bind(overdue.days)
        .bind(limit)
        .persistent(false)
        .fetch_one(&self.relaxed)
        .await?;
        let Some(newest) = newest else { return Ok(None) };
        let deleted = sqlx::query(
            "delete from run
             where account_id = $1 and id > $2 and id <= $3
               and (state = 'succeeded' or ended_at < now() - make_interval(days => $4))",
        )
        .bind(overdue.account.0)
        .bind(after.0)
        .bind(newest)
        .bind(overdue.days)
        .persistent(false)
        .execute(&self.relaxed)
        .await?;
        Ok(Some(Pruned { count: deleted.rows_affected(), newest: RunId(newest) }))
    }

    /// Deletes runs from the default partition that are beyond their account's retention, at most `limit`: the late ones
    /// of days that were dropped. Returns how many.
    pub async fn prune_default_runs(&self, limit: i64) -> Result<u64> {
        let deleted = sqlx::query(
            "delete from run_default using (
                 select stray.account_id, stray.id
                 from run_default as stray left join account on account.id = stray.account_id
                 where stray.id < run_id_at(date_trunc('day', now(), 'UTC') - make_interval(days => coalesce(history_days, $2)))
                   and (stray.state = 'succeeded' or stray.ended_at < now() - make_interval(days => coalesce(history_days, $2)))
                 limit $1
             ) as old
             where run_default.account_id = old.account_id and run_default.id = old.id",
        )
        .bind(limit)
        .bind(i32::from(DAYS_DEFAULT))
        .execute(&self.relaxed)
        .await?;
        Ok(deleted.rows_affected())
    }

    /// Deletes expired entries of stores, at most `limit`; returns how many. An entry that is being written at the moment
    /// is passed over: nobody waits for this, and this waits for nobody.
    pub async fn delete_expired_entries(&self, limit: i64) -> Result<u64> {
        let deleted = sqlx::query(
            "with expired as materialized (
                 select account_id, project_id, store, key from keyvalue
                 where expires_at <= now() order by expires_at limit $1 for update skip locked
             )
             delete from keyvalue using expired
             where keyvalue.account_id = expired.account_id and keyvalue.project_id = expired.project_id
               and keyvalue.store = expired.store and keyvalue.key = expired.key",
        )
        .bind(limit)
        .execute(&self.relaxed)
        .await?;
        Ok(deleted.rows_affected())
    }

    /// Looks at the checkpoints behind `after`, at most `looked_at_max`, and deletes those of runs that stand in no queue.
    /// There should be none: a checkpoint goes with its job. Should one ever be left behind, it does not stay for ever.
    pub async fn delete_orphaned_checkpoints(
        &self,
        after: CheckpointKey,
        looked_at_max: i64,
    ) -> Result<CheckpointsLookedAt> {
        let (deleted, looked_at, shard, account, run): (i64, i64, Option<i16>, Option<i64>, Option<i64>) = sqlx::query_as(
            "with looked_at as materialized (
                 select shard, account_id, id from checkpoint
                 where (shard, account_id, id) > ($1, $2, $3) order by shard, account_id, id limit $4
             ), orphan as materialized (
                 select shard, account_id, id from looked_at as one
                 where not exists (select from unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
                                       select from job
                                       where job.shard = one.shard and job.account_id = one.account_id
                                         and job.lane = line.lane and job.id = one.id
                                       limit 1) as queued)
                   and not exists (select from job_later
                                   where job_later.shard = one.shard and job_later.account_id = one.account_id
                                     and job_later.id = one.id)
             ), deleted as (
                 delete from checkpoint using orphan
                 where checkpoint.shard = orphan.shard and checkpoint.account_id = orphan.account_id
                   and checkpoint.id = orphan.id
                 returning checkpoint.id
             )
             select (select count(*) from deleted), (select count(*) from looked_at), last.shard, last.account_id, last.id
             from (values (1)) as one (row)
             left join (select * from looked_at order by shard desc, account_id desc, id desc limit 1) as last on true",
        )
        .bind(after.shard.0)
        .bind(after.account.0)
        .bind(after.run.0)
        .bind(looked_at_max)
        .fetch_one(&self.relaxed)
        .await?;
        let last = shard.zip(account).zip(run).filter(|_| looked_at == looked_at_max);
        let last = last.map(|((shard, account), run)| CheckpointKey {
            shard: Shard(shard),
            account: AccountId(account),
            run: RunId(run),
        });
        Ok(CheckpointsLookedAt { deleted: deleted.unsigned_abs(), last })
    }
}
