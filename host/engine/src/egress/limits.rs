//! How long the parts of a request may take, and how many lookups there may be at once.

use std::time::Duration;

/// The operator's limits of every request. A call's own deadlines can only be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressLimits {
    /// Looking the host's name up. 5 s: what resolvers give a name server before they ask the next one.
    pub lookup_timeout: Duration,
    /// Name, TCP and TLS together. 10 s: three lost packets in a row.
    pub connect_timeout: Duration,
    /// From the connection to the head of the response. 30 s: as long as a call may take by default.
    pub first_byte_timeout: Duration,
    /// Between two pieces of the response's body. 30 s.
    pub between_bytes_timeout: Duration,
    /// The whole exchange, body included. 5 min: for calls that were given more wall time than others.
    pub exchange_timeout: Duration,
    /// Lookups at the same time, each of which holds a thread. 64: an eighth of the threads for such work.
    pub lookups_at_once: u32,
    /// The same of one account. 8: an eighth again, so that no account alone holds up all others.
    pub lookups_at_once_per_account: u32,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            lookup_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(30),
            between_bytes_timeout: Duration::from_secs(30),
            exchange_timeout: Duration::from_secs(300),
            lookups_at_once: 64,
            lookups_at_once_per_account: 8,
        }
    }
}

/// What a guest asks for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub between_bytes: Option<Duration>,
    /// For the whole exchange, body included.
    pub exchange: Option<Duration>,
}

impl Deadlines {
    /// From sending to the response's head. Connecting and waiting are one wait, as a connection may be there already, so
    /// their times are added up.
    pub fn head(&self, limits: &EgressLimits) -> Duration {
        let connect = shorter(self.connect, limits.connect_timeout);
        connect.saturating_add(shorter(self.first_byte, limits.first_byte_timeout))
    }

    pub fn between_bytes(&self, limits: &EgressLimits) -> Duration {
        shorter(self.between_bytes, limits.between_bytes_timeout)
    }

    pub fn exchange(&self, limits: &EgressLimits) -> Duration {
        shorter(self.exchange, limits.exchange_timeout)
    }
}

fn shorter(own: Option<Duration>, limit: Duration) -> Duration {
    own.map_or(limit, |own| own.min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_can_only_shorten_what_the_operator_allows() {
        let limits = EgressLimits::default();
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let short = Deadlines { connect: Some(second), between_bytes: Some(second), ..Deadlines::default() };
        assert_eq!(short.head(&limits), Duration::from_secs(31));
        assert_eq!(short.between_bytes(&limits), second);
        let long =
            Deadlines { connect: Some(hour), first_byte: Some(hour), between_bytes: Some(hour), exchange: Some(hour) };
        assert_eq!(long.head(&limits), Duration::from_secs(40));
        assert_eq!(
            (long.between_bytes(&limits), long.exchange(&limits)),
            (Duration::from_secs(30), Duration::from_secs(300))
        );
    }
}
