//! Places for those who stay for a while: so many in all, and so many of one account, which then keeps nobody else out.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use dashmap::DashMap;
use trellis_model::AccountId;

#[derive(Debug)]
pub struct Places {
    most: u32,
    account_most: u32,
    taken: AtomicU32,
    by_account: DashMap<AccountId, u32>,
}

/// A place. Dropped, it is free again.
#[derive(Debug)]
pub struct TakenPlace {
    places: Arc<Places>,
    account: AccountId,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The host has no more.
    Host,
    /// The account has all of its own.
    Account,
}

impl Places {
    pub fn new(most: u32, account_most: u32) -> Arc<Self> {
        Arc::new(Self { most, account_most, taken: AtomicU32::new(0), by_account: DashMap::new() })
    }

    /// Takes a place at once, or not at all.
    ///
    /// # Errors
    /// There is none.
    pub fn take(self: &Arc<Self>, account: AccountId) -> Result<TakenPlace, NoPlace> {
        {
            let mut own = self.by_account.entry(account).or_default();
            if *own >= self.account_most {
                return Err(NoPlace::Account);
            }
            *own += 1;
        }
        // From here on it is given back when it is dropped.
        let place = TakenPlace { places: Arc::clone(self), account };
        if self.taken.fetch_add(1, Ordering::AcqRel) >= self.most { Err(NoPlace::Host) } else { Ok(place) }
    }
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::AcqRel);
        self.places.by_account.remove_if_mut(&self.account, |_, own| {
            *own = own.saturating_sub(1);
            *own == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_takes_its_own_places_and_all_accounts_those_of_the_host() {
        let (places, one, other) = (Places::new(3, 2), AccountId(1), AccountId(2));
        let first = places.take(one).expect("a place");
        let _second = places.take(one).expect("a place");
        assert_eq!(places.take(one).expect_err("none of its own"), NoPlace::Account);
        let _third = places.take(other).expect("a place");
        assert_eq!(places.take(other).expect_err("none at all"), NoPlace::Host);
        drop(first);
        drop(places.take(other).expect("one is free again"));
        assert_eq!(*places.by_account.get(&other).expect("it has one"), 1, "what was refused is not counted");
    }

    #[test]
    fn an_account_without_places_takes_no_memory() {
        let places = Places::new(1, 1);
        drop(places.take(AccountId(1)));
        assert!(places.by_account.is_empty());
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }
}
