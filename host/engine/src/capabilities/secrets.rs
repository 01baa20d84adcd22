//! `trellis:plugin/secrets`: the text of credentials that the node was granted to read.
//!
//! Where the secrets come from is the caller's part; that none of them gets into logs and outputs is the redactor's.

use std::sync::Arc;

use trellis_model::{description::check_name, grant::Grants};
use wasmtime::component::{HasSelf, Linker};

use crate::{
    bindings::secrets::{self as wit, SecretError},
    guest_state::GuestState,
    secrets::Secrets,
};

pub(crate) struct ReadableSecrets {
    grants: Arc<Grants>,
    secrets: Arc<Secrets>,
}

impl ReadableSecrets {
    pub fn new(grants: Arc<Grants>, secrets: Arc<Secrets>) -> Self {
        Self { grants, secrets }
    }
}

impl wit::Host for ReadableSecrets {
    fn get(&mut self, name: String) -> Result<String, SecretError> {
        if !self.grants.allows_secret(&name) {
            return Err(SecretError::Denied(match check_name(&name) {
                Err(reason) => format!("credential name {reason}"),
                Ok(()) => format!(
                    "reading credential `{name}` is not granted; add \"{name}\" to `grants.secret` of this node"
                ),
            }));
        }
        match self.secrets.get(&name) {
            Some(secret) => Ok(secret.reveal().to_owned()),
            None => Err(SecretError::Other(format!("credential `{name}` is not there"))),
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<ReadableSecrets>>(linker, |state| &mut state.capabilities.secrets)
}
