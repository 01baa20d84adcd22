//! The keys by which signatures of senders are checked, opened from the vault and remembered for a few seconds: whoever
//! sends nonsense to a trigger must not cost the database a statement each time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;
use tokio::sync::OnceCell;
use trellis_model::{
    RevisionId,
    manifest::Trigger,
    signature::{SenderSignature, SigningKey},
};
use trellis_operator::{
    catalog::LoadedRevision,
    vault::{Vault, VaultError},
};
use trellis_store::StoreError;

use super::Problem;

/// A credential that was replaced or deleted counts nowhere any more after this time; as long as a revoked token does.
const CACHED_FOR: Duration = Duration::from_secs(5);
/// Triggers whose keys are held at most; beyond it the cache begins anew. Only deployed triggers are in it.
const CACHED_MAX: usize = 10_000;
/// How soon a sender may try again whom this host cannot check.
const RETRY: Duration = Duration::from_secs(10);

/// Keys by revision, which is never changed, and trigger.
pub struct SigningKeys {
    vault: Vault,
    known: DashMap<(RevisionId, String), Arc<Entry>>,
}

struct Entry {
    since: Instant,
    /// One request opens them, the others wait for it.
    opened: OnceCell<Opened>,
}

#[derive(Clone)]
enum Opened {
    Keys(Arc<[SigningKey]>),
    /// This host lacks a master key.
    Sealed,
}

impl SigningKeys {
    pub fn new(vault: Vault) -> Self {
        Self { vault, known: DashMap::new() }
    }

    /// The keys of a trigger's senders. Empty if none of its credentials is there: then nobody is one.
    ///
    /// # Errors
    /// This host cannot open them, now or at all.
    pub async fn of(
        &self,
        revision: &LoadedRevision,
        trigger: &Trigger,
        signature: &SenderSignature,
    ) -> Result<Arc<[SigningKey]>, Problem> {
        let entry = self.entry((revision.id, trigger.name.clone()));
        match entry.opened.get_or_try_init(|| self.open(revision, trigger, signature)).await? {
            Opened::Keys(keys) => Ok(Arc::clone(keys)),
            Opened::Sealed => Err(Problem::unavailable("this host cannot check senders at the moment", RETRY)),
        }
    }

    fn entry(&self, of: (RevisionId, String)) -> Arc<Entry> {
        if self.known.len() >= CACHED_MAX {
            self.known.clear();
        }
        let fresh = || Arc::new(Entry { since: Instant::now(), opened: OnceCell::new() });
        let mut entry = self.known.entry(of).or_insert_with(fresh);
        if entry.since.elapsed() >= CACHED_FOR {
            *entry = fresh();
        }
        Arc::clone(&entry)
    }

    async fn open(
        &self,
        revision: &LoadedRevision,
        trigger: &Trigger,
        signature: &SenderSignature,
    ) -> Result<Opened, StoreError> {
        let (project, trigger) = (&revision.project_name, &trigger.name);
        let mut keys = Vec::new();
        for name in &signature.credentials {
            let secret = match self.vault.secret(revision.account, revision.project, name).await {
                Ok(secret) => secret,
                Err(VaultError::Store(error)) => return Err(error),
                Err(error) if error.is_of_the_host() => {
                    tracing::error!(project, trigger, credential = name, %error, "senders cannot be checked");
                    return Ok(Opened::Sealed);
                }
                Err(error) => {
                    // While a secret is changed, the other one is enough.
                    tracing::warn!(project, trigger, credential = name, %error, "no sender can sign with a credential");
                    continue;
                }
            };
            match SigningKey::new(&signature.scheme, &secret) {
                Ok(key) => keys.push(key),
                Err(error) => {
                    tracing::warn!(project, trigger, credential = name, %error, "no sender can sign with a credential");
                }
            }
        }
        Ok(Opened::Keys(keys.into()))
    }
}
