//! The operator's word on outgoing requests, for every node alike: public addresses only, but for listed exceptions.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    address::{Forbidden, forbidden},
    deny::DenyRule,
    own::is_own,
};

/// Which addresses may be reached. The default allows the public Internet and nothing else.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    allow_private: BTreeSet<SocketAddr>,
    deny: Vec<DenyRule>,
}

/// An address that the policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}, which the operator's policy does not allow; {}", fix(*.kind, *.address))]
pub struct ForbiddenAddress {
    pub address: SocketAddr,
    pub kind: Forbidden,
}

fn fix(kind: Forbidden, address: SocketAddr) -> String {
    match kind {
        Forbidden::Denied => "an operator can change `egress.deny`".to_owned(),
        _ => format!("an operator can allow it with `egress.allow_private = [\"{address}\"]`"),
    }
}

/// A host that the policy refuses by its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operator's policy does not allow this host: `egress.deny` has \"{rule}\"")]
pub struct ForbiddenHost {
    pub rule: DenyRule,
}

impl EgressPolicy {
    /// `allow_private`: addresses, each with one port, that may be reached although they are not public.
    pub fn new(allow_private: impl IntoIterator<Item = SocketAddr>) -> Self {
        let policy = Self { allow_private: allow_private.into_iter().collect(), deny: Vec::new() };
        for address in &policy.allow_private {
            tracing::warn!(%address, "guests with a grant may reach this private address: egress.allow_private");
        }
        policy
    }

    /// The same, but for what these rules forbid, exceptions included.
    #[must_use]
    pub fn denying(self, deny: Vec<DenyRule>) -> Self {
        Self { deny, ..self }
    }

    /// Judges the name of a host, before it is looked up.
    ///
    /// # Errors
    /// The operator forbids it.
    pub fn check_host(&self, name: &str) -> Result<(), ForbiddenHost> {
        match self.deny.iter().find(|rule| rule.denies_host(name)) {
            Some(rule) => Err(ForbiddenHost { rule: rule.clone() }),
            None => Ok(()),
        }
    }

    /// Judges one address that a request is about to connect to.
    ///
    /// # Errors
    /// The address is not public and not among the exceptions, or the operator forbids it.
    pub fn check(&self, address: SocketAddr) -> Result<(), ForbiddenAddress> {
        if self.deny.iter().any(|rule| rule.denies_address(address.ip())) {
            return Err(ForbiddenAddress { address, kind: Forbidden::Denied });
        }
        if self.allow_private.contains(&address) {
            return Ok(());
        }
        let kind = forbidden(address.ip()).or_else(|| is_own(address.ip()).then_some(Forbidden::Own));
        match kind {
            Some(kind) => Err(ForbiddenAddress { address, kind }),
            None => Ok(()),
        }
    }

    /// Whether some address is allowed at this port that is refused at others.
    pub(crate) fn has_exception_at(&self, port: u16) -> bool {
        self.allow_private.iter().any(|address| address.port() == port)
    }

    /// Judges all addresses that a name resolved to: one that is forbidden spoils the name.
    ///
    /// # Errors
    /// The first address that is refused.
    pub(crate) fn check_all(&self, addresses: &[IpAddr], port: u16) -> Result<(), ForbiddenAddress> {
        addresses.iter().try_for_each(|address| self.check(SocketAddr::new(*address, port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("test addresses are valid")
    }

    #[test]
    fn an_exception_holds_for_its_port_alone() {
        let policy = EgressPolicy::new([address("127.0.0.1:8080")]);
        assert!(policy.check(address("127.0.0.1:8080")).is_ok());
        assert!(policy.check(address("127.0.0.1:5432")).is_err());
        assert!(policy.check(address("127.0.0.2:8080")).is_err());
        assert!(policy.check(address("8.8.8.8:5432")).is_ok());
    }

    #[test]
    fn one_forbidden_address_spoils_a_name() {
        let mixed = ["8.8.8.8".parse().expect("valid"), "::1".parse().expect("valid")];
        let refused = EgressPolicy::default().check_all(&mixed, 443).expect_err("loopback among them");
        assert_eq!(refused.kind, Forbidden::Loopback);
        assert!(refused.to_string().contains("egress.allow_private = [\"[::1]:443\"]"), "{refused}");
    }
}
