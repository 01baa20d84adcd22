//! What an operator forbids besides what is forbidden anyway: networks that look public and are not, hosts that no guest
//! has any business with.

use std::{fmt, net::IpAddr, str::FromStr};

use url::Host;

/// A network, a host, or all subdomains of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenyRule {
    /// The first so many bits of an address.
    Network(IpAddr, u32),
    Host(String),
    /// Holds `.example.com`.
    Subdomains(String),
}

/// Text that is no rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a network such as 203.0.113.0/24, nor a host such as example.com or *.example.com")]
pub struct InvalidDenyRule(pub String);

impl DenyRule {
    pub(super) fn denies_address(&self, address: IpAddr) -> bool {
        let Self::Network(network, length) = self else { return false };
        match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                begins_alike(network.to_bits().into(), address.to_bits().into(), 32 - length)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                begins_alike(network.to_bits(), address.to_bits(), 128 - length)
            }
            _ => false,
        }
    }

    pub(super) fn denies_host(&self, name: &str) -> bool {
        // With a dot at its end a name is the same name.
        let name = name.strip_suffix('.').unwrap_or(name);
        match self {
            Self::Network(..) => false,
            Self::Host(host) => name == host,
            Self::Subdomains(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
        }
    }
}

fn begins_alike(one: u128, other: u128, bits_behind: u32) -> bool {
    (one ^ other).checked_shr(bits_behind).unwrap_or(0) == 0
}

impl FromStr for DenyRule {
    type Err = InvalidDenyRule;

    fn from_str(text: &str) -> Result<Self, InvalidDenyRule> {
        let invalid = || InvalidDenyRule(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let length = length.map_or(Ok(most), str::parse).map_err(|_| invalid())?;
            return if length <= most { Ok(Self::Network(address, length)) } else { Err(invalid()) };
        }
        let (is_pattern, host) = match text.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, text),
        };
        match Host::parse(host) {
            Ok(Host::Domain(name)) if length.is_none() && !name.contains('*') => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                Ok(if is_pattern { Self::Subdomains(format!(".{name}")) } else { Self::Host(name.to_owned()) })
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for DenyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address, length) => write!(f, "{address}/{length}"),
            Self::Host(host) => f.write_str(host),
            Self::Subdomains(suffix) => write!(f, "*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DenyRule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn networks_and_hosts_are_denied() {
        for (text, address, denied) in [
            ("203.0.113.0/24", "203.0.113.9", true),
            ("203.0.113.0/24", "203.0.114.9", false),
            ("203.0.113.9", "203.0.113.9", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2606:4700::1", false),
            ("2606:4700::/32", "2606:4700:1::1", true),
            ("::/0", "2606:4700:1::1", true),
            ("example.com", "8.8.8.8", false),
        ] {
            assert_eq!(rule(text).denies_address(address.parse().expect("valid")), denied, "{text}: {address}");
        }
        for (text, host, denied) in [
            ("example.com", "example.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.Example.COM", "a.example.com.", true),
            ("203.0.113.0/24", "example.com", false),
        ] {
            assert_eq!(rule(text).denies_host(host), denied, "{text}: {host}");
        }
    }

    #[test]
    fn rules_are_written_as_they_are_read_and_others_are_refused() {
        for text in ["203.0.113.0/24", "2606:4700::/32", "example.com", "*.example.com"] {
            assert_eq!(rule(text).to_string(), text);
        }
        for text in ["", "203.0.113.0/33", "203.0.113.0/x", "a.*.com", "example.com/24", "a b"] {
            assert!(text.parse::<DenyRule>().is_err(), "{text}");
        }
    }
}
