//! Why a call for managed data failed.

use std::fmt;

/// Why a call for managed data failed.
///
/// ```
/// use trellis_sdk::{Error, ErrorKind, records};
///
/// assert_eq!(Error::from(records::Error::Conflict).kind(), ErrorKind::Retryable);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node has no grant for this collection, or only one to read it.
    #[error("records denied: {0}")]
    Denied(String),
    /// The key, the data, or what a query asks for is not acceptable: an index that is not declared, say.
    #[error("records call is invalid: {0}")]
    Invalid(String),
    /// The record does not fit the schema of its collection.
    #[error("the record does not fit the schema of its collection: {}", Joined(.0))]
    Unfit(Vec<Misfit>),
    /// The committed revision is not the one that [`super::Write::if_revision`] asked for. Retryable: the next attempt reads
    /// anew.
    #[error("the committed revision is another one than the write expects")]
    Conflict,
    /// A limit of the call is used up.
    #[error("records limit reached: {0}")]
    Limit(String),
    /// An index that was declared lately is not built yet. Retryable.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The record is not the JSON that was asked for, or cannot be written as JSON.
    #[error("the record `{key}` of collection `{collection}` is not the expected JSON: {reason}")]
    Json {
        /// The collection's name.
        collection: String,
        /// The key within the collection.
        key: String,
        /// What the decoder says.
        reason: String,
    },
    /// The host has trouble of its own. Retryable.
    #[error("records failed: {0}")]
    Other(String),
}

/// Where and why a record does not fit the schema of its collection.
///
/// ```
/// use trellis_sdk::records::Error;
///
/// fn places(error: &Error) -> Vec<&str> {
///     match error {
///         Error::Unfit(misfits) => misfits.iter().map(|misfit| misfit.pointer.as_str()).collect(),
///         _ => Vec::new(),
///     }
/// }
/// # assert!(places(&Error::Conflict).is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// JSON Pointer into the record, such as `/labels/0`.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl Error {
    /// Whether another attempt of the node can help.
    ///
    /// ```
    /// assert!(trellis_sdk::records::Error::Conflict.is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict | Self::NotReady(_) | Self::Other(_))
    }

    pub(super) fn json(collection: &str, key: &str, reason: &serde_json::Error) -> Self {
        Self::Json { collection: collection.into(), key: key.into(), reason: reason.to_string() }
    }
}

struct Joined<'a>(&'a [Misfit]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, misfit) in self.0.iter().enumerate() {
            let gap = if place == 0 { "" } else { "; " };
            write!(f, "{gap}at `{}`: {}", misfit.pointer, misfit.message)?;
        }
        Ok(())
    }
}
