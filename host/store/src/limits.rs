//! Account limits: the operator's settings as hosts read them, and the limiter's snapshots of its windows.
//!
//! How they are changed is [`crate::account_change`]'s part.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use trellis_model::{
    AccountId, Queue, Shard,
    window::{OwnLimits, Window},
};

use crate::{Database, Result, StoreError, fail_point};

/// Both windows of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    pub burst: Window,
    pub long: Window,
}

/// What is stored of an account's limiter.
#[derive(Clone, Debug)]
pub struct StoredLimit {
    pub limits: OwnLimits,
    /// Over how many queues the account's jobs are spread; at least 1.
    pub spread: u8,
    /// What the owners of its queues have left.
    pub queues: HashMap<Shard, StoredQueue>,
}

impl Default for StoredLimit {
    fn default() -> Self {
        Self { limits: OwnLimits::default(), spread: 1, queues: HashMap::new() }
    }
}

/// What the owners of one queue have left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredQueue {
    /// The epoch of the owner who wrote the windows.
    pub snap_epoch: i64,
    pub windows: Windows,
    /// Unix milliseconds; 0: it is not throttled as far as was told.
    pub throttled_until_ms: i64,
}

/// A queue's windows as their owner knows them.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    pub queue: Queue,
    pub epoch: i64,
    /// Rises with every snapshot that an owner takes under one epoch.
    pub number: i64,
    pub windows: Windows,
}

/// What an owner tells all hosts: this queue has no permit before then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    pub queue: Queue,
    pub epoch: i64,
    /// Unix milliseconds.
    pub until_ms: i64,
}

/// Account, limits, and of each of its queues: shard, epoch, windows, throttled until.
type LimitRow =
    (i64, Option<i16>, Option<serde_json::Value>, Option<i16>, Option<i64>, Option<serde_json::Value>, Option<i64>);

impl Database {
    pub async fn account_limit(&self, account: AccountId) -> Result<StoredLimit> {
        Ok(self.account_limits(&[account]).await?.remove(&account).unwrap_or_default())
    }

    /// What is stored of several accounts, those included that nothing is stored of.
    pub async fn account_limits(&self, accounts: &[AccountId]) -> Result<HashMap<AccountId, StoredLimit>> {
        let ids: Vec<i64> = accounts.iter().map(|account| account.0).collect();
        let rows: Vec<LimitRow> = sqlx::query_as(
            "select wanted.id, account.spread, account_limit.limits, snapshot.shard, snapshot.snap_epoch, snapshot.windows,
                    (extract(epoch from snapshot.throttled_until) * 1000)::bigint
             from unnest($1::bigint[]) as wanted (id)
             left join account on account.id = wanted.id
             left join account_limit on account_limit.account_id = wanted.id
             left join limiter_snapshot as snapshot on snapshot.account_id = wanted.id",
        )
        .bind(ids)
        .fetch_all(&self.durable)
        .await?;
        let mut stored: HashMap<AccountId, StoredLimit> = HashMap::new();
        for row in rows {
            let account = AccountId(row.0);
            if let Err(error) = read_row(stored.entry(account).or_default(), row) {
                // One account's row must not hold up all others.
                tracing::error!(%account, %error, "the account gets the default limits, or empty windows");
            }
        }
        Ok(stored)
    }

    /// Keeps the windows of the queues that changed. What a later owner wrote, or the same one later, stays: a snapshot
    /// can be late, because its host was paused or its answer was lost. An account that was deleted meanwhile is left out.
    pub async fn snapshot_windows(&self, snapshots: &[Snapshot]) -> Result<()> {
        fail_point!("snapshot-before");
        let windows: Result<Vec<serde_json::Value>, _> =
            snapshots.iter().map(|snapshot| serde_json::to_value(snapshot.windows)).collect();
        sqlx::query(
            "insert into limiter_snapshot as old (account_id, shard, snap_epoch, snap_number, windows)
             select account.id, new.shard, new.snap_epoch, new.snap_number, new.windows
             from unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::jsonb[])
                  as new (account_id, shard, snap_epoch, snap_number, windows)
             join account on account.id = new.account_id
             order by account.id, new.shard
             on conflict (account_id, shard) do update
                 set windows = excluded.windows, snap_epoch = excluded.snap_epoch, snap_number = excluded.snap_number
                 where (old.snap_epoch, old.snap_number) < (excluded.snap_epoch, excluded.snap_number)",
        )
        .bind(snapshots.iter().map(|snapshot| snapshot.queue.account.0).collect::<Vec<i64>>())
        .bind(snapshots.iter().map(|snapshot| snapshot.queue.shard.0).collect::<Vec<i16>>())
        .bind(snapshots.iter().map(|snapshot| snapshot.epoch).collect::<Vec<i64>>())
        .bind(snapshots.iter().map(|snapshot| snapshot.number).collect::<Vec<i64>>())
        .bind(windows.map_err(|error| StoreError::unreadable("windows", error))?)
        .execute(&self.relaxed)
        .await?;
        fail_point!("snapshot-after");
        Ok(())
    }

    /// Keeps until when queues are throttled, for hosts that ask later than the notice. A former owner is not heard.
    pub async fn keep_throttles(&self, throttles: &[Throttle]) -> Result<()> {
        sqlx::query(
            "insert into limiter_snapshot as old (account_id, shard, snap_epoch, snap_number, throttled_until)
             select account.id, new.shard, new.snap_epoch, 0, to_timestamp(new.until_ms / 1000.0)
             from unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[])
                  as new (account_id, shard, snap_epoch, until_ms)
             join account on account.id = new.account_id
             order by account.id, new.shard
             on conflict (account_id, shard) do update set throttled_until = excluded.throttled_until
                 where old.snap_epoch <= excluded.snap_epoch",
        )
        .bind(throttles.iter().map(|throttle| throttle.queue.account.0).collect::<Vec<i64>>())
        .bind(throttles.iter().map(|throttle| throttle.queue.shard.0).collect::<Vec<i16>>())
        .bind(throttles.iter().map(|throttle| throttle.epoch).collect::<Vec<i64>>())
        .bind(throttles.iter().map(|throttle| throttle.until_ms).collect::<Vec<i64>>())
        .execute(&self.relaxed)
        .await?;
        Ok(())
    }
}

fn read_row(stored: &mut StoredLimit, (_, spread, limits, shard, epoch, windows, until_ms): LimitRow) -> Result<()> {
    stored.spread = spread.and_then(|spread| u8::try_from(spread).ok()).unwrap_or(1).max(1);
    stored.limits = read_limits(limits)?;
    if let (Some(shard), Some(snap_epoch)) = (shard, epoch) {
        let windows = windows.map(|value| read("windows", value)).transpose()?.unwrap_or_default();
        let queue = StoredQueue { snap_epoch, windows, throttled_until_ms: until_ms.unwrap_or(0) };
        stored.queues.insert(Shard(shard), queue);
    }
    Ok(())
}

/// What is stored of an account's settings; nothing is stored of an account on defaults.
pub(crate) fn read_limits(limits: Option<serde_json::Value>) -> Result<OwnLimits> {
    Ok(limits.map(|value| read("limits", value)).transpose()?.unwrap_or_default())
}

fn read<T: for<'de> Deserialize<'de>>(what: &'static str, value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| StoreError::unreadable(what, error))
}
