//! The text of credentials, for transformers that sign or decrypt.
//!
//! Most transformers need none: a host adds credentials to requests by itself (`grants = { credential = "github" }`), and
//! the transformer never sees them. Reading one takes a grant of its own, `grants = { secret = ["signing-key"] }`.
//!
//! ```
//! use trellis_sdk::*;
//!
//! /// Tells how long the key is.
//! #[transformer]
//! fn measure(_input: Value) -> Result<Out<usize>> {
//!     Ok(Out(secrets::get("signing-key")?.len()))
//! }
//!
//! # fn main() {
//! fake::secret("signing-key", "correct horse battery");
//! assert_eq!(measure(json!(null)).unwrap(), Out(21));
//! # }
//! ```
//!
//! A host keeps secrets out of logs, outputs, emitted events and failures, also in base64, hex and URL encoding; in
//! storage, a transformer can put them where they are readable, and should not.

use crate::host;

/// Why a secret is not to be had. Not retryable: the next attempt would be told the same.
///
/// ```
/// use trellis_sdk::secrets;
///
/// assert!(matches!(secrets::get("a key that no test has set"), Err(secrets::Error::Denied(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node has no grant to read this credential.
    #[error("reading the secret denied: {0}")]
    Denied(String),
    /// Something else.
    #[error("the secret cannot be read: {0}")]
    Other(String),
}

/// The text of the project's credential of this name.
///
/// ```
/// use trellis_sdk::{fake, secrets};
///
/// fake::secret("signing-key", "correct horse");
/// assert_eq!(secrets::get("signing-key")?, "correct horse");
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
///
/// # Errors
/// See [`Error`].
pub fn get(name: &str) -> Result<String, Error> {
    host::secret(name)
}
