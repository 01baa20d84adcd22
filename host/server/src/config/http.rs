//! The HTTP edge: what a client may send, and how long it may take.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;

use super::{ByteSize, Section};

/// Limits of the HTTP server.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// How long a client may take to send a request's head; also how long a kept connection may idle. Default 10 s:
    /// slow for a phone in a tunnel, short for someone who opens thousands and sends a byte a minute.
    pub header_timeout: Duration,
    /// Size of a request's head. Default 32 KiB: long tokens and cookies fit, a body in disguise does not.
    pub header_max: ByteSize,
    /// Header fields of a request. Default 100: twice what browsers and proxies send together.
    pub headers_max: u32,
    /// How long a request may take in all, its body and the wait for an outcome included. Default 60 s: twice the wall
    /// time of a call, so that `Prefer: wait` can see one through.
    pub request_timeout: Duration,
    /// Body of an event or a manifest, in bytes. Default 1 MiB: an event is stored whole, and a batch holds hundreds.
    pub body_max: ByteSize,
    /// Body of a plugin upload, in bytes. Default 64 MiB: a Python component has twenty, and room to grow.
    pub upload_max: ByteSize,
    /// How long a body may make no progress, and how far it may be behind `body_rate_min`. Default 10 s: as for heads.
    pub body_timeout: Duration,
    /// Bytes of a body that must come in each second. Default 1 KiB: a modem of the last century sends more, someone who
    /// holds a connection with a byte now and then does not.
    pub body_rate_min: ByteSize,
    /// How long a client may take nothing of a response, and how long it may fall short of `response_rate_min`. Default
    /// 30 s: beyond any pause of a working network.
    pub stall_timeout: Duration,
    /// Bytes of a response that a client must take in each second that the host has to wait for it. Default 1 KiB.
    pub response_rate_min: ByteSize,
    /// Requests that are answered at the same time; more are told 503 at once. Default 1,024: with bodies of the largest
    /// size, a GiB of memory.
    pub requests_max: u32,
    /// Connections at the same time; more wait to be accepted. Default 4,096: each costs some ten KiB and a file.
    pub connections_max: u32,
    /// The same of one client, told by its address (in IPv6, by the network of 64 bits that it is in); more are told 503 and
    /// closed. As each connection carries one request at a time, no client has more requests under way. Default 256: a quarter
    /// of `requests_max`, and a sixteenth of the connections. An office behind one address has fewer.
    pub peer_connections_max: u32,
    /// Networks of proxies and load balancers, from where many clients come under one address: their connections are not
    /// counted, so that they must bound their clients. Default this machine itself, where a proxy in front usually is.
    pub proxies: Vec<IpNet>,
    /// How long running requests and nodes may go on after a stop was asked for. Default 30 s: the wall time of a call.
    pub drain: Duration,
}

impl HttpConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        let (byte, kib, mib) = (ByteSize(1), ByteSize::kib(1), ByteSize::mib(1));
        Self {
            header_timeout: section.setting_in("header_timeout", 10 * second, second..=300 * second),
            header_max: section.setting_in("header_max", ByteSize::kib(32), ByteSize::kib(8)..=mib),
            headers_max: section.setting_in("headers_max", 100, 16..=1_000),
            request_timeout: section.setting_in("request_timeout", 60 * second, second..=3_600 * second),
            body_max: section.setting_in("body_max", mib, kib..=ByteSize::gib(1)),
            upload_max: section.setting_in("upload_max", ByteSize::mib(64), kib..=ByteSize::gib(1)),
            body_timeout: section.setting_in("body_timeout", 10 * second, second..=300 * second),
            body_rate_min: section.setting_in("body_rate_min", kib, byte..=mib),
            stall_timeout: section.setting_in("stall_timeout", 30 * second, second..=300 * second),
            response_rate_min: section.setting_in("response_rate_min", kib, byte..=mib),
            requests_max: section.setting_in("requests_max", 1_024, 1..=1_000_000),
            connections_max: section.setting_in("connections_max", 4_096, 1..=1_000_000),
            peer_connections_max: section.setting_in("peer_connections_max", 256, 1..=1_000_000),
            proxies: section.setting("proxies", this_machine()),
            drain: section.setting_in("drain", 30 * second, Duration::ZERO..=3_600 * second),
        }
    }
}

fn this_machine() -> Vec<IpNet> {
    let network = |address: IpAddr, bits| IpNet::new(address, bits).expect("no more bits than an address has");
    vec![network(Ipv4Addr::new(127, 0, 0, 0).into(), 8), network(Ipv6Addr::LOCALHOST.into(), 128)]
}
