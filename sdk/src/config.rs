//! The fields of the node's config by name, as text (`wasi:config`).
//!
//! The config as a whole, with its types, is the second argument of the transformer; this is for code that has no part in it.

use crate::host;

/// The host could not look a value up. Worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host cannot read the config value: {0}")]
pub struct Error(pub String);

/// The value of this name, if there is one.
///
/// # Errors
/// The host cannot read its source of values; by `?` that is retryable.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    host::config_get(name)
}

/// All names and values.
///
/// # Errors
/// As for [`get`].
pub fn all() -> Result<Vec<(String, String)>, Error> {
    host::config_all()
}
