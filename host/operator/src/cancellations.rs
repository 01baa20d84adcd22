//! Which runs are in flight on this host, so that they can be cancelled, and which must not be started any more.
//!
//! ```text
//!                       in flight: its calls are dropped, and it ends itself
//!   cancel ──► barred ─┤
//!                       not in flight: it cannot be started any more, and the canceller ends it
//! ```
//!
//! A run is entered before it is looked whether it is barred, and barred before it is looked whether it is entered. So of a
//! start and a cancellation at the same moment at least one sees the other. Knows nothing of the database.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use dashmap::{DashMap, DashSet};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trellis_model::{AccountId, RunId};

/// Runs that are remembered to be barred: more than could be fetched and not yet started. One that stood in line for so long
/// that it was forgotten is started, and told by the canceller's next look, for its request is still there.
const BARRED_MAX: usize = 65_536;

type Key = (AccountId, RunId);

/// What a cancellation has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The run is in flight, and was told.
    InFlight,
    /// Nobody runs it here, and nobody will.
    Barred,
}

#[derive(Debug, Default)]
pub struct Cancellations {
    in_flight: DashMap<Key, Arc<Flight>>,
    barred: DashSet<Key>,
    /// The barred ones, oldest first.
    barred_order: Mutex<VecDeque<Key>>,
    wanted: Notify,
}

/// How a run in flight is spoken to.
#[derive(Debug, Default)]
pub struct Flight {
    cancelled: CancellationToken,
    asked: Notify,
}

impl Flight {
    /// Resolves when somebody wants to know where the run stands.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}

/// A run in flight. Dropped when it has ended, for good or for now.
#[derive(Debug)]
pub struct InFlight<'c> {
    cancellations: &'c Cancellations,
    key: Key,
    flight: Arc<Flight>,
}

impl Cancellations {
    /// Enters a run that is about to be started; none: it is being cancelled, and must not be.
    pub fn enter(&self, account: AccountId, run: RunId) -> Option<InFlight<'_>> {
        let (key, flight) = ((account, run), Arc::new(Flight::default()));
        self.in_flight.insert(key, Arc::clone(&flight));
        let entered = InFlight { cancellations: self, key, flight };
        (!self.barred.contains(&key)).then_some(entered)
    }

    /// Tells a run in flight to end, or bars it from being started.
    pub fn cancel(&self, account: AccountId, run: RunId) -> Met {
        self.bar(account, run);
        match self.in_flight.get(&(account, run)) {
            Some(flight) => {
                flight.cancelled.cancel();
                Met::InFlight
            }
            None => Met::Barred,
        }
    }

    /// Asks a run in flight to say where it stands; false: it is not in flight here.
    pub fn ask(&self, account: AccountId, run: RunId) -> bool {
        let flight = self.in_flight.get(&(account, run));
        flight.is_some_and(|flight| {
            flight.asked.notify_one();
            true
        })
    }

    /// Bars a run from being started. A run that somebody wants to be cancelled is never started again, so that this need not
    /// be taken back.
    pub fn bar(&self, account: AccountId, run: RunId) {
        let key = (account, run);
        if !self.barred.insert(key) {
            return;
        }
        let mut order = self.barred_order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back(key);
        if order.len() > BARRED_MAX
            && let Some(oldest) = order.pop_front()
        {
            self.barred.remove(&oldest);
        }
    }

    /// There may be requests to cancel runs.
    pub fn want_look(&self) {
        self.wanted.notify_one();
    }

    /// Resolves when somebody has called [`Cancellations::want_look`] since the last time.
    pub async fn look_wanted(&self) {
        self.wanted.notified().await;
    }
}

impl InFlight<'_> {
    /// Is cancelled when the run is to be.
    pub fn cancellation(&self) -> CancellationToken {
        self.flight.cancelled.clone()
    }

    /// By which the run is spoken to.
    pub fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        // A later start of the same run has an entry of its own.
        self.cancellations.in_flight.remove_if(&self.key, |_, entered| Arc::ptr_eq(entered, &self.flight));
        if self.flight.cancelled.is_cancelled() {
            // It may have ended before it heard of it, to be run on later.
            self.cancellations.want_look();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId(1);
    const RUN: RunId = RunId(7);

    #[test]
    fn a_run_in_flight_is_told() {
        let cancellations = Cancellations::default();
        let run = cancellations.enter(ACCOUNT, RUN).expect("nobody cancels it");
        assert!(!run.cancellation().is_cancelled());
        assert_eq!(cancellations.cancel(ACCOUNT, RUN), Met::InFlight);
        assert!(run.cancellation().is_cancelled());
    }

    #[test]
    fn a_run_that_is_being_cancelled_is_not_started_and_others_are() {
        let cancellations = Cancellations::default();
        assert_eq!(cancellations.cancel(ACCOUNT, RUN), Met::Barred);
        assert!(cancellations.enter(ACCOUNT, RUN).is_none());
        assert!(cancellations.enter(AccountId(2), RUN).is_some(), "of another account");
        assert_eq!(cancellations.cancel(ACCOUNT, RUN), Met::Barred, "the start in vain has left nothing behind");
    }

    #[tokio::test]
    async fn a_run_that_ended_before_it_heard_of_it_is_looked_at_again() {
        let cancellations = Cancellations::default();
        let run = cancellations.enter(ACCOUNT, RUN).expect("nobody cancels it");
        cancellations.cancel(ACCOUNT, RUN);
        drop(run);
        cancellations.look_wanted().await;
        assert_eq!(cancellations.cancel(ACCOUNT, RUN), Met::Barred);
    }

    #[test]
    fn the_end_of_a_former_start_leaves_the_present_one_entered() {
        let cancellations = Cancellations::default();
        let former = cancellations.enter(ACCOUNT, RUN).expect("nobody cancels it");
        let present = cancellations.enter(ACCOUNT, RUN).expect("nobody cancels it");
        drop(former);
        assert_eq!(cancellations.cancel(ACCOUNT, RUN), Met::InFlight);
        assert!(present.cancellation().is_cancelled());
    }

    #[tokio::test]
    async fn a_run_in_flight_is_asked_where_it_stands_and_no_other() {
        let cancellations = Cancellations::default();
        let run = cancellations.enter(ACCOUNT, RUN).expect("nobody cancels it");
        assert!(cancellations.ask(ACCOUNT, RUN));
        run.flight().asked().await;
        drop(run);
        assert!(!cancellations.ask(ACCOUNT, RUN));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let cancellations = Cancellations::default();
        (0..=BARRED_MAX).for_each(|run| cancellations.bar(ACCOUNT, RunId(i64::try_from(run).expect("small"))));
        assert!(cancellations.enter(ACCOUNT, RunId(0)).is_some(), "the oldest is forgotten");
        assert!(cancellations.enter(ACCOUNT, RunId(1)).is_none());
    }
}
