//! Secrets in memory, and what is said of credentials without opening them.
//!
//! A [`Secret`] is wiped when it is dropped and shows nothing of itself. Knows neither how secrets are sealed nor where
//! they are kept.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// Fewest bytes of a secret. A shorter one is guessed in no time, and wiping it out of logs would wipe out half the log.
pub const SECRET_BYTES_MIN: usize = 8;

/// The text of a credential.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself, for the place where it is used. Not for logs, errors or answers.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text is not taken as a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitSecret {
    #[error("the secret has {bytes} bytes; at least {SECRET_BYTES_MIN} are needed")]
    TooShort { bytes: usize },
    #[error(
        "the secret has {bytes} bytes; at most {most} are taken here, which an operator sets as `credentials.value_max`"
    )]
    TooLong { bytes: usize, most: usize },
    #[error("the secret has a NUL character, which no service takes; was a file of another kind meant?")]
    Nul,
}

/// Checks a text that is to become a credential. `bytes_max` is the host's setting.
///
/// # Errors
/// What is wrong with it; never the text itself.
pub fn check_secret(text: &str, bytes_max: usize) -> Result<(), UnfitSecret> {
    match text.len() {
        bytes if bytes < SECRET_BYTES_MIN => Err(UnfitSecret::TooShort { bytes }),
        bytes if bytes > bytes_max => Err(UnfitSecret::TooLong { bytes, most: bytes_max }),
        _ if text.contains('\0') => Err(UnfitSecret::Nul),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret::from("correct horse battery".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.reveal(), "correct horse battery");
    }

    #[test]
    fn a_secret_has_a_sensible_length() {
        assert_eq!(check_secret("12345678", 16), Ok(()));
        assert_eq!(check_secret("1234567", 16), Err(UnfitSecret::TooShort { bytes: 7 }));
        assert_eq!(check_secret(&"x".repeat(17), 16), Err(UnfitSecret::TooLong { bytes: 17, most: 16 }));
        assert_eq!(check_secret("1234\x005678", 16), Err(UnfitSecret::Nul));
    }
}
