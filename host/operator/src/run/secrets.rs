//! The secrets of a call: opened right before it, wiped after it.

use trellis_engine::Secrets;
use trellis_model::run::{Reason, ReasonKind};

use super::{call::NodeCall, context::RunContext};
use crate::vault::VaultError;

impl NodeCall {
    /// All credentials that the node was granted.
    ///
    /// # Errors
    /// Why the node cannot be called: a credential is gone, or this host cannot open it.
    pub(super) async fn secrets(&self, context: &RunContext) -> Result<Secrets, Reason> {
        let names = self.planned().grants.credential_names();
        if names.is_empty() {
            return Ok(Secrets::default());
        }
        let opened = context.vault.secrets(self.queue.account, self.revision.project, &names).await;
        opened.map(Secrets::new).map_err(|error| {
            if let VaultError::Store(error) = &error {
                self.storage.note_failure(error);
            }
            let kind = if error.is_of_the_host() { ReasonKind::Host } else { ReasonKind::Permanent };
            Reason { kind, message: error.to_string() }
        })
    }
}
