//! What kind of address an IP address is: only those of the public Internet may be reached without the operator's word.
//!
//! Ranges are those of the IANA special-purpose registries (RFC 6890 and its successors) plus the addresses where clouds
//! keep their metadata services. An IPv6 form that carries an IPv4 address is judged by the address that it carries as
//! well, and refused even if that one is public: nobody reaches a public service that way in earnest.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Why an address may not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    Unspecified,
    Loopback,
    Private,
    LinkLocal,
    CarrierGradeNat,
    Metadata,
    Multicast,
    Broadcast,
    Documentation,
    Benchmarking,
    Reserved,
    /// An IPv6 form that carries an IPv4 address: mapped, compatible, NAT64, 6to4, Teredo, ISATAP.
    Translated,
    /// An address of this host, public or not.
    Own,
    /// In a network that the operator forbids.
    Denied,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::CarrierGradeNat => "a carrier-grade NAT address",
            Self::Metadata => "a cloud metadata address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::Documentation => "a documentation address",
            Self::Benchmarking => "a benchmarking address",
            Self::Reserved => "a reserved address",
            Self::Translated => "an IPv6 form of an IPv4 address",
            Self::Own => "an address of this host",
            Self::Denied => "an address of a denied network",
        })
    }
}

/// Why `address` is not a public one; `None` for a public one.
pub fn forbidden(address: IpAddr) -> Option<Forbidden> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

/// Network, prefix length, verdict. The first match counts.
const V4_RANGES: [([u8; 4], u32, Forbidden); 20] = [
    ([0, 0, 0, 0], 8, Forbidden::Unspecified),
    ([10, 0, 0, 0], 8, Forbidden::Private),
    // Alibaba Cloud's metadata service.
    ([100, 100, 100, 200], 32, Forbidden::Metadata),
    ([100, 64, 0, 0], 10, Forbidden::CarrierGradeNat),
    ([127, 0, 0, 0], 8, Forbidden::Loopback),
    // AWS, Azure, Google Cloud, OpenStack and others.
    ([169, 254, 169, 254], 32, Forbidden::Metadata),
    // AWS ECS task credentials.
    ([169, 254, 170, 2], 32, Forbidden::Metadata),
    ([169, 254, 0, 0], 16, Forbidden::LinkLocal),
    // Azure's platform channel, a public address that only answers inside.
    ([168, 63, 129, 16], 32, Forbidden::Metadata),
    ([172, 16, 0, 0], 12, Forbidden::Private),
    // Oracle Cloud's metadata service.
    ([192, 0, 0, 192], 32, Forbidden::Metadata),
    ([192, 0, 0, 0], 24, Forbidden::Reserved),
    ([192, 0, 2, 0], 24, Forbidden::Documentation),
    ([192, 88, 99, 0], 24, Forbidden::Reserved),
    ([192, 168, 0, 0], 16, Forbidden::Private),
    ([198, 18, 0, 0], 15, Forbidden::Benchmarking),
    ([198, 51, 100, 0], 24, Forbidden::Documentation),
    ([203, 0, 113, 0], 24, Forbidden::Documentation),
    ([224, 0, 0, 0], 4, Forbidden::Multicast),
    ([240, 0, 0, 0], 4, Forbidden::Reserved),
];

fn forbidden_v4(address: Ipv4Addr) -> Option<Forbidden> {
    if address.is_broadcast() {
        return Some(Forbidden::Broadcast);
    }
    let bits = address.to_bits();
    V4_RANGES
        .iter()
        .find(|(network, length, _)| (bits ^ u32::from_be_bytes(*network)) >> (32 - length) == 0)
        .map(|(.., verdict)| *verdict)
}

/// Network (its first eight groups), prefix length, verdict. The first match counts.
const V6_RANGES: [([u16; 8], u32, Forbidden); 19] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, Forbidden::Unspecified),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, Forbidden::Loopback),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, Forbidden::Translated),
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, Forbidden::Translated),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, Forbidden::Translated),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Forbidden::Translated),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Forbidden::Translated),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 16, Forbidden::Reserved),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, Forbidden::Translated),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Forbidden::Benchmarking),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Forbidden::Documentation),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Forbidden::Reserved),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Forbidden::Translated),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Forbidden::Documentation),
    // AWS's metadata service.
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Forbidden::Metadata),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Forbidden::Private),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Forbidden::LinkLocal),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Forbidden::Private),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Forbidden::Multicast),
];

fn forbidden_v6(address: Ipv6Addr) -> Option<Forbidden> {
    let bits = address.to_bits();
    let by_range = V6_RANGES
        .iter()
        .find(|(network, length, _)| (bits ^ Ipv6Addr::from(*network).to_bits()) >> (128 - length) == 0)
        .map(|(.., verdict)| *verdict);
    by_range.or_else(|| {
        if is_isatap(address) {
            Some(Forbidden::Translated)
        } else if address.segments()[0] >> 13 != 0b001 {
            // Global unicast is 2000::/3; the rest is not handed out.
            Some(Forbidden::Reserved)
        } else {
            None
        }
    })
}

/// RFC 5214: an interface identifier of `::0:5efe:a.b.c.d` or `::200:5efe:a.b.c.d`.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., high, low, _, _] = address.segments();
    matches!(high, 0 | 0x200) && low == 0x5efe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: Option<Forbidden>) {
        let parsed: IpAddr = address.parse().expect("test addresses are valid");
        assert_eq!(forbidden(parsed), expected, "{address}");
    }

    #[test]
    fn addresses_of_the_public_internet_are_allowed() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "2001:4860:4860::8888",
            "2003::1",
        ] {
            check(address, None);
        }
    }

    #[test]
    fn every_other_kind_of_ipv4_address_is_refused() {
        for (address, verdict) in [
            ("0.0.0.0", Forbidden::Unspecified),
            ("0.1.2.3", Forbidden::Unspecified),
            ("10.0.0.1", Forbidden::Private),
            ("10.255.255.255", Forbidden::Private),
            ("100.64.0.1", Forbidden::CarrierGradeNat),
            ("100.127.255.255", Forbidden::CarrierGradeNat),
            ("100.100.100.200", Forbidden::Metadata),
            ("127.0.0.1", Forbidden::Loopback),
            ("127.255.255.254", Forbidden::Loopback),
            ("169.254.0.1", Forbidden::LinkLocal),
            ("169.254.169.254", Forbidden::Metadata),
            ("169.254.170.2", Forbidden::Metadata),
            ("168.63.129.16", Forbidden::Metadata),
            ("172.16.0.1", Forbidden::Private),
            ("172.31.255.255", Forbidden::Private),
            ("192.0.0.8", Forbidden::Reserved),
            ("192.0.0.192", Forbidden::Metadata),
            ("192.0.2.1", Forbidden::Documentation),
            ("192.88.99.1", Forbidden::Reserved),
            ("192.168.1.1", Forbidden::Private),
            ("198.18.0.1", Forbidden::Benchmarking),
            ("198.19.255.255", Forbidden::Benchmarking),
            ("198.51.100.1", Forbidden::Documentation),
            ("203.0.113.1", Forbidden::Documentation),
            ("224.0.0.1", Forbidden::Multicast),
            ("239.255.255.255", Forbidden::Multicast),
            ("240.0.0.1", Forbidden::Reserved),
            ("255.255.255.255", Forbidden::Broadcast),
        ] {
            check(address, Some(verdict));
        }
    }

    #[test]
    fn every_other_kind_of_ipv6_address_is_refused() {
        for (address, verdict) in [
            ("::", Forbidden::Unspecified),
            ("::1", Forbidden::Loopback),
            ("::ffff:127.0.0.1", Forbidden::Translated),
            ("::ffff:8.8.8.8", Forbidden::Translated),
            ("::ffff:0:8.8.8.8", Forbidden::Translated),
            ("::127.0.0.1", Forbidden::Translated),
            ("64:ff9b::7f00:1", Forbidden::Translated),
            ("64:ff9b:1::a00:1", Forbidden::Translated),
            ("100::1", Forbidden::Reserved),
            ("2001::1", Forbidden::Translated),
            ("2001:2::1", Forbidden::Benchmarking),
            ("2001:10::1", Forbidden::Reserved),
            ("2001:db8::1", Forbidden::Documentation),
            ("2002:7f00:1::", Forbidden::Translated),
            ("3fff::1", Forbidden::Documentation),
            ("2606:4700::5efe:10.0.0.1", Forbidden::Translated),
            ("2606:4700::200:5efe:10.0.0.1", Forbidden::Translated),
            ("fc00::1", Forbidden::Private),
            ("fd12:3456::1", Forbidden::Private),
            ("fd00:ec2::254", Forbidden::Metadata),
            ("fe80::1", Forbidden::LinkLocal),
            ("fec0::1", Forbidden::Private),
            ("ff02::1", Forbidden::Multicast),
            ("4000::1", Forbidden::Reserved),
            ("5f00::1", Forbidden::Reserved),
        ] {
            check(address, Some(verdict));
        }
    }
}
