//! The operator's policy on outgoing requests, and their limits.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use figment::value::Value;
use trellis_engine::egress::{deny::DenyRule, limits::EgressLimits};

use super::{
    Section,
    setting::{Setting, items_of_text},
};

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
    /// Looking a host's name up.
    pub lookup_timeout: Duration,
    /// Name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the connection to the head of a response.
    pub first_byte_timeout: Duration,
    /// Between two pieces of a response's body.
    pub between_bytes_timeout: Duration,
    /// A whole exchange, body included.
    pub exchange_timeout: Duration,
    /// Lookups at the same time.
    pub lookups_at_once: u32,
    /// The same of one account.
    pub lookups_at_once_per_account: u32,
}

impl EgressConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let standard = EgressLimits::default();
        let bounds = Duration::from_millis(1)..=Duration::from_secs(86_400);
        let mut time = |key, standard| section.setting_in(key, standard, bounds.clone());
        let times = [
            time("lookup_timeout", standard.lookup_timeout),
            time("connect_timeout", standard.connect_timeout),
            time("first_byte_timeout", standard.first_byte_timeout),
            time("between_bytes_timeout", standard.between_bytes_timeout),
            time("exchange_timeout", standard.exchange_timeout),
        ];
        let [lookup_timeout, connect_timeout, first_byte_timeout, between_bytes_timeout, exchange_timeout] = times;
        let config = Self {
            allow_private: section.setting("allow_private", Vec::new()),
            deny: section.setting("deny", Vec::new()),
            ca_file: section.optional("ca_file"),
            lookup_timeout,
            connect_timeout,
            first_byte_timeout,
            between_bytes_timeout,
            exchange_timeout,
            // Far below the number of threads for such work, 512.
            lookups_at_once: section.setting_in("lookups_at_once", standard.lookups_at_once, 1..=256),
            lookups_at_once_per_account: section.setting_in(
                "lookups_at_once_per_account",
                standard.lookups_at_once_per_account,
                1..=256,
            ),
        };
        if config.lookups_at_once_per_account > config.lookups_at_once {
            let fix = "lower it, or raise `egress.lookups_at_once`";
            section.conflict("lookups_at_once_per_account", "it is more than all accounts have together", fix);
        }
        config
    }

    pub fn limits(&self) -> EgressLimits {
        EgressLimits {
            lookup_timeout: self.lookup_timeout,
            connect_timeout: self.connect_timeout,
            first_byte_timeout: self.first_byte_timeout,
            between_bytes_timeout: self.between_bytes_timeout,
            exchange_timeout: self.exchange_timeout,
            lookups_at_once: self.lookups_at_once,
            lookups_at_once_per_account: self.lookups_at_once_per_account,
        }
    }
}

impl Setting for Vec<DenyRule> {
    const EXPECTED: &'static str = "networks and hosts, in the file as [\"203.0.113.0/24\", \"*.example.com\"], elsewhere as 203.0.113.0/24,*.example.com";

    fn from_text(text: &str) -> Option<Self> {
        items_of_text(text).iter().map(|item| item.parse().ok()).collect()
    }

    fn from_other(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(|item| item.as_str()?.parse().ok()).collect()
    }

    fn to_toml(&self) -> toml::Value {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }
}
