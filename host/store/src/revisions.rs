//! The history of a project's deployments.

use std::collections::BTreeMap;

use serde_json::Value;
use trellis_model::{AccountId, PluginId, ProjectId, RevisionId};

use crate::{Database, Result, StoreError};

/// What is told of a revision in a list.
#[derive(Clone, Debug)]
pub struct RevisionInfo {
    pub id: RevisionId,
    /// The earlier one that it goes back to.
    pub made_from: Option<RevisionId>,
    /// Plugin name in the manifest → plugin.
    pub plugins: BTreeMap<String, PluginId>,
    /// Unix seconds.
    pub created_at: i64,
}

impl Database {
    /// At most `limit` revisions of a project, newest first, older than `before`.
    pub async fn revisions(
        &self,
        account: AccountId,
        project: ProjectId,
        before: Option<RevisionId>,
        limit: i64,
    ) -> Result<Vec<RevisionInfo>> {
        let rows: Vec<(i64, Option<i64>, Value, i64)> = sqlx::query_as(
            "select id, made_from, plugins, extract(epoch from created_at)::bigint
             from revision where account_id = $1 and project_id = $2 and id < $3 order by id desc limit $4",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(before.map_or(i64::MAX, |revision| revision.0))
        .bind(limit)
        .fetch_all(&self.durable)
        .await?;
        let read = |(id, made_from, plugins, created_at): (i64, Option<i64>, Value, i64)| {
            Ok(RevisionInfo {
                id: RevisionId(id),
                made_from: made_from.map(RevisionId),
                plugins: serde_json::from_value(plugins)
                    .map_err(|error| StoreError::unreadable("revision plugins", error))?,
                created_at,
            })
        };
        rows.into_iter().map(read).collect()
    }
}
