//! The master keys that credentials are sealed with, and how much may be kept.

use std::{fmt, path::PathBuf};

use figment::value::Value;
use trellis_model::credential::{SECRET_BYTES_MIN, Secret};

use super::{ByteSize, Section, setting::Setting};

/// What this host can open and seal.
#[derive(Clone, Debug)]
pub struct CredentialsConfig {
    /// The file with the master keys, readable for this user alone. Default none: events for projects
    /// that need a credential are refused. The same on all hosts; `trellis credentials new-key` prints a first line for it.
    pub master_key_file: Option<PathBuf>,
    /// The same text itself, for those who hand secrets over in the environment (`TRELLIS_CREDENTIALS_MASTER_KEY`).
    /// Default none. Of the two at most one.
    pub master_key: Option<MasterKeyText>,
    /// Which of the keys seals what is new. Default the highest; set to the former one while a new key is being brought to
    /// all hosts, or those without it could not open what the others seal.
    pub key_version: Option<u32>,
    /// Longest secret. Default 16 KiB: room for a private key with its chain of certificates.
    pub value_max: ByteSize,
    /// Credentials of one project. Default 100: far more services than one project speaks to.
    pub per_project_max: u32,
}

impl CredentialsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let least = ByteSize(SECRET_BYTES_MIN as u64);
        let config = Self {
            master_key_file: section.optional("master_key_file"),
            master_key: section.optional("master_key"),
            key_version: section.optional("key_version"),
            value_max: section.setting_in("value_max", ByteSize::kib(16), least..=ByteSize::kib(256)),
            per_project_max: section.setting_in("per_project_max", 100, 1..=10_000),
        };
        if config.master_key_file.is_some() && config.master_key.is_some() {
            section.conflict("master_key", "there is a `credentials.master_key_file` as well", "leave one of them out");
        }
        config
    }
}

/// Master keys as text. Shows nothing of itself.
#[derive(Clone)]
pub struct MasterKeyText(Secret);

impl MasterKeyText {
    /// The keys themselves, for the keyring.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl fmt::Debug for MasterKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Setting for MasterKeyText {
    const EXPECTED: &'static str = "what `trellis credentials new-key` prints";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(Secret::from(text.to_owned())))
    }

    fn to_toml(&self) -> toml::Value {
        "***".into()
    }

    fn quoted(_: &Value) -> String {
        "the value".to_owned()
    }
}
