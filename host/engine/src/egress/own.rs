//! Whether an address is one of this machine's own, the first of an interface or any further one: packets to it would never
//! leave, and find what listens for the machine alone.
//!
//! Sends nothing, and remembers nothing: addresses come and go while a host runs. It takes a few microseconds, and there is
//! one look for each connection. Knows nothing of kinds of addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::LazyLock,
};

/// Whether packets to this address stay on this machine. In doubt they do.
pub(super) fn is_own(address: IpAddr) -> bool {
    if binds_foreign(address) { is_own_source(address) } else { is_bindable(UdpSocket::bind((address, 0)).map(drop)) }
}

/// What an attempt to bind to an address says of it: only a machine's own can be bound to.
fn is_bindable(bound: io::Result<()>) -> bool {
    match bound {
        Ok(()) => true,
        // A machine that does not speak a family at all has no address of it.
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable && !is_of_unknown_family(&error),
    }
}

fn is_of_unknown_family(error: &io::Error) -> bool {
    #[cfg(unix)]
    return error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    #[cfg(not(unix))]
    return error.kind() == io::ErrorKind::Unsupported;
}

/// Whether this machine lets everybody bind to whatever address of that family (`ip_nonlocal_bind`), so that it says nothing:
/// found out with one that is for documentation, and nobody's. Load balancers are set up so, and before anything is started.
fn binds_foreign(address: IpAddr) -> bool {
    static V4: LazyLock<bool> = LazyLock::new(|| UdpSocket::bind((Ipv4Addr::new(192, 0, 2, 254), 0)).is_ok());
    static V6: LazyLock<bool> =
        LazyLock::new(|| UdpSocket::bind((Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe), 0)).is_ok());
    match address {
        IpAddr::V4(_) => *V4,
        IpAddr::V6(_) => *V6,
    }
}

/// Whether this machine would speak to the address under that very address. Connecting a datagram socket asks the routing
/// table. Does not know further addresses of an interface, which only binding tells.
fn is_own_source(address: IpAddr) -> bool {
    /// Any port will do; this one is for discarding.
    const PORT: u16 = 9;
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, PORT))?;
        socket.local_addr()
    });
    local.is_ok_and(|local| local.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address that this machine uses towards others, where it has one.
    fn outward() -> Option<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("8.8.8.8:9").ok()?;
        Some(socket.local_addr().ok()?.ip())
    }

    #[test]
    fn an_address_of_this_host_is_known_as_such() {
        for is_own in [is_own, is_own_source] {
            assert!(is_own("127.0.0.1".parse().expect("valid")));
            assert!(!is_own("8.8.8.8".parse().expect("valid")));
            assert!(!is_own("2606:4700::1111".parse().expect("valid")), "whether or not there is any IPv6 here");
            assert!(outward().is_none_or(is_own), "{:?}", outward());
        }
        // One that is no interface's first address: what is spoken to under another one is own all the same.
        assert!(is_own("127.0.0.77".parse().expect("valid")));
    }

    #[test]
    fn only_a_clear_no_makes_an_address_foreign() {
        assert!(is_bindable(Ok(())));
        for (kind, own) in [
            (io::ErrorKind::AddrNotAvailable, false),
            (io::ErrorKind::AddrInUse, true),
            (io::ErrorKind::PermissionDenied, true),
            (io::ErrorKind::Other, true),
        ] {
            assert_eq!(is_bindable(Err(kind.into())), own, "{kind}");
        }
    }
}
