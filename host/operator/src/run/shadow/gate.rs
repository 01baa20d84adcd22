//! How many shadow runs there are at the same time: of this host, and of one account. Nobody waits: who asks is a person or a
//! script, and is told to come again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use trellis_model::AccountId;

/// Cheap to clone; all clones are the same gate.
#[derive(Clone)]
pub struct ShadowGate {
    at_once: u32,
    account_at_once: u32,
    running: Arc<Mutex<HashMap<AccountId, u32>>>,
}

/// One shadow run; dropped, there may be another.
pub struct ShadowTurn {
    account: AccountId,
    running: Arc<Mutex<HashMap<AccountId, u32>>>,
}

impl ShadowGate {
    pub fn new(at_once: u32, account_at_once: u32) -> Self {
        Self { at_once, account_at_once, running: Arc::default() }
    }

    /// None: there are enough already.
    pub fn enter(&self, account: AccountId) -> Option<ShadowTurn> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (running.values().sum::<u32>(), running.get(&account).copied().unwrap_or_default());
        if all >= self.at_once || own >= self.account_at_once {
            return None;
        }
        running.insert(account, own + 1);
        Some(ShadowTurn { account, running: Arc::clone(&self.running) })
    }
}

impl Drop for ShadowTurn {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.get_mut(&self.account) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(running.remove(&self.account)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_bounded_for_an_account_and_for_all() {
        let gate = ShadowGate::new(2, 1);
        let (one, other, third) = (AccountId(1), AccountId(2), AccountId(3));
        let first = gate.enter(one).expect("the first");
        assert!(gate.enter(one).is_none(), "the account has its turn");
        let _second = gate.enter(other).expect("another account");
        assert!(gate.enter(third).is_none(), "the host has as many as it may");
        drop(first);
        assert!(gate.enter(third).is_some() && gate.enter(one).is_some());
    }
}
