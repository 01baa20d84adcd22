//! Signatures of Standard Webhooks: HMAC-SHA-256 over id, time and body, by a secret that is written as `whsec_` and base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use trellis_sdk::{Error, Result, secrets};

/// What secrets begin with, in front of their base64.
const PREFIX: &str = "whsec_";

/// A key to sign with.
pub(crate) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// The key of a credential.
    ///
    /// # Errors
    /// The node may not read it; or, as invalid config, it is no secret of this kind.
    pub(crate) fn of(credential: &str) -> Result<Self> {
        let text = secrets::get(credential)?;
        let key = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(&text)).ok().filter(|key| !key.is_empty());
        let key = key.and_then(|key| Hmac::new_from_slice(&key).ok()).ok_or_else(|| {
            Error::invalid_config(format_args!(
                "the credential `{credential}` is no secret of Standard Webhooks; set it to `{PREFIX}` and base64"
            ))
        })?;
        Ok(Self(key))
    }

    /// One entry of the header `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, time: i64, body: &str) -> String {
        let mut hmac = self.0.clone();
        hmac.update(format!("{id}.{time}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_sdk::fake;

    /// The example of the specification's own libraries.
    #[test]
    fn a_known_message_has_its_known_signature() {
        fake::secret("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = SigningKey::of("key").expect("a key");
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
