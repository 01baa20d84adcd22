//! Who is asking: bearer tokens, and what they may do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use http::{HeaderMap, header};
use trellis_model::{
    AccountId, ProjectId,
    description::check_name,
    token::{Scope, TokenDigest, TokenText},
};
use trellis_store::{
    Database, StoreError,
    tokens::{Token, TokenOwner},
};

use super::{Api, Problem};

/// Names the account that an operator token acts for.
pub const ACCOUNT_HEADER: &str = "trellis-account";

/// Who is asking, and for which account.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account that the request is about; none for an operator who named none.
    account: Option<AccountId>,
    /// Some: the token is good for this project alone.
    pub project: Option<ProjectId>,
    scopes: Arc<[Scope]>,
    /// Unix seconds; none: never.
    pub expires_at: Option<i64>,
}

impl Caller {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own == scope || *own == Scope::Operator)
    }

    pub fn is_operator(&self) -> bool {
        self.scopes.contains(&Scope::Operator)
    }

    /// The account that the request is about.
    pub fn account(&self) -> Result<AccountId, Problem> {
        self.account.ok_or_else(|| {
            Problem::bad_request(format!(
                "an operator token names the account it acts for: send the header `{ACCOUNT_HEADER}: NAME` (`--account NAME` on the command line)"
            ))
        })
    }

    /// Whether the caller has to do with this account: an operator who names none has with all of them.
    pub fn acts_for(&self, account: AccountId) -> bool {
        self.account.map_or(self.is_operator(), |own| own == account)
    }

    /// Whose tokens the caller may list, rotate and revoke. An operator who names no account means the operators' own.
    pub fn owner(&self) -> TokenOwner {
        match (self.account, self.project) {
            (None, _) => TokenOwner::Operators,
            (Some(account), None) => TokenOwner::Account(account),
            (Some(account), Some(project)) => TokenOwner::Project(account, project),
        }
    }

    /// A token of one project has nothing to do with the others: for it they do not exist.
    pub fn may_see(&self, project: ProjectId) -> bool {
        self.project.is_none_or(|own| own == project)
    }
}

/// How long valid tokens are remembered, and how many.
#[derive(Clone, Copy, Debug)]
pub struct TokenCacheLimits {
    /// So long a revoked token may still be taken, on every host.
    pub cached_for: Duration,
    /// Beyond it the cache begins anew.
    pub cached_max: usize,
}

/// Valid tokens, remembered for a few seconds, by their digests: what is looked up is never compared with a secret, so the
/// time it takes says nothing of one.
pub struct TokenCache {
    database: Database,
    limits: TokenCacheLimits,
    valid: DashMap<TokenDigest, (Instant, Arc<Token>)>,
}

impl TokenCache {
    pub fn new(database: Database, limits: TokenCacheLimits) -> Self {
        Self { database, limits, valid: DashMap::new() }
    }

    /// The token with this digest, if it is valid at this Unix time.
    async fn get(&self, digest: TokenDigest, now: i64, scope: Scope) -> Result<Option<Arc<Token>>, StoreError> {
        // Whoever holds a token that was revoked a moment ago must not make another with it.
        let found = match scope {
            Scope::TokensWrite | Scope::Operator => self.read(digest).await?,
            _ => self.remembered_or_read(digest).await?,
        };
        Ok(found.filter(|token| token.expires_at.is_none_or(|at| at > now)))
    }

    async fn remembered_or_read(&self, digest: TokenDigest) -> Result<Option<Arc<Token>>, StoreError> {
        if let Some(entry) = self.valid.get(&digest) {
            let (seen, token) = entry.value();
            if seen.elapsed() < self.limits.cached_for {
                return Ok(Some(Arc::clone(token)));
            }
        }
        self.read(digest).await
    }

    async fn read(&self, digest: TokenDigest) -> Result<Option<Arc<Token>>, StoreError> {
        // Before the question: what is answered late was true when it was asked, not when it came.
        let asked = Instant::now();
        let token = self.database.valid_token(digest).await?.map(Arc::new);
        match &token {
            Some(token) => {
                if self.valid.len() >= self.limits.cached_max {
                    self.valid.clear();
                }
                self.valid.insert(digest, (asked, Arc::clone(token)));
            }
            None => drop(self.valid.remove(&digest)),
        }
        Ok(token)
    }
}

/// Finds out who is asking, and whether they have the scope.
pub async fn authorize(api: &Api, headers: &HeaderMap, scope: Scope) -> Result<Caller, Problem> {
    let text = bearer(headers)?;
    let token: TokenText = text.parse().map_err(|error| Problem::unauthorized(format!("{error}")))?;
    let token = api.tokens.get(token.digest(), api.host.clock.now_ms() / 1_000, scope).await?;
    let token = token.ok_or_else(|| Problem::unauthorized("the token is unknown, revoked or expired"))?;
    let mut caller = Caller {
        account: token.account,
        project: token.project,
        scopes: token.scopes.clone().into(),
        expires_at: token.expires_at,
    };
    if !caller.has(scope) {
        return Err(Problem::forbidden(format!("this needs the scope `{scope}`")));
    }
    if let Some(named) = named_account(api, headers, token.account).await? {
        caller.account = Some(named);
    }
    Ok(caller)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let value = headers.get(header::AUTHORIZATION);
    let value = value.ok_or_else(|| Problem::unauthorized("send the header `Authorization: Bearer trl_…`"))?;
    let text = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    text.ok_or_else(|| Problem::unauthorized("the Authorization header is not of the form `Bearer trl_…`"))
}

/// The account that the header names. For a token that is not an operator's, no other account than its own exists.
async fn named_account(api: &Api, headers: &HeaderMap, own: Option<AccountId>) -> Result<Option<AccountId>, Problem> {
    let Some(name) = headers.get(ACCOUNT_HEADER) else { return Ok(None) };
    let name = name.to_str().unwrap_or_default();
    if check_name(name).is_err() {
        return Err(Problem::not_found(format!("the header `{ACCOUNT_HEADER}` names no account")));
    }
    match api.host.database.account_by_name(name).await? {
        Some(account) if own.is_none_or(|own| own == account) => Ok(Some(account)),
        _ => Err(Problem::not_found(format!("there is no account `{name}` for this token"))),
    }
}
