//! Why the host did not read or write, and whether another attempt of the node can help.

/// Why a storage call failed.
///
/// ```
/// use trellis_sdk::{Error, ErrorKind, storage};
///
/// assert_eq!(Error::from(storage::Error::Conflict).kind(), ErrorKind::Retryable);
/// assert_eq!(Error::from(storage::Error::Invalid("the key is empty".into())).kind(), ErrorKind::Permanent);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node has no grant for this store, or only one to read it.
    #[error("storage denied: {0}")]
    Denied(String),
    /// The key or value is not acceptable: empty, too long, or no number where [`Store::add`](super::Store::add) needs one.
    #[error("storage call is invalid: {0}")]
    Invalid(String),
    /// The committed revision is not the one that [`Write::if_revision`](super::Write::if_revision) asked for. Retryable: the next attempt reads anew.
    #[error("the committed revision is another one than the write expects")]
    Conflict,
    /// A limit of the call is used up.
    #[error("storage limit reached: {0}")]
    Limit(String),
    /// The stored value is not the JSON that was asked for.
    #[error("the value of key `{key}` in store `{store}` is not the expected JSON: {reason}")]
    Json {
        /// The store's name.
        store: String,
        /// The key within the store.
        key: String,
        /// What the decoder says.
        reason: String,
    },
    /// The host has trouble of its own. Retryable.
    #[error("storage failed: {0}")]
    Other(String),
}

impl Error {
    /// Whether another attempt of the node can help.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// assert!(storage::Error::Conflict.is_retryable());
    /// assert!(!storage::Error::Limit("writes".into()).is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict | Self::Other(_))
    }
}
