//! Lists of networks, as settings.

use std::net::IpAddr;

use figment::value::Value;
use ipnet::IpNet;

use super::setting::Setting;

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(address).map(|network| network.trunc())
}

impl Setting for Vec<IpNet> {
    const EXPECTED: &'static str = "a list of networks and IP addresses, such as [\"127.0.0.0/8\", \"203.0.113.7\"]";

    /// Separated by commas.
    fn from_text(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(network).collect()
    }

    fn from_other(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(|item| network(item.as_str()?)).collect()
    }

    fn to_toml(&self) -> toml::Value {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_read_and_anything_else_is_not() {
        let read = |text| Vec::<IpNet>::from_text(text).map(|networks| networks.to_toml().to_string());
        assert_eq!(
            read("10.1.2.3/8, 203.0.113.7, ::1").as_deref(),
            Some(r#"["10.0.0.0/8", "203.0.113.7/32", "::1/128"]"#)
        );
        assert_eq!(read("").as_deref(), Some("[]"), "none at all");
        for wrong in ["10.0.0.0/33", "example.com", "10.0.0.0/8; ::1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
