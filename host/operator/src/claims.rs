//! Which fetched batches are still being worked on. A claim whose jobs are all concluded is settled, and its row deleted
//! with the next flush.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use trellis_model::{ClaimId, Shard};

/// A claim whose row can be deleted.
pub type SettledClaim = (Shard, ClaimId);

#[derive(Debug, Default)]
pub struct Claims {
    state: Mutex<State>,
    has_settled: Notify,
}

/// A job of a claim, concluded when this is dropped, however what it stood for has ended.
#[derive(Debug)]
pub struct OpenClaim<'c> {
    claims: &'c Claims,
    claim: SettledClaim,
}

impl Drop for OpenClaim<'_> {
    fn drop(&mut self) {
        self.claims.conclude(self.claim);
    }
}

#[derive(Debug, Default)]
struct State {
    /// Jobs of each claim that are not concluded.
    open: HashMap<SettledClaim, usize>,
    settled: Vec<SettledClaim>,
    /// The answer to a claim was lost: its row may be there, and nobody knows its id.
    is_any_lost: bool,
}

impl Claims {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes one more job of a claim.
    pub fn open(&self, claim: SettledClaim) {
        self.with(|state| *state.open.entry(claim).or_default() += 1);
    }

    /// Notes one more job of a claim, until the guard is dropped.
    pub fn guard(&self, claim: SettledClaim) -> OpenClaim<'_> {
        self.open(claim);
        OpenClaim { claims: self, claim }
    }

    /// A claim was asked for and not answered.
    pub fn note_lost(&self) {
        self.with(|state| state.is_any_lost = true);
    }

    /// Whether an answer was lost since the last time.
    pub fn take_lost(&self) -> bool {
        self.with(|state| std::mem::take(&mut state.is_any_lost))
    }

    /// One job of a claim is concluded or given back.
    pub fn conclude(&self, claim: SettledClaim) {
        let is_settled = self.with(|state| {
            let Some(count) = state.open.get_mut(&claim) else { return false };
            *count -= 1;
            if *count == 0 {
                state.open.remove(&claim);
                state.settled.push(claim);
            }
            !state.settled.is_empty()
        });
        if is_settled {
            self.has_settled.notify_one();
        }
    }

    /// Resolves `after` some time when there are settled claims: enough for a flush to take them along meanwhile.
    pub async fn settled(&self, after: Duration) {
        loop {
            self.has_settled.notified().await;
            tokio::time::sleep(after).await;
            if self.with(|state| !state.settled.is_empty()) {
                return;
            }
        }
    }

    pub fn take_settled(&self) -> Vec<SettledClaim> {
        self.with(|state| std::mem::take(&mut state.settled))
    }

    /// The claims whose rows are still needed.
    pub fn known(&self) -> Vec<ClaimId> {
        self.with(|state| state.open.keys().map(|(_, claim)| *claim).collect())
    }

    /// Puts back what was taken but not deleted.
    pub fn put_back(&self, claims: &[SettledClaim]) {
        self.with(|state| state.settled.extend_from_slice(claims));
    }

    /// Forgets those of lost shards.
    pub fn forget_shards(&self, is_lost: impl Fn(Shard) -> bool) {
        self.with(|state| {
            state.open.retain(|(shard, _), _| !is_lost(*shard));
            state.settled.retain(|(shard, _)| !is_lost(*shard));
        });
    }

    /// Forgets everything: the lease was lost, and the claims belong to the next owners.
    pub fn clear(&self) {
        self.with(|state| *state = State::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_claim_is_settled_even_by_a_panic() {
        let (claims, claim) = (Claims::default(), (Shard(1), ClaimId(7)));
        let failing = std::panic::AssertUnwindSafe(|| {
            let _open = claims.guard(claim);
            panic!("what it stood for");
        });
        assert!(std::panic::catch_unwind(failing).is_err());
        assert_eq!(claims.take_settled(), [claim]);
    }

    #[test]
    fn a_claim_is_settled_with_its_last_job() {
        let claims = Claims::default();
        let claim = (Shard(1), ClaimId(7));
        claims.open(claim);
        claims.open(claim);
        claims.conclude(claim);
        assert!(claims.take_settled().is_empty());
        claims.conclude(claim);
        assert_eq!(claims.take_settled(), [claim]);
        assert!(claims.take_settled().is_empty());
    }
}
