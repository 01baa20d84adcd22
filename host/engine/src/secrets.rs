//! The open secrets of one call: those of its project that the node's grants name.
//!
//! Wiped when the call is over. What each may be used for is said by the grants.

use std::collections::BTreeMap;

use trellis_model::credential::Secret;

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

    pub(crate) fn all(&self) -> impl Iterator<Item = &Secret> {
        self.0.values()
    }
}
