//! Where a host's master keys come from: a file that nobody else can read, or the environment.
//!
//! Does not know what is sealed with them; that is the vault's part.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use trellis_operator::vault::{InvalidKeyring, KEY_BYTES, Keyring, keyring_line};
use zeroize::Zeroizing;

use crate::{
    config::CredentialsConfig,
    private_file::{self, PrivateFileError},
};

/// What `trellis dev` calls its own key, in the project's `.trellis` folder.
const DEV_KEY_FILE: &str = "master.key";

/// Why there are no master keys although some were named. Says nothing of what was read.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error("the file of master keys: {0}")]
    File(#[from] PrivateFileError),
    #[error("{place}: {reason}")]
    Invalid { place: String, reason: InvalidKeyring },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the system gives no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// The master keys that the configuration names; none if it names none.
///
/// # Errors
/// See [`MasterKeyError`].
pub fn keyring(config: &CredentialsConfig) -> Result<Option<Keyring>, MasterKeyError> {
    let (text, place) = match (&config.master_key_file, &config.master_key) {
        (Some(path), _) => (private_file::read(path)?, path.display().to_string()),
        (None, Some(text)) => (Zeroizing::new(text.reveal().to_owned()), "credentials.master_key".to_owned()),
        (None, None) => return Ok(None),
    };
    let sealing = config.key_version.map(|version| i32::try_from(version).unwrap_or(i32::MAX));
    let keyring = Keyring::parse(&text, sealing).map_err(|reason| MasterKeyError::Invalid { place, reason })?;
    Ok(Some(keyring))
}

/// A new line for the file of master keys.
///
/// # Errors
/// The system gives no randomness.
pub fn new_key(version: i32) -> Result<Zeroizing<String>, MasterKeyError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(MasterKeyError::Randomness)?;
    Ok(keyring_line(version, &key))
}

/// The key of `trellis dev` in a folder, made at the first start.
///
/// # Errors
/// It cannot be written.
pub fn dev_key_file(folder: &Path) -> Result<PathBuf, MasterKeyError> {
    let path = folder.join(DEV_KEY_FILE);
    let failed = |source| MasterKeyError::Write { path: path.clone(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    match fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(new_key(1)?.as_bytes()).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::{Config, ConfigArgs};

    fn config(settings: &[String]) -> CredentialsConfig {
        let args = ConfigArgs { set: settings.to_vec(), ..ConfigArgs::default() };
        Config::load(&args, []).expect("valid settings").config.credentials
    }

    fn of_file(path: &Path) -> CredentialsConfig {
        config(&[format!("credentials.master_key_file={}", path.display())])
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = dev_key_file(folder.path()).expect("a key");
        assert!(keyring(&of_file(&path)).expect("readable").is_some());
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            let refused = keyring(&of_file(&path)).expect_err("others can read it");
            assert!(matches!(refused, MasterKeyError::File(PrivateFileError::Exposed { .. })), "{mode:o}: {refused}");
        }
    }

    #[test]
    fn the_key_of_dev_is_private_and_stays_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = dev_key_file(folder.path()).expect("a key");
        let first = fs::read_to_string(&path).expect("readable");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        dev_key_file(folder.path()).expect("the same key");
        assert_eq!(fs::read_to_string(&path).expect("readable"), first);
    }

    #[test]
    fn keys_come_from_the_environment_too_and_no_message_shows_them() {
        let line = new_key(4).expect("randomness");
        let text = config(&[format!("credentials.master_key={}", line.trim())]);
        assert_eq!(keyring(&text).expect("valid").expect("a keyring").sealing_version(), 4);
        assert!(!format!("{text:?}").contains(&line[2..10]));
        let broken = config(&[format!("credentials.master_key={}", &line[2..])]);
        let refused = keyring(&broken).expect_err("no version").to_string();
        assert!(refused.contains("line 1") && !refused.contains(&line[2..10]), "{refused}");
        assert!(keyring(&config(&[])).expect("valid").is_none());
    }
}
