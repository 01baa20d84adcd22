//! Access tokens, by the digest of their text.

use trellis_model::{
    AccountId, ProjectId, TokenId,
    token::{Scope, TokenDigest},
};

use crate::{Database, Result, StoreError};

/// What a valid token stands for.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    /// None: an operator token.
    pub account: Option<AccountId>,
    /// Some: good for this project alone.
    pub project: Option<ProjectId>,
    pub scopes: Vec<Scope>,
    /// Unix seconds.
    pub created_at: i64,
    pub expires_at: Option<i64>,
}

type TokenRow = (i64, String, Option<i64>, Option<i64>, Vec<String>, i64, Option<i64>);

impl Database {
    pub async fn create_token(
        &self,
        account: Option<AccountId>,
        project: Option<ProjectId>,
        name: &str,
        digest: TokenDigest,
        scopes: &[Scope],
        expires_in_seconds: Option<i64>,
    ) -> Result<TokenId> {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let id = sqlx::query_scalar(
            "insert into token (account_id, project_id, name, digest, scopes, expires_at)
             values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) returning id",
        )
        .bind(account.map(|account| account.0))
        .bind(project.map(|project| project.0))
        .bind(name)
        .bind(digest.0.as_slice())
        .bind(scopes)
        .bind(expires_in_seconds.map(|seconds| seconds as f64))
        .fetch_one(&self.durable)
        .await?;
        Ok(TokenId(id))
    }

    /// The token with this digest, unless it is unknown, revoked or expired.
    pub async fn valid_token(&self, digest: TokenDigest) -> Result<Option<Token>> {
        let row: Option<TokenRow> = sqlx::query_as(
            "select id, name, account_id, project_id, scopes, extract(epoch from created_at)::bigint,
                    extract(epoch from expires_at)::bigint
             from token where digest = $1 and revoked_at is null and (expires_at is null or expires_at > now())",
        )
        .bind(digest.0.as_slice())
        .fetch_optional(&self.durable)
        .await?;
        row.map(read_token).transpose()
    }

    /// The account's tokens that are neither revoked nor expired, behind `after`.
    pub async fn tokens(&self, account: AccountId, after: Option<TokenId>, limit: i64) -> Result<Vec<Token>> {
        let rows: Vec<TokenRow> = sqlx::query_as(
            "select id, name, account_id, project_id, scopes, extract(epoch from created_at)::bigint,
                    extract(epoch from expires_at)::bigint
             from token
             where account_id = $1 and id > $2 and revoked_at is null and (expires_at is null or expires_at > now())
             order by id limit $3",
        )
        .bind(account.0)
        .bind(after.map_or(0, |token| token.0))
        .bind(limit)
        .fetch_all(&self.durable)
        .await?;
        rows.into_iter().map(read_token).collect()
    }

    /// False: the account, or the project if one is given, has no such token.
    pub async fn revoke_token(&self, account: AccountId, project: Option<ProjectId>, token: TokenId) -> Result<bool> {
        let done = sqlx::query(
            "update token set revoked_at = coalesce(revoked_at, now())
             where account_id = $1 and id = $2 and ($3::bigint is null or project_id = $3)",
        )
        .bind(account.0)
        .bind(token.0)
        .bind(project.map(|project| project.0))
        .execute(&self.durable)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Whether any valid operator token exists: a new installation has none.
    pub async fn has_operator_token(&self) -> Result<bool> {
        Ok(sqlx::query_scalar(
            "select exists (select from token where account_id is null and revoked_at is null
                            and (expires_at is null or expires_at > now()))",
        )
        .fetch_one(&self.durable)
        .await?)
    }
}

fn read_token((id, name, account, project, scopes, created_at, expires_at): TokenRow) -> Result<Token> {
    let scopes: Result<Vec<Scope>, _> = scopes.iter().map(|scope| scope.parse()).collect();
    Ok(Token {
        id: TokenId(id),
        name,
        account: account.map(AccountId),
        project: project.map(ProjectId),
        scopes: scopes.map_err(|error| StoreError::unreadable("token", error))?,
        created_at,
        expires_at,
    })
}
