//! The secrets of projects, sealed: this module never sees an open one.

use trellis_model::{AccountId, ProjectId};

use crate::{Database, Result, projects::project_among};

/// Whose credential it is, and what it is called: what the seal is bound to besides the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialName {
    pub account: AccountId,
    pub project: ProjectId,
    pub name: String,
}

/// A credential as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCredential {
    pub of: CredentialName,
    /// Which master key it is sealed with.
    pub key_version: i32,
    pub nonce: Vec<u8>,
    pub sealed: Vec<u8>,
}

/// What is told of a credential.
#[derive(Clone, Debug)]
pub struct CredentialInfo {
    pub name: String,
    pub key_version: i32,
    /// Unix seconds.
    pub created_at: i64,
    pub updated_at: i64,
}

/// What has become of a credential that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Created,
    Replaced,
    /// The project has as many as it may have.
    Full,
}

type SealedRow = (i64, i64, String, i32, Vec<u8>, Vec<u8>);

impl Database {
    /// Makes a project that nothing was deployed to yet, or returns the one that has the name: credentials come before
    /// the first deployment, which needs them.
    /// None: the account has `most` others already.
    pub async fn ensure_project(&self, account: AccountId, name: &str, most: u32) -> Result<Option<ProjectId>> {
        let mut transaction = self.durable.begin().await?;
        let project = project_among(&mut transaction, account, name, most).await?;
        transaction.commit().await?;
        Ok(project)
    }

    /// Stores a credential in place of the one that has the name, unless the project has `most` others already.
    pub async fn put_credential(&self, credential: &SealedCredential, most: u32) -> Result<Stored> {
        let CredentialName { account, project, name } = &credential.of;
        let mut transaction = self.durable.begin().await?;
        // One at a time per project, or several at once could be more than the most.
        sqlx::query("select from project where account_id = $1 and id = $2 for no key update")
            .bind(account.0)
            .bind(project.0)
            .execute(&mut *transaction)
            .await?;
        let others: i64 = sqlx::query_scalar(
            "select count(*) from credential where account_id = $1 and project_id = $2 and name <> $3",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(name)
        .fetch_one(&mut *transaction)
        .await?;
        if others >= i64::from(most) {
            return Ok(Stored::Full);
        }
        let is_new: bool = sqlx::query_scalar(
            "insert into credential (account_id, project_id, name, key_version, nonce, sealed)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (account_id, project_id, name) do update
             set key_version = excluded.key_version, nonce = excluded.nonce, sealed = excluded.sealed, updated_at = now()
             returning xmax = 0",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(name)
        .bind(credential.key_version)
        .bind(&credential.nonce)
        .bind(&credential.sealed)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(if is_new { Stored::Created } else { Stored::Replaced })
    }

    /// Those of a project's credentials that have one of these names.
    pub async fn credentials(
        &self,
        account: AccountId,
        project: ProjectId,
        names: &[&str],
    ) -> Result<Vec<SealedCredential>> {
        let rows: Vec<SealedRow> = sqlx::query_as(
            "select account_id, project_id, name, key_version, nonce, sealed from credential
             where account_id = $1 and project_id = $2 and name = any ($3)",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(names)
        .fetch_all(&self.durable)
        .await?;
        Ok(rows.into_iter().map(read_sealed).collect())
    }

    /// At most `limit` of a project's credentials with names behind `after`.
    pub async fn credential_infos(
        &self,
        account: AccountId,
        project: ProjectId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<CredentialInfo>> {
        let rows: Vec<(String, i32, i64, i64)> = sqlx::query_as(
            "select name, key_version, extract(epoch from created_at)::bigint, extract(epoch from updated_at)::bigint
             from credential where account_id = $1 and project_id = $2 and name > $3 order by name limit $4",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(after.unwrap_or(""))
        .bind(limit)
        .fetch_all(&self.durable)
        .await?;
        let read =
            |(name, key_version, created_at, updated_at)| CredentialInfo { name, key_version, created_at, updated_at };
        Ok(rows.into_iter().map(read).collect())
    }

    /// False: there was none.
    pub async fn delete_credential(&self, account: AccountId, project: ProjectId, name: &str) -> Result<bool> {
        let done = sqlx::query("delete from credential where account_id = $1 and project_id = $2 and name = $3")
            .bind(account.0)
            .bind(project.0)
            .bind(name)
            .execute(&self.durable)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// At most `limit` credentials, of all accounts, that are sealed with another master key than this one, behind
    /// `after` in the order of key, account, project and name.
    pub async fn credentials_of_other_keys(
        &self,
        key_version: i32,
        after: Option<&SealedCredential>,
        limit: i64,
    ) -> Result<Vec<SealedCredential>> {
        let rows: Vec<SealedRow> = sqlx::query_as(
            "select account_id, project_id, name, key_version, nonce, sealed from credential
             where key_version <> $1 and (key_version, account_id, project_id, name) > ($2, $3, $4, $5)
             order by key_version, account_id, project_id, name limit $6",
        )
        .bind(key_version)
        .bind(after.map_or(0, |after| after.key_version))
        .bind(after.map_or(0, |after| after.of.account.0))
        .bind(after.map_or(0, |after| after.of.project.0))
        .bind(after.map_or("", |after| after.of.name.as_str()))
        .bind(limit)
        .fetch_all(&self.durable)
        .await?;
        Ok(rows.into_iter().map(read_sealed).collect())
    }

    /// Replaces a seal by one with another master key. False: somebody else has changed the credential meanwhile.
    pub async fn reseal_credential(&self, old: &SealedCredential, new: &SealedCredential) -> Result<bool> {
        let done = sqlx::query(
            "update credential set key_version = $5, nonce = $6, sealed = $7
             where account_id = $1 and project_id = $2 and name = $3 and nonce = $4",
        )
        .bind(old.of.account.0)
        .bind(old.of.project.0)
        .bind(&old.of.name)
        .bind(&old.nonce)
        .bind(new.key_version)
        .bind(&new.nonce)
        .bind(&new.sealed)
        .execute(&self.durable)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// How many credentials, of all accounts, each master key has sealed.
    pub async fn credential_counts(&self) -> Result<Vec<(i32, i64)>> {
        Ok(sqlx::query_as("select key_version, count(*) from credential group by key_version order by key_version")
            .fetch_all(&self.durable)
            .await?)
    }
}

fn read_sealed((account, project, name, key_version, nonce, sealed): SealedRow) -> SealedCredential {
    let of = CredentialName { account: AccountId(account), project: ProjectId(project), name };
    SealedCredential { of, key_version, nonce, sealed }
}
