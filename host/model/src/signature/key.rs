//! Keys that senders sign with, made from the text of a credential. Wiped when they are dropped, and never shown.

use std::fmt;

use hmac::{Hmac, KeyInit as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{Algorithm, Scheme, text::base64};
use crate::credential::Secret;

/// What secrets of Standard Webhooks begin with, in front of their base64.
const STANDARD_PREFIX: &str = "whsec_";

/// The key of an HMAC.
pub struct SigningKey(SecretSlice<u8>);

/// Text that is no key of its scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitKey {
    #[error(
        "a secret of Standard Webhooks is `{STANDARD_PREFIX}` and base64; set the credential as the sender shows it"
    )]
    NoBase64,
    #[error("it is empty, which anybody could sign with")]
    Empty,
}

impl SigningKey {
    /// The key that a scheme makes of a secret.
    ///
    /// # Errors
    /// See [`UnfitKey`].
    pub fn new(scheme: &Scheme, secret: &Secret) -> Result<Self, UnfitKey> {
        let text = secret.reveal();
        let key = match scheme {
            Scheme::StandardWebhooks => {
                base64(text.strip_prefix(STANDARD_PREFIX).unwrap_or(text)).ok_or(UnfitKey::NoBase64)?
            }
            _ => text.as_bytes().to_vec(),
        };
        if key.is_empty() { Err(UnfitKey::Empty) } else { Ok(Self(key.into())) }
    }

    /// The HMAC of some parts, one after the other.
    pub(super) fn sign(&self, algorithm: Algorithm, parts: [&[u8]; 2]) -> Vec<u8> {
        let key = self.0.expose_secret();
        match algorithm {
            Algorithm::Sha1 => sign(Hmac::<Sha1>::new_from_slice(key), parts),
            Algorithm::Sha256 => sign(Hmac::<Sha256>::new_from_slice(key), parts),
            Algorithm::Sha512 => sign(Hmac::<Sha512>::new_from_slice(key), parts),
        }
    }
}

fn sign<M: hmac::Mac>(mac: Result<M, hmac::digest::InvalidLength>, parts: [&[u8]; 2]) -> Vec<u8> {
    let mut mac = mac.expect("an HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}
