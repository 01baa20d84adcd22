//! Projects and their revisions.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{Postgres, Transaction};
use trellis_model::{AccountId, PluginId, ProjectId, RevisionId};

use crate::{Database, Result, StoreError, collections, patient_pool::answered};

/// One immutable deployment.
#[derive(Clone, Debug)]
pub struct Revision {
    pub id: RevisionId,
    pub account: AccountId,
    pub account_name: String,
    pub project: ProjectId,
    pub project_name: String,
    /// The manifest in its JSON form.
    pub manifest: Value,
    /// Plugin name in the manifest → plugin.
    pub plugins: BTreeMap<String, PluginId>,
    /// Unix seconds.
    pub created_at: i64,
}

#[derive(Clone, Debug)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub revision: Option<RevisionId>,
    /// Unix seconds.
    pub created_at: i64,
}

/// A revision that is to be made.
#[derive(Debug)]
pub struct NewRevision<'a> {
    pub account: AccountId,
    /// The project's name; made if it is new.
    pub project: &'a str,
    pub manifest: &'a Value,
    /// Plugin name in the manifest → plugin.
    pub plugins: &'a BTreeMap<String, PluginId>,
    /// The earlier revision that it goes back to.
    pub made_from: Option<RevisionId>,
}

/// What has become of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployment {
    Made {
        revision: RevisionId,
        /// The one that was current until then.
        former: Option<RevisionId>,
    },
    /// The current revision has this manifest and these plugins already.
    Unchanged(RevisionId),
    /// The project would be new, and its account has as many as it may have.
    TooMany,
}

type RevisionRow = (i64, i64, String, i64, String, Value, Value, i64);

impl Database {
    /// Makes the project if it is new, adds the revision and makes it the current one, all or nothing; unless the current
    /// one is the same. An account has `most` projects at most.
    pub async fn deploy(&self, new: &NewRevision<'_>, most: u32) -> Result<Deployment> {
        let plugins = serde_json::to_value(new.plugins).map_err(|error| StoreError::unreadable("plugins", error))?;
        answered(self.deploy_at_once(new, plugins, most)).await
    }

    async fn deploy_at_once(&self, new: &NewRevision<'_>, plugins: Value, most: u32) -> Result<Deployment> {
        let account = new.account;
        let mut transaction = self.durable.begin().await?;
        let Some(project) = project_among(&mut transaction, account, new.project, most).await? else {
            return Ok(Deployment::TooMany);
        };
        // The project is held: nobody makes another revision current meanwhile.
        let former: Option<(i64, bool)> = sqlx::query_as(
            "select r.id, r.manifest = $3 and r.plugins = $4
             from project p join revision r on r.id = p.current_revision_id where p.account_id = $1 and p.id = $2",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(new.manifest)
        .bind(&plugins)
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some((same, true)) = former {
            return Ok(Deployment::Unchanged(RevisionId(same)));
        }
        let revision: i64 = sqlx::query_scalar(
            "insert into revision (account_id, project_id, manifest, plugins, made_from)
             values ($1, $2, $3, $4, $5) returning id",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(new.manifest)
        .bind(plugins)
        .bind(new.made_from.map(|revision| revision.0))
        .fetch_one(&mut *transaction)
        .await?;
        collections::declare(&mut transaction, account, project, new.manifest).await?;
        // Never goes back: of two deployments at the same time the later one stays.
        sqlx::query(
            "update project set current_revision_id = $3
             where account_id = $1 and id = $2 and coalesce(current_revision_id, 0) < $3",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(revision)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let former = former.map(|(former, _)| RevisionId(former));
        Ok(Deployment::Made { revision: RevisionId(revision), former })
    }

    pub async fn project(&self, account: AccountId, name: &str) -> Result<Option<Project>> {
        let row: Option<(i64, Option<i64>, i64)> = sqlx::query_as(
            "select id, current_revision_id, extract(epoch from created_at)::bigint
             from project where account_id = $1 and name = $2",
        )
        .bind(account.0)
        .bind(name)
        .fetch_optional(&self.durable)
        .await?;
        Ok(row.map(|(id, revision, created_at)| Project {
            id: ProjectId(id),
            name: name.to_owned(),
            revision: revision.map(RevisionId),
            created_at,
        }))
    }

    /// At most `limit` projects with ids behind `after`; this one alone, if one is given.
    pub async fn projects(
        &self,
        account: AccountId,
        only: Option<ProjectId>,
        after: Option<ProjectId>,
        limit: i64,
    ) -> Result<Vec<Project>> {
        let rows: Vec<(i64, String, Option<i64>, i64)> = sqlx::query_as(
            "select id, name, current_revision_id, extract(epoch from created_at)::bigint
             from project where account_id = $1 and id > $2 and ($4::bigint is null or id = $4) order by id limit $3",
        )
        .bind(account.0)
        .bind(after.map_or(0, |project| project.0))
        .bind(limit)
        .bind(only.map(|project| project.0))
        .fetch_all(&self.durable)
        .await?;
        let read = |(id, name, revision, created_at): (i64, String, Option<i64>, i64)| Project {
            id: ProjectId(id),
            name,
            revision: revision.map(RevisionId),
            created_at,
        };
        Ok(rows.into_iter().map(read).collect())
    }

    pub async fn revision(&self, account: AccountId, revision: RevisionId) -> Result<Option<Revision>> {
        let row: Option<RevisionRow> = sqlx::query_as(
            "select r.id, r.account_id, a.name, r.project_id, p.name, r.manifest, r.plugins,
                    extract(epoch from r.created_at)::bigint
             from revision r join project p on p.id = r.project_id join account a on a.id = r.account_id
             where r.account_id = $1 and r.id = $2",
        )
        .bind(account.0)
        .bind(revision.0)
        .fetch_optional(&self.durable)
        .await?;
        row.map(read_revision).transpose()
    }

    /// Current revisions of projects, at most `limit`, in the order of their ids behind `after`, without those that are
    /// `known`: what a host loads at its start, and what it has missed since.
    pub async fn current_revisions(
        &self,
        after: RevisionId,
        known: &[RevisionId],
        limit: i64,
    ) -> Result<Vec<Revision>> {
        let rows: Vec<RevisionRow> = sqlx::query_as(
            "select r.id, r.account_id, a.name, r.project_id, p.name, r.manifest, r.plugins,
                    extract(epoch from r.created_at)::bigint
             from project p join revision r on r.id = p.current_revision_id join account a on a.id = p.account_id
             where p.current_revision_id > $1 and p.current_revision_id <> all ($2) order by r.id limit $3",
        )
        .bind(after.0)
        .bind(known.iter().map(|revision| revision.0).collect::<Vec<i64>>())
        .bind(limit)
        .fetch_all(&self.durable)
        .await?;
        let readable = |row: RevisionRow| {
            let id = row.0;
            // One project's row must not keep a host from starting.
            read_revision(row).map_err(|error| tracing::error!(revision = id, %error, "a project was passed over")).ok()
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }
}

/// The project of an account that has this name, and holds it until the end of the transaction; made if it is new. None: the
/// account has `most` others already.
pub(crate) async fn project_among(
    transaction: &mut Transaction<'_, Postgres>,
    account: AccountId,
    name: &str,
    most: u32,
) -> Result<Option<ProjectId>> {
    let known = "select id from project where account_id = $1 and name = $2 for no key update";
    let found: Option<i64> =
        sqlx::query_scalar(known).bind(account.0).bind(name).fetch_optional(&mut **transaction).await?;
    if let Some(found) = found {
        return Ok(Some(ProjectId(found)));
    }
    // New ones come one at a time, or several at once could be more than the most.
    sqlx::query("select from account where id = $1 for no key update")
        .bind(account.0)
        .execute(&mut **transaction)
        .await?;
    let others: i64 = sqlx::query_scalar("select count(*) from project where account_id = $1 and name <> $2")
        .bind(account.0)
        .bind(name)
        .fetch_one(&mut **transaction)
        .await?;
    // The no-op update makes `returning` see the row that somebody has made meanwhile.
    let made: Option<i64> = sqlx::query_scalar(
        "insert into project (account_id, name) select $1, $2
         where $3 or exists (select from project where account_id = $1 and name = $2)
         on conflict (account_id, name) do update set name = excluded.name returning id",
    )
    .bind(account.0)
    .bind(name)
    .bind(others < i64::from(most))
    .fetch_optional(&mut **transaction)
    .await?;
    Ok(made.map(ProjectId))
}

fn read_revision(
    (id, account, account_name, project, project_name, manifest, plugins, created_at): RevisionRow,
) -> Result<Revision> {
    Ok(Revision {
        id: RevisionId(id),
        account: AccountId(account),
        account_name,
        project: ProjectId(project),
        project_name,
        manifest,
        plugins: serde_json::from_value(plugins).map_err(|error| StoreError::unreadable("revision plugins", error))?,
        created_at,
    })
}
