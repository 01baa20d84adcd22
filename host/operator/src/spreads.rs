//! Over how many shards each account is spread, as far as this host knows.
//!
//! A host that has not heard of a change yet puts jobs where they were put before: they are found there all the same.

use dashmap::DashMap;
use trellis_model::{AccountId, RunId};
use trellis_store::{Database, StoreError, jobs::NewJob};

#[derive(Debug)]
pub struct Spreads {
    database: Database,
    /// Accounts on more than their home shard.
    spread: DashMap<AccountId, u8>,
}

impl Spreads {
    pub fn new(database: Database) -> Self {
        Self { database, spread: DashMap::new() }
    }

    /// On how many shards new jobs of the account are put; at least 1.
    pub fn of(&self, account: AccountId) -> u8 {
        self.spread.get(&account).map_or(1, |spread| *spread)
    }

    /// Gives a job the id of its run, and with it its shard.
    pub fn number(&self, job: &mut NewJob, run: RunId) {
        job.number(run, self.of(job.account));
    }

    /// Reads all anew.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let spread = self.database.spreads(None).await?;
        self.spread.retain(|account, _| spread.iter().any(|(own, _)| own == account));
        spread.into_iter().for_each(|(account, spread)| self.set(account, spread));
        Ok(())
    }

    /// Reads one account anew, after an operator changed it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn reload(&self, account: AccountId) -> Result<(), StoreError> {
        let spread = self.database.spreads(Some(&[account])).await?;
        spread.into_iter().for_each(|(account, spread)| self.set(account, spread));
        Ok(())
    }

    fn set(&self, account: AccountId, spread: u8) {
        if spread > 1 {
            self.spread.insert(account, spread);
        } else {
            self.spread.remove(&account);
        }
    }
}
