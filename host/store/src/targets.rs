//! What targets were sent lately, as the owner of an account's shard knew it: kept for the next one.

use trellis_model::{AccountId, ProjectId, Queue, Shard, targets::TargetState};

use crate::{
    Database, Result, StoreError,
    shards::{Holding, columns},
};

/// One target's host, as one owner counts its requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetKey {
    pub queue: Queue,
    pub project: ProjectId,
    /// The target's name in the manifest.
    pub target: String,
    /// Empty: all hosts of the target together.
    pub host: String,
}

/// What is stored of one target's host.
#[derive(Clone, Debug)]
pub struct StoredTarget {
    pub key: TargetKey,
    pub state: TargetState,
    /// Whether its owner sent nothing afterwards.
    pub is_final: bool,
}

type Row = (i16, i64, i64, String, String, serde_json::Value, bool);

impl Database {
    /// What the former owners of these shards left behind.
    pub async fn target_states(&self, shards: &[Shard]) -> Result<Vec<StoredTarget>> {
        let shards: Vec<i16> = shards.iter().map(|shard| shard.0).collect();
        let rows: Vec<Row> = sqlx::query_as(
            "select shard, account_id, project_id, target, host, state, is_final
             from target_state where shard = any($1)",
        )
        .bind(shards)
        .fetch_all(&self.durable)
        .await?;
        Ok(rows.into_iter().map(stored).collect())
    }

    /// Keeps states, each under the epoch of its shard in `holdings`. Those of shards that are held no more are left out.
    pub async fn keep_target_states(
        &self,
        holdings: &[Holding],
        states: &[(TargetKey, TargetState)],
        is_final: bool,
    ) -> Result<()> {
        let (held, epochs) = columns(holdings);
        let (shards, accounts, projects, targets, hosts) = key_columns(states.iter().map(|(key, _)| key));
        let states: Result<Vec<serde_json::Value>, _> =
            states.iter().map(|(_, state)| serde_json::to_value(state)).collect();
        sqlx::query(
            "insert into target_state (shard, account_id, project_id, target, host, epoch, is_final, state)
             select kept.shard, kept.account_id, kept.project_id, kept.target, kept.host, shard.epoch, $9, kept.state
             from unnest($3::smallint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::jsonb[])
                  as kept (shard, account_id, project_id, target, host, state)
             join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard)
             join shard on shard.shard = mine.shard and shard.epoch = mine.epoch
             order by 1, 2, 3, 4, 5
             on conflict (shard, account_id, project_id, target, host)
             do update set epoch = excluded.epoch, is_final = excluded.is_final, state = excluded.state
             where target_state.epoch <= excluded.epoch",
        )
        .bind(held)
        .bind(epochs)
        .bind(shards)
        .bind(accounts)
        .bind(projects)
        .bind(targets)
        .bind(hosts)
        .bind(states.map_err(|error| StoreError::unreadable("target state", error))?)
        .bind(is_final)
        .execute(&self.relaxed)
        .await?;
        Ok(())
    }

    /// Deletes what is as good as nothing by now, unless another owner wrote it meanwhile.
    pub async fn forget_target_states(&self, holdings: &[Holding], keys: &[TargetKey]) -> Result<()> {
        let (held, epochs) = columns(holdings);
        let (shards, accounts, projects, targets, hosts) = key_columns(keys.iter());
        sqlx::query(
            "delete from target_state
             using unnest($3::smallint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])
                   as gone (shard, account_id, project_id, target, host)
             join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard)
             where target_state.shard = gone.shard and target_state.account_id = gone.account_id
               and target_state.project_id = gone.project_id and target_state.target = gone.target
               and target_state.host = gone.host and target_state.epoch <= mine.epoch",
        )
        .bind(held)
        .bind(epochs)
        .bind(shards)
        .bind(accounts)
        .bind(projects)
        .bind(targets)
        .bind(hosts)
        .execute(&self.relaxed)
        .await?;
        Ok(())
    }
}

fn stored((shard, account, project, target, host, state, is_final): Row) -> StoredTarget {
    let queue = Queue { shard: Shard(shard), account: AccountId(account) };
    let key = TargetKey { queue, project: ProjectId(project), target, host };
    match serde_json::from_value(state) {
        Ok(state) => StoredTarget { key, state, is_final },
        Err(error) => {
            // One target's row must not hold up a shard.
            tracing::error!(?key, %error, "a target's state is not readable; it begins anew");
            StoredTarget { key, state: TargetState::default(), is_final: false }
        }
    }
}

type KeyColumns = (Vec<i16>, Vec<i64>, Vec<i64>, Vec<String>, Vec<String>);

fn key_columns<'k>(keys: impl Iterator<Item = &'k TargetKey>) -> KeyColumns {
    let mut columns = KeyColumns::default();
    for key in keys {
        columns.0.push(key.queue.shard.0);
        columns.1.push(key.queue.account.0);
        columns.2.push(key.project.0);
        columns.3.push(key.target.clone());
        columns.4.push(key.host.clone());
    }
    columns
}
