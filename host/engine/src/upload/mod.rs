//! From uploaded bytes to a component that is ready to be called: check, compile, link, describe, keep.
//!
//! Every refusal says what is wrong and how to mend it. Knows nothing of accounts, names or versions of plugins.

pub mod check;

pub(crate) mod artefacts;
pub(crate) mod compile;

use std::sync::Arc;

use trellis_model::{description::Description, fault::Fault};

use crate::digest::Digest;

/// A component that was accepted.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub digest: Digest,
    pub description: Arc<Description>,
    /// Interfaces that the component imports, such as `wasi:http/outgoing-handler@0.2.12`: the most that it may need.
    pub imports: Vec<String>,
}

/// Why a component was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The component is at fault.
    #[error("{}", listed(.0))]
    Faults(Vec<Fault>),
    /// The host is at fault: worth another attempt.
    #[error("cannot compile the component now: {0}")]
    Unavailable(String),
}

/// Why a component that was accepted once cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its bytes could not be had.
    #[error("cannot read the component {digest}: {reason}")]
    Bytes { digest: Digest, reason: String },
    #[error("the bytes given for the component {expected} are those of {found}")]
    WrongDigest { expected: Digest, found: Digest },
    #[error(transparent)]
    Upload(#[from] UploadError),
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl UploadError {
    pub(crate) fn fault(fault: Fault) -> Self {
        Self::Faults(vec![fault])
    }
}
