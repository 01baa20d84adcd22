//! The master keys of a host, and sealing with them: XChaCha20-Poly1305, bound to account, project, name and key version.
//!
//! Pure: where keys and nonces come from, and where sealed credentials are kept, is not known here.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use trellis_model::credential::Secret;
use trellis_store::credentials::{CredentialName, SealedCredential};
use zeroize::Zeroizing;

/// 256 bits.
pub const KEY_BYTES: usize = 32;
/// 192 bits: enough for random ones, however many credentials are sealed with a key.
pub const NONCE_BYTES: usize = 24;
/// By so many bytes what is sealed is longer than its text.
pub const TAG_BYTES: usize = 16;
/// Master keys in one keyring: one in use, one that is retired, and room for those who forgot to finish.
const KEYS_MAX: usize = 16;
/// What the seal is bound to begins with this, so that nothing else sealed with the same key could pass for a credential.
const DOMAIN: &[u8] = b"trellis credential 1\0";

/// The master keys by their versions. At least one.
#[derive(Clone)]
pub struct Keyring {
    keys: BTreeMap<i32, Key>,
    /// With which new credentials are sealed.
    sealing: i32,
}

/// Wiped when it is dropped.
#[derive(Clone)]
struct Key(XChaCha20Poly1305);

/// Why a text is no keyring. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyring {
    #[error(
        "line {line} is no master key; write a version and {KEY_BYTES} bytes in base64, as `trellis credentials new-key` prints them"
    )]
    Line { line: usize },
    #[error("master key {version} is there twice; give each its own version")]
    Twice { version: i32 },
    #[error("there is no master key; `trellis credentials new-key` prints one")]
    Empty,
    #[error("there are more than {KEYS_MAX} master keys; leave out those that seal nothing any more")]
    TooMany,
    #[error("there is no master key {version} to seal with; set `credentials.key_version` to one that is there")]
    NoSuchVersion { version: i32 },
}

/// Why a sealed credential cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("it is sealed with master key {version}, which this host does not have")]
    NoSuchKey { version: i32 },
    #[error("master key {version} does not open it; is it the same key on all hosts?")]
    WrongKey { version: i32 },
}

impl Keyring {
    /// Reads a keyring: one key a line, its version first; empty lines and those that begin with `#` are passed over. The
    /// highest version seals, or the one that is given.
    ///
    /// # Errors
    /// See [`InvalidKeyring`].
    pub fn parse(text: &str, sealing: Option<i32>) -> Result<Self, InvalidKeyring> {
        let mut keys = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (version, key) = parse_line(line).ok_or(InvalidKeyring::Line { line: number + 1 })?;
            if keys.insert(version, key).is_some() {
                return Err(InvalidKeyring::Twice { version });
            }
        }
        if keys.len() > KEYS_MAX {
            return Err(InvalidKeyring::TooMany);
        }
        let highest = keys.last_key_value().map(|(version, _)| *version).ok_or(InvalidKeyring::Empty)?;
        let sealing = sealing.unwrap_or(highest);
        if !keys.contains_key(&sealing) {
            return Err(InvalidKeyring::NoSuchVersion { version: sealing });
        }
        Ok(Self { keys, sealing })
    }

    /// The version that new credentials are sealed with.
    pub fn sealing_version(&self) -> i32 {
        self.sealing
    }

    pub fn has(&self, version: i32) -> bool {
        self.keys.contains_key(&version)
    }

    /// Seals a secret. A nonce is good for one secret: take it from the system's randomness.
    pub fn seal(&self, of: &CredentialName, secret: &Secret, nonce: [u8; NONCE_BYTES]) -> SealedCredential {
        let bound = associated_data(of, self.sealing);
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: &bound };
        let key = &self.keys[&self.sealing];
        let sealed = key.0.encrypt(&XNonce::from(nonce), payload).expect("a credential is far below 256 GiB");
        SealedCredential { of: of.clone(), key_version: self.sealing, nonce: nonce.to_vec(), sealed }
    }

    /// Opens what was sealed under exactly this account, project and name.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&self, credential: &SealedCredential) -> Result<Secret, OpenError> {
        let version = credential.key_version;
        let key = self.keys.get(&version).ok_or(OpenError::NoSuchKey { version })?;
        let wrong = OpenError::WrongKey { version };
        let nonce: [u8; NONCE_BYTES] = credential.nonce.as_slice().try_into().map_err(|_| wrong)?;
        let bound = associated_data(&credential.of, version);
        let payload = Payload { msg: &credential.sealed, aad: &bound };
        let open = Zeroizing::new(key.0.decrypt(&XNonce::from(nonce), payload).map_err(|_| wrong)?);
        let text = std::str::from_utf8(&open).map_err(|_| wrong)?;
        Ok(Secret::from(text.to_owned()))
    }
}

fn parse_line(line: &str) -> Option<(i32, Key)> {
    let (version, key) = line.split_once(char::is_whitespace)?;
    let version: i32 = version.parse().ok().filter(|version| *version > 0)?;
    let bytes = Zeroizing::new(STANDARD.decode(key.trim()).ok()?);
    Some((version, Key(XChaCha20Poly1305::new_from_slice(&bytes).ok()?)))
}

/// A line of a keyring.
pub fn keyring_line(version: i32, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(key));
    Zeroizing::new(format!("{version} {}\n", encoded.as_str()))
}

/// All of fixed width but the name, which comes last: no two credentials are bound to the same bytes.
fn associated_data(of: &CredentialName, key_version: i32) -> Vec<u8> {
    let mut bound = DOMAIN.to_vec();
    bound.extend_from_slice(&of.account.0.to_be_bytes());
    bound.extend_from_slice(&of.project.0.to_be_bytes());
    bound.extend_from_slice(&key_version.to_be_bytes());
    bound.extend_from_slice(of.name.as_bytes());
    bound
}

impl fmt::Debug for Keyring {
    /// Versions alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("versions", &self.keys.keys()).field("sealing", &self.sealing).finish()
    }
}

#[cfg(test)]
mod tests {
    use trellis_model::{AccountId, ProjectId};

    use super::*;

    fn line(version: i32, byte: u8) -> String {
        keyring_line(version, &[byte; KEY_BYTES]).to_string()
    }

    fn keyring(text: &str) -> Keyring {
        Keyring::parse(text, None).expect("a keyring")
    }

    fn name() -> CredentialName {
        CredentialName { account: AccountId(1), project: ProjectId(2), name: "github".to_owned() }
    }

    fn sealed(keyring: &Keyring) -> SealedCredential {
        keyring.seal(&name(), &Secret::from("ghp_0123456789".to_owned()), [7; NONCE_BYTES])
    }

    #[test]
    fn what_was_sealed_opens_again() {
        let keyring = keyring(&line(1, 1));
        let sealed = sealed(&keyring);
        assert_eq!(keyring.open(&sealed).expect("opened").reveal(), "ghp_0123456789");
        assert!(!sealed.sealed.windows(4).any(|window| window == b"ghp_"));
        assert_eq!(sealed.sealed.len() - TAG_BYTES, "ghp_0123456789".len());
    }

    #[test]
    fn a_seal_is_bound_to_account_project_name_and_key_version() {
        let both = keyring(&format!("{}{}", line(1, 1), line(2, 1)));
        let sealed = sealed(&both);
        let moved: [fn(&mut SealedCredential); 6] = [
            |credential| credential.of.account = AccountId(3),
            |credential| credential.of.project = ProjectId(3),
            |credential| credential.of.name = "githuc".to_owned(),
            // The very same key by another version.
            |credential| credential.key_version = 1,
            |credential| credential.nonce[0] ^= 1,
            |credential| credential.sealed[0] ^= 1,
        ];
        for (number, change) in moved.iter().enumerate() {
            let mut other = sealed.clone();
            change(&mut other);
            assert!(matches!(both.open(&other), Err(OpenError::WrongKey { .. })), "change {number}");
        }
        assert!(both.open(&sealed).is_ok());
    }

    #[test]
    fn the_highest_version_seals_and_all_open() {
        let old = keyring(&line(1, 1));
        let rotated = keyring(&format!("# retired\n{}\n{}", line(1, 1), line(2, 2)));
        assert_eq!(rotated.sealing_version(), 2);
        assert!(rotated.open(&sealed(&old)).is_ok());
        assert_eq!(old.open(&sealed(&rotated)).expect_err("not its key"), OpenError::NoSuchKey { version: 2 });
        let both = format!("{}{}", line(1, 1), line(2, 2));
        assert_eq!(Keyring::parse(&both, Some(1)).expect("a keyring").sealing_version(), 1);
    }

    #[test]
    fn a_text_that_is_no_keyring_is_refused_without_being_quoted() {
        for (text, expected) in [
            (String::new(), InvalidKeyring::Empty),
            ("1 c2hvcnQ=".to_owned(), InvalidKeyring::Line { line: 1 }),
            (line(0, 1), InvalidKeyring::Line { line: 1 }),
            (format!("\n{}", line(1, 1).replace(' ', "")), InvalidKeyring::Line { line: 2 }),
            (format!("{}{}", line(1, 1), line(1, 2)), InvalidKeyring::Twice { version: 1 }),
        ] {
            assert_eq!(Keyring::parse(&text, None).expect_err("refused"), expected);
        }
        let missing = Keyring::parse(&line(1, 1), Some(2)).expect_err("refused");
        assert_eq!(missing, InvalidKeyring::NoSuchVersion { version: 2 });
    }

    #[test]
    fn a_keyring_shows_its_versions_alone() {
        let text = line(3, 200);
        let shown = format!("{:?}", keyring(&text));
        assert!(shown.contains('3') && !shown.contains(&text[2..10]), "{shown}");
    }
}
