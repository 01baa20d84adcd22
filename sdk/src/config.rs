//! Values that the operator of the host or the project hands to a plugin by name (`wasi:config`).
//!
//! Not the node's `config` of the manifest: that is the second argument of the transformer.

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
