//! The fields of the node's config by name, as text (`wasi:config`).
//!
//! The config as a whole, with its types, is the second argument of the transformer; this is for code that has no part in it.

use crate::host;

/// The host could not look a value up. Worth another attempt.
///
/// ```
/// use trellis_sdk::{Error, ErrorKind, config};
///
/// let error = Error::from(config::Error("the source is away".into()));
/// assert_eq!(error.kind(), ErrorKind::Retryable);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host cannot read the config value: {0}")]
pub struct Error(pub String);

/// The value of this name, if there is one.
///
/// ```
/// use trellis_sdk::{config, fake};
///
/// fake::config("region", "eu");
/// assert_eq!(config::get("region")?.as_deref(), Some("eu"));
/// assert_eq!(config::get("language")?, None);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
///
/// # Errors
/// The host cannot read its source of values; by `?` that is retryable.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    host::config_get(name)
}

/// All names and values.
///
/// ```
/// use trellis_sdk::{config, fake};
///
/// fake::config("region", "eu");
/// assert_eq!(config::all()?, [("region".to_owned(), "eu".to_owned())]);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
///
/// # Errors
/// As for [`get`].
pub fn all() -> Result<Vec<(String, String)>, Error> {
    host::config_all()
}
