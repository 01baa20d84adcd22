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
    /// Its successor, if it was rotated.
    pub replaced_by: Option<TokenId>,
}

type TokenRow = (i64, String, Option<i64>, Option<i64>, Vec<String>, i64, Option<i64>, Option<i64>);

/// The columns of a [`TokenRow`].
const COLUMNS: &str = "id, name, account_id, project_id, scopes, extract(epoch from created_at)::bigint, \
     floor(extract(epoch from expires_at))::bigint, replaced_by";

/// Whose tokens are meant.
#[derive(Clone, Copy, Debug)]
pub enum TokenOwner {
    Operators,
    Account(AccountId),
    /// Those that are good for this project alone.
    Project(AccountId, ProjectId),
}

impl TokenOwner {
    /// A condition with the account as `$1` and the project as `$2`, each for its own index.
    fn condition(self) -> &'static str {
        match self {
            Self::Operators => "account_id is null and $1::bigint is null and $2::bigint is null",
            Self::Account(_) => "account_id = $1 and $2::bigint is null",
            Self::Project(..) => "account_id = $1 and project_id = $2",
        }
    }

    fn account(self) -> Option<i64> {
        match self {
            Self::Operators => None,
            Self::Account(account) | Self::Project(account, _) => Some(account.0),
        }
    }

    fn project(self) -> Option<i64> {
        match self {
            Self::Project(_, project) => Some(project.0),
            Self::Operators | Self::Account(_) => None,
        }
    }
}

/// Neither revoked nor expired.
const VALID: &str = "revoked_at is null and (expires_at is null or expires_at > now())";

/// What there is of a token that a configuration gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenToken {
    Made,
    Known,
    /// It was revoked or has expired, and stays so.
    Refused,
    /// It is unknown, and there are as many valid tokens of operators as there may be.
    TooMany,
}

/// So long a token that is good no more is kept: for whoever looks into what somebody did with it.
const KEPT_DAYS: i32 = 30;

/// Operators' tokens that are good no more and are kept for longer, the latest of them: so that a configuration does not bring
/// one back that was revoked. Ten years of a new one every few days.
const OPERATORS_KEPT: i64 = 1_000;

/// First-come lock for making the first operator token: hosts that start at the same moment make one.
const FIRST_TOKEN_LOCK: i64 = 0x7472_6c5f_6f70;

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
        let query = format!("select {COLUMNS} from token where digest = $1 and {VALID}");
        let row: Option<TokenRow> =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(digest.0.as_slice()).fetch_optional(&self.durable).await?;
        row.map(read_token).transpose()
    }

    /// The owner's tokens that are neither revoked nor expired, behind `after`.
    pub async fn tokens(&self, owner: TokenOwner, after: Option<TokenId>, limit: i64) -> Result<Vec<Token>> {
        let owned = owner.condition();
        let query = format!("select {COLUMNS} from token where {owned} and id > $3 and {VALID} order by id limit $4");
        let rows: Vec<TokenRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(owner.account())
            .bind(owner.project())
            .bind(after.map_or(0, |token| token.0))
            .bind(limit)
            .fetch_all(&self.durable)
            .await?;
        rows.into_iter().map(read_token).collect()
    }

    /// One of the owner's tokens that is neither revoked nor expired.
    pub async fn token(&self, owner: TokenOwner, token: TokenId) -> Result<Option<Token>> {
        let tokens = self.tokens(owner, Some(TokenId(token.0.saturating_sub(1))), 1).await?;
        Ok(tokens.into_iter().find(|found| found.id == token))
    }

    /// How many valid tokens the owner has.
    pub async fn token_count(&self, owner: TokenOwner) -> Result<i64> {
        let query = format!("select count(*) from token where {} and {VALID}", owner.condition());
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(owner.account())
            .bind(owner.project())
            .fetch_one(&self.durable)
            .await?)
    }

    /// Makes a token like another one, which expires when the overlap is over, if it does not sooner. None: the owner has no
    /// such valid token, or it was rotated already.
    pub async fn rotate_token(
        &self,
        owner: TokenOwner,
        token: TokenId,
        digest: TokenDigest,
        overlap_seconds: i64,
        expires_in_seconds: Option<i64>,
    ) -> Result<Option<TokenId>> {
        let query = format!(
            "with old as (
                 select id, account_id, project_id, name, scopes from token
                 where {} and id = $3 and replaced_by is null and {VALID} for update
             ), made as (
                 insert into token (account_id, project_id, name, digest, scopes, expires_at)
                 select account_id, project_id, name, $4, scopes, now() + make_interval(secs => $6) from old returning id
             ), retired as (
                 update token set replaced_by = made.id,
                        expires_at = least(expires_at, now() + make_interval(secs => $5))
                 from made, old where token.id = old.id
             )
             select id from made",
            owner.condition()
        );
        let made: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(owner.account())
            .bind(owner.project())
            .bind(token.0)
            .bind(digest.0.as_slice())
            .bind(overlap_seconds as f64)
            .bind(expires_in_seconds.map(|seconds| seconds as f64))
            .fetch_optional(&self.durable)
            .await?;
        Ok(made.map(TokenId))
    }

    /// False: the owner has no such token.
    pub async fn revoke_token(&self, owner: TokenOwner, token: TokenId) -> Result<bool> {
        let query = format!(
            "update token set revoked_at = coalesce(revoked_at, now()) where {} and id = $3",
            owner.condition()
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(owner.account())
            .bind(owner.project())
            .bind(token.0)
            .execute(&self.durable)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Deletes tokens that were revoked or have expired `KEPT_DAYS` ago, of accounts the oldest first and at most `limit`; returns
    /// how many. Of operators' own the latest `OPERATORS_KEPT` stay, so that a configuration does not bring one back that
    /// was revoked.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_old_tokens(&self, limit: i64) -> Result<u64> {
        let deleted = sqlx::query(
            "delete from token where id = any (array(
                 select id from token
                 where account_id is not null
                   and least(expires_at, revoked_at) < now() - make_interval(days => $2)
                 order by least(expires_at, revoked_at) limit $1 for update skip locked
             ))",
        )
        .bind(limit)
        .bind(KEPT_DAYS)
        .execute(&self.relaxed)
        .await?;
        // Few enough to be sorted: a thousand that are kept, and what has come since the last time.
        let of_operators = sqlx::query(
            "delete from token where id = any (array(
                 select id from token
                 where account_id is null and least(expires_at, revoked_at) < now() - make_interval(days => $2)
                 order by least(expires_at, revoked_at) desc, id desc offset $3 limit $1
             ))",
        )
        .bind(limit)
        .bind(KEPT_DAYS)
        .bind(OPERATORS_KEPT)
        .execute(&self.relaxed)
        .await?;
        Ok(deleted.rows_affected() + of_operators.rows_affected())
    }

    /// Makes the first operator token, unless there is a valid one: a new installation has none. True: it was made, and by
    /// this host alone, whoever else is starting.
    pub async fn create_first_token(&self, name: &str, digest: TokenDigest) -> Result<bool> {
        let mut transaction = self.durable.begin().await?;
        sqlx::query("select pg_advisory_xact_lock($1)").bind(FIRST_TOKEN_LOCK).execute(&mut *transaction).await?;
        // A statement of its own: it sees what whoever had the lock before has committed.
        let query = format!(
            "insert into token (name, digest, scopes)
             select $1, $2, $3 where not exists (select from token where account_id is null and {VALID})"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(name)
            .bind(digest.0.as_slice())
            .bind(vec![Scope::Operator.name()])
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Makes the operator token that a configuration gives, if it was never there and operators have fewer than `most`.
    pub async fn ensure_operator_token(&self, name: &str, digest: TokenDigest, most: i64) -> Result<GivenToken> {
        let query = format!(
            "insert into token (name, digest, scopes)
             select $1, $2, $3 where (select count(*) from token where account_id is null and {VALID}) < $4
             on conflict (digest) do nothing"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(name)
            .bind(digest.0.as_slice())
            .bind(vec![Scope::Operator.name()])
            .bind(most)
            .execute(&self.durable)
            .await?;
        if done.rows_affected() > 0 {
            return Ok(GivenToken::Made);
        }
        let is_operators = |token: Token| token.account.is_none() && token.scopes.contains(&Scope::Operator);
        if self.valid_token(digest).await?.is_some_and(is_operators) {
            return Ok(GivenToken::Known);
        }
        let is_there: bool = sqlx::query_scalar("select exists (select from token where digest = $1)")
            .bind(digest.0.as_slice())
            .fetch_one(&self.durable)
            .await?;
        Ok(if is_there { GivenToken::Refused } else { GivenToken::TooMany })
    }
}

fn read_token((id, name, account, project, scopes, created_at, expires_at, replaced_by): TokenRow) -> Result<Token> {
    let scopes: Result<Vec<Scope>, _> = scopes.iter().map(|scope| scope.parse()).collect();
    Ok(Token {
        id: TokenId(id),
        name,
        account: account.map(AccountId),
        project: project.map(ProjectId),
        scopes: scopes.map_err(|error| StoreError::unreadable("token", error))?,
        created_at,
        expires_at,
        replaced_by: replaced_by.map(TokenId),
    })
}
