//! Turns at what there is little of, such as cores and compilers, shared out to accounts in turn: an account that stands in
//! line a thousand times holds up no other one's one.
//!
//! Knows neither what a turn is for nor how long it lasts. A [`Room`] whose places take no memory, and of which one account
//! may hold all while nobody else wants any.

use trellis_model::AccountId;

use crate::room::{Place, Room, RoomSize};

/// Whoever asks on no account's behalf takes turns with the accounts, as one of them.
pub(crate) const NOBODY: AccountId = AccountId(0);

/// Cheap to clone; all clones are the same turns.
#[derive(Clone)]
pub(crate) struct Turns(Room);

/// Dropped, it goes to the next account in line.
pub(crate) struct Turn {
    _place: Place,
}

impl Turns {
    /// So many at the same time, and at least one.
    pub fn new(at_once: u32) -> Self {
        Self(Room::new(RoomSize { instances: at_once.max(1), bytes: 0, account_percent: 100 }))
    }

    /// Waits for a turn, behind those of the same account that waited before, and behind one of each other account.
    pub async fn take(&self, account: AccountId) -> Turn {
        Turn { _place: self.0.enter(account, 0).await }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Whether somebody could have a turn at once.
    pub(crate) fn has_free(turns: &Turns) -> bool {
        turns.take(NOBODY).now_or_never().is_some()
    }

    #[test]
    fn one_account_may_have_all_turns_while_nobody_else_wants_any() {
        let turns = Turns::new(2);
        let both = [1, 1].map(|account| turns.take(AccountId(account)).now_or_never().expect("there are two"));
        assert!(!has_free(&turns));
        drop(both);
        assert!(has_free(&turns));
    }

    #[test]
    fn a_thousand_of_one_account_are_not_before_the_one_of_another() {
        let turns = Turns::new(1);
        let held = turns.take(AccountId(1)).now_or_never().expect("nobody has it");
        let mut hogs: Vec<_> = (0..1_000).map(|_| Box::pin(turns.take(AccountId(1)))).collect();
        assert!(hogs.iter_mut().all(|hog| hog.as_mut().now_or_never().is_none()));
        let mut other = Box::pin(turns.take(AccountId(2)));
        assert!(other.as_mut().now_or_never().is_none());
        drop(held);
        // One of these may have come first.
        drop(hogs.remove(0).now_or_never());
        assert!(other.now_or_never().is_some(), "one of each account at a time");
    }
}
