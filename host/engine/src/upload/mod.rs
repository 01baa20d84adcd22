//! From uploaded bytes to a component that is ready to be called: check, compile, link, describe, keep.
//!
//! Every refusal says what is wrong and how to mend it. Knows nothing of accounts, names or versions of plugins.

pub mod limits;

pub mod check;
pub mod compiler;
pub(crate) mod misfit;

pub(crate) mod artefacts;
mod machine_code;

use std::{sync::Arc, time::Duration};

use trellis_model::{description::Description, fault::Fault};

use crate::digest::Digest;

/// A component that was accepted.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub digest: Digest,
    pub description: Arc<Description>,
    /// Interfaces that the component imports, such as `wasi:http/outgoing-handler@0.2.12`: the most that it may need.
    pub imports: Vec<String>,
    /// How long it took this machine to compile and describe it, whenever that was.
    pub build_time: Duration,
    /// Whether that was just now, or had been done before.
    pub is_new: bool,
}

/// Why a component was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The component is at fault.
    #[error("{}", listed(.0))]
    Faults(Vec<Fault>),
    /// The compiler ran out of what it may use, or broke down: the component is at fault, as far as can be said. A component
    /// that was accepted before may be compiled by another attempt.
    #[error("{0}")]
    Uncompilable(Fault),
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
