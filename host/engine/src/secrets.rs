//! The open secrets of one call: those of its project that the node's grants name.
//!
//! Wiped when the call is over. What each may be used for is said by the grants.

use std::collections::BTreeMap;

use trellis_model::{credential::Secret, grant::SECRET_TEXT_BYTES_MAX};

use crate::failure::{Failure, FailureKind, bytes};

/// Secrets by the names of their credentials.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    pub fn new(by_name: BTreeMap<String, Secret>) -> Self {
        Self(by_name)
    }

    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds the secrets to what can be kept out of a report with the memory that is set aside for it.
    ///
    /// # Errors
    /// They are longer together. A manifest's check sees their number alone.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let total: usize = self.all().map(|secret| secret.reveal().len()).sum();
        if total <= SECRET_TEXT_BYTES_MAX {
            return Ok(());
        }
        let (total, most) = (bytes(total as u64), bytes(SECRET_TEXT_BYTES_MAX as u64));
        let message = format!(
            "the credentials that are granted to the node have {total} together, and at most {most} can be kept out of its log and outputs; grant it fewer, or shorter ones"
        );
        Err(Failure::new(FailureKind::Permanent, message))
    }

    /// The same secrets in parts that are each within what one call may have.
    pub(crate) fn in_parts(self) -> Vec<Self> {
        let (mut parts, mut bytes) = (vec![Self::default()], 0);
        for (name, secret) in self.0 {
            let own = secret.reveal().len();
            if bytes > 0 && bytes + own > SECRET_TEXT_BYTES_MAX {
                parts.push(Self::default());
                bytes = 0;
            }
            bytes += own;
            parts.last_mut().expect("there is a first part").0.insert(name, secret);
        }
        parts
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Secret> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_secret_text_than_can_be_kept_out_of_a_report_is_refused() {
        let of = |bytes: usize| Secrets::new(BTreeMap::from([("key".to_owned(), Secret::from("x".repeat(bytes)))]));
        assert_eq!(of(SECRET_TEXT_BYTES_MAX).check(), Ok(()));
        let refused = of(SECRET_TEXT_BYTES_MAX + 1).check().expect_err("too long");
        assert_eq!(refused.kind, FailureKind::Permanent);
        assert!(refused.message.contains("at most 64 KiB"), "{refused}");
    }
}
