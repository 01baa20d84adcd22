//! Signatures of webhooks: what the headers of a request claim, and whether the claim holds over the bytes of its body.
//!
//! ```text
//!   headers ──claim──► Refusal                   before a byte of the body is read
//!      │
//!      └─────────────► Claim ──holds(body, keys)──► yes or no
//! ```
//!
//! Pure: time and keys are arguments. Knows neither HTTP nor where secrets are kept, and tells a sender nothing: why a
//! request was refused is for the log of a host.

mod claim;
mod key;
mod text;

#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use key::{SigningKey, UnfitKey};

/// How far a signed time may lie from now, either way, unless a trigger says otherwise: what Standard Webhooks, Stripe and
/// Slack advise. Enough for clocks that are a little wrong and a slow way, and little to repeat a request in.
pub const TOLERANCE_DEFAULT_MS: u64 = 300_000;
/// Credentials that may sign for one trigger: one in use, one that is on its way in or out, and as many again.
pub const CREDENTIALS_MAX: usize = 4;

/// How the senders of a trigger are known: by what they sign with a secret that the project has as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderSignature {
    pub scheme: Scheme,
    /// Names of credentials; a signature with any of them counts, so that a secret can be changed without a gap.
    pub credentials: Vec<String>,
    /// How far a signed time may lie from now, in milliseconds; of no meaning for schemes without a time.
    pub tolerance_ms: u64,
}

/// Who signs how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`: id, time and body are signed.
    StandardWebhooks,
    /// `X-Hub-Signature-256`: the body is signed.
    Github,
    /// `Stripe-Signature`: time and body are signed.
    Stripe,
    /// `X-Shopify-Hmac-Sha256`: the body is signed.
    Shopify,
    /// `X-Slack-Signature`, `X-Slack-Request-Timestamp`: time and body are signed.
    Slack,
    /// The body is signed, and the signature is in some header.
    Hmac(HmacScheme),
}

/// Where a plain HMAC is, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacScheme {
    /// In lower case.
    pub header: String,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    /// Before each signature, such as `sha256=`; may be empty.
    pub prefix: String,
}

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// For senders that know nothing newer: as a MAC it is not broken.
    Sha1,
    Sha256,
    Sha512,
}

/// How the bytes of a signature are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    Base64,
}

impl Scheme {
    /// The schemes without settings of their own, by the words of a manifest.
    pub const PRESETS: [(&str, Self); 5] = [
        ("standard-webhooks", Self::StandardWebhooks),
        ("github", Self::Github),
        ("stripe", Self::Stripe),
        ("shopify", Self::Shopify),
        ("slack", Self::Slack),
    ];
    /// The word for [`Scheme::Hmac`].
    pub const HMAC: &str = "hmac";

    /// Whether a time is signed, so that an old request is known to be one.
    pub fn has_time(&self) -> bool {
        matches!(self, Self::StandardWebhooks | Self::Stripe | Self::Slack)
    }

    /// Where senders say which event it is, as `dedupe` of a trigger is written: a repeat of it is the same event.
    pub fn event_id(&self) -> Option<&'static str> {
        match self {
            Self::StandardWebhooks => Some("header:webhook-id"),
            Self::Github => Some("header:x-github-delivery"),
            Self::Stripe => Some("/id"),
            Self::Shopify => Some("header:x-shopify-webhook-id"),
            Self::Slack => Some("/event_id"),
            Self::Hmac(_) => None,
        }
    }
}

/// Why a request is not one of a sender that is known. For logs, never for the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the header `{0}` is missing")]
    Missing(String),
    #[error("the header `{0}` is there twice")]
    Twice(String),
    #[error("the header `{0}` cannot be read")]
    Malformed(String),
    #[error("it was signed {0} s ago")]
    TooOld(i64),
    #[error("it was signed {0} s ahead of time")]
    TooEarly(i64),
}
