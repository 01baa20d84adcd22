//! The operator's policy on outgoing requests.

use std::net::SocketAddr;

use super::Section;

/// What plugins may reach beyond what is public.
#[derive(Clone, Debug)]
pub struct EgressConfig {
    /// Private addresses, with ports, that plugins may connect to if their grants say so. Default none: a plugin must
    /// not reach what only this host's network can reach. For tests and development; the host warns about each.
    pub allow_private: Vec<SocketAddr>,
}

impl EgressConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { allow_private: section.setting("allow_private", Vec::new()) }
    }
}
