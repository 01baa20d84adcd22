//! What one call of each account may use, as far as this host knows: the host's own limits, changed for the account.
//!
//! A host that has not heard of a change yet goes on with what held before it, for a minute at the longest. Nodes' own
//! limits are not known here.

use std::collections::HashSet;

use dashmap::DashMap;
use trellis_model::{
    AccountId,
    call_limits::{AccountCallLimits, CallLimits},
};
use trellis_store::{Database, StoreError};

#[derive(Debug)]
pub struct CallBudgets {
    database: Database,
    defaults: CallLimits,
    ceilings: CallLimits,
    /// Accounts for which something was set.
    set: DashMap<AccountId, AccountCallLimits>,
}

impl CallBudgets {
    pub fn new(database: Database, defaults: CallLimits, ceilings: CallLimits) -> Self {
        Self { database, defaults, ceilings, set: DashMap::new() }
    }

    /// What holds for each call of the account, before its node's own limits.
    pub fn of(&self, account: AccountId) -> CallLimits {
        match self.set.get(&account) {
            Some(limits) => limits.effective(self.defaults, &self.ceilings),
            None => self.defaults,
        }
    }

    /// The same, if these are set for an account.
    pub fn effective(&self, limits: &AccountCallLimits) -> CallLimits {
        limits.effective(self.defaults, &self.ceilings)
    }

    /// What an account was given, before it lowered anything.
    pub fn given(&self, limits: &AccountCallLimits) -> CallLimits {
        limits.given(self.defaults, &self.ceilings)
    }

    /// The most that any account can be given on this host.
    pub fn ceilings(&self) -> &CallLimits {
        &self.ceilings
    }

    /// Reads all anew.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let set = self.database.call_limits(None).await?;
        let known: HashSet<AccountId> = set.iter().map(|(account, _)| *account).collect();
        self.set.retain(|account, _| known.contains(account));
        for (account, limits) in set {
            self.set.insert(account, limits);
        }
        Ok(())
    }

    /// Reads one account anew, after it was changed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reload(&self, account: AccountId) -> Result<(), StoreError> {
        match self.database.call_limits(Some(&[account])).await?.pop() {
            Some((account, limits)) => drop(self.set.insert(account, limits)),
            None => drop(self.set.remove(&account)),
        }
        Ok(())
    }
}
