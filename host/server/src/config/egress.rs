//! The operator's policy on outgoing requests, and their limits.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use trellis_engine::egress::{deny::DenyRule, limits::EgressLimits};

use super::{Section, setting::Listed};

/// Far below the number of threads for such work, 512.
const LOOKUPS_MAX: u32 = 256;

/// What plugins may reach, and how long that may take. The defaults of the limits, and the reasons for them, are those of
/// [`EgressLimits`].
#[derive(Clone, Debug)]
pub struct EgressConfig {
    /// Private addresses, with ports, that plugins may connect to if their grants say so. Default none: a plugin must
    /// not reach what only this host's network can reach. For tests and development; the host warns about each.
    pub allow_private: Vec<SocketAddr>,
    /// Networks and hosts that plugins may not reach, whatever their grants say. Default none: what is not public is
    /// refused anyway. For public addresses that mean something in this host's network, such as its own NAT64 prefix.
    pub deny: Vec<DenyRule>,
    /// Certificates in PEM that are trusted for outgoing HTTPS besides the platform's. Default none.
    pub ca_file: Option<PathBuf>,
    /// How long the parts of a request may take, and how many names may be looked up at once.
    pub limits: EgressLimits,
}

impl EgressConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            allow_private: section.setting("allow_private", Vec::new()),
            deny: section.setting("deny", Vec::new()),
            ca_file: section.optional("ca_file"),
            limits: read_limits(section),
        }
    }
}

fn read_limits(section: &mut Section<'_>) -> EgressLimits {
    let standard = EgressLimits::default();
    let bounds = Duration::from_millis(1)..=Duration::from_secs(86_400);
    let mut time = |key, standard| section.setting_in(key, standard, bounds.clone());
    let limits = EgressLimits {
        lookup_timeout: time("lookup_timeout", standard.lookup_timeout),
        connect_timeout: time("connect_timeout", standard.connect_timeout),
        first_byte_timeout: time("first_byte_timeout", standard.first_byte_timeout),
        between_bytes_timeout: time("between_bytes_timeout", standard.between_bytes_timeout),
        exchange_timeout: time("exchange_timeout", standard.exchange_timeout),
        ..standard
    };
    let mut lookups = |key, standard| section.setting_in(key, standard, 1..=LOOKUPS_MAX);
    let limits = EgressLimits {
        lookups_at_once: lookups("lookups_at_once", standard.lookups_at_once),
        lookups_at_once_per_account: lookups("lookups_at_once_per_account", standard.lookups_at_once_per_account),
        ..limits
    };
    if limits.lookups_at_once_per_account > limits.lookups_at_once {
        let fix = "lower it, or raise `egress.lookups_at_once`";
        section.conflict("lookups_at_once_per_account", "it is more than all accounts have together", fix);
    }
    limits
}

impl Listed for DenyRule {
    const EXPECTED: &'static str = "networks and hosts, in the file as [\"203.0.113.0/24\", \"*.example.com\"], elsewhere as 203.0.113.0/24,*.example.com";
}
