//! Credentials: sealed before they are stored, opened where they are used, sealed anew under another master key.
//!
//! The one place where stored secrets and master keys meet. Does not know what a secret is for.

mod keyring;

use std::{collections::BTreeMap, sync::Arc};

use trellis_model::{AccountId, ProjectId, credential::Secret};
use trellis_store::{
    Database, StoreError,
    credentials::{CredentialName, SealedCredential, Stored},
};

pub use keyring::{InvalidKeyring, KEY_BYTES, Keyring, OpenError, keyring_line};
use keyring::{NONCE_BYTES, TAG_BYTES};

/// Credentials sealed anew with one statement for reading them.
const RESEAL_BATCH: i64 = 100;

/// The credentials of all projects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault {
    database: Database,
    /// None: this host can neither seal nor open any.
    keyring: Option<Arc<Keyring>>,
}

/// Why a secret is not to be had, or cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(
        "this host has no master key for credentials; an operator sets `credentials.master_key_file`; `trellis credentials new-key` makes one"
    )]
    NoKeys,
    #[error("the project has no credential `{name}`; set it with `trellis credential set {name}`")]
    Missing { name: String },
    #[error("credential `{name}` cannot be opened: {reason}")]
    Sealed { name: String, reason: OpenError },
    #[error("the system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VaultError {
    /// Whether it may be had another time without anybody changing the project.
    pub fn is_of_the_host(&self) -> bool {
        !matches!(self, Self::Missing { .. })
    }
}

/// How far sealing anew has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// The master key that credentials are sealed with now.
    pub key_version: i32,
    pub resealed: u64,
    /// Sealed with other keys still, those that this host cannot open included.
    pub remaining: u64,
}

impl Vault {
    pub fn new(database: Database, keyring: Option<Keyring>) -> Self {
        Self { database, keyring: keyring.map(Arc::new) }
    }

    /// Whether this host can open credentials at all.
    pub fn is_open(&self) -> bool {
        self.keyring.is_some()
    }

    fn keyring(&self) -> Result<&Keyring, VaultError> {
        self.keyring.as_deref().ok_or(VaultError::NoKeys)
    }

    /// The secret of a project by its name.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn secret(&self, account: AccountId, project: ProjectId, name: &str) -> Result<Secret, VaultError> {
        let mut found = self.secrets(account, project, &[name]).await?;
        found.remove(name).ok_or_else(|| VaultError::Missing { name: name.to_owned() })
    }

    /// Several secrets of a project at once, by name. All of them, or an error.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn secrets(
        &self,
        account: AccountId,
        project: ProjectId,
        names: &[&str],
    ) -> Result<BTreeMap<String, Secret>, VaultError> {
        let keyring = self.keyring()?;
        let mut opened = BTreeMap::new();
        for credential in self.database.credentials(account, project, names).await? {
            let name = credential.of.name.clone();
            let secret =
                keyring.open(&credential).map_err(|reason| VaultError::Sealed { name: name.clone(), reason })?;
            opened.insert(name, secret);
        }
        match names.iter().find(|name| !opened.contains_key(**name)) {
            Some(name) => Err(VaultError::Missing { name: (*name).to_owned() }),
            None => Ok(opened),
        }
    }

    /// Those of several credentials of a project that cannot be used, and why.
    ///
    /// # Errors
    /// [`VaultError::Store`] alone.
    pub async fn unusable<'n>(
        &self,
        account: AccountId,
        project: ProjectId,
        names: &[&'n str],
    ) -> Result<BTreeMap<&'n str, VaultError>, VaultError> {
        let stored = self.database.credentials(account, project, names).await?;
        let of_one = |name: &&'n str| {
            let name = *name;
            let found = stored.iter().find(|credential| credential.of.name == name);
            let error = match (self.keyring(), found) {
                (_, None) => VaultError::Missing { name: name.to_owned() },
                (Err(error), _) => error,
                (Ok(keyring), Some(credential)) => {
                    let reason = keyring.open(credential).err()?;
                    VaultError::Sealed { name: name.to_owned(), reason }
                }
            };
            Some((name, error))
        };
        Ok(names.iter().filter_map(of_one).collect())
    }

    /// How long the secrets of a project are, in bytes, by name; those that are not there are left out. Opens none.
    ///
    /// # Errors
    /// [`VaultError::Store`] alone.
    pub async fn lengths(
        &self,
        account: AccountId,
        project: ProjectId,
        names: &[&str],
    ) -> Result<BTreeMap<String, usize>, VaultError> {
        let stored = self.database.credentials(account, project, names).await?;
        let length =
            |credential: SealedCredential| (credential.of.name, credential.sealed.len().saturating_sub(TAG_BYTES));
        Ok(stored.into_iter().map(length).collect())
    }

    /// Seals and stores a secret, in place of the one that has the name. A project has `most` at most.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn put(&self, of: &CredentialName, secret: &Secret, most: u32) -> Result<Stored, VaultError> {
        let sealed = self.seal(of, secret)?;
        Ok(self.database.put_credential(&sealed, most).await?)
    }

    fn seal(&self, of: &CredentialName, secret: &Secret) -> Result<SealedCredential, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(VaultError::Randomness)?;
        Ok(self.keyring()?.seal(of, secret, nonce))
    }

    /// Seals at most `most` credentials of all accounts anew that are sealed with another master key than the one in use.
    /// Broken off, it goes on where it was: what is done is done. One that this host cannot open is left as it is.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub async fn reseal(&self, most: u64) -> Result<Resealed, VaultError> {
        let key_version = self.keyring()?.sealing_version();
        let (mut resealed, mut after) = (0, None);
        while resealed < most {
            let batch = self.database.credentials_of_other_keys(key_version, after.as_ref(), RESEAL_BATCH).await?;
            let Some(last) = batch.last().cloned() else { break };
            for old in &batch {
                resealed += u64::from(self.reseal_one(old).await?);
            }
            after = Some(last);
        }
        let counts = self.database.credential_counts().await?;
        let others =
            counts.iter().filter(|(version, _)| *version != key_version).map(|(_, count)| count.cast_unsigned());
        Ok(Resealed { key_version, resealed, remaining: others.sum() })
    }

    async fn reseal_one(&self, old: &SealedCredential) -> Result<bool, VaultError> {
        let secret = match self.keyring()?.open(old) {
            Ok(secret) => secret,
            Err(reason) => {
                let CredentialName { account, project, name } = &old.of;
                tracing::error!(%account, %project, name, %reason, "a credential was not sealed anew");
                return Ok(false);
            }
        };
        let new = self.seal(&old.of, &secret)?;
        Ok(self.database.reseal_credential(old, &new).await?)
    }
}
