//! One target's host: its state under a lock that is never held for long, and the waking of those who wait for a place.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, futures::Notified};
use trellis_model::targets::{Answer, TargetLimit, TargetState};

/// Calls that wait for one bucket at the same time; each holds an instance. More are suspended, which costs none.
const WAITING_MAX: u32 = 32;

#[derive(Debug, Default)]
pub(super) struct Bucket {
    inner: Mutex<Inner>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    state: TargetState,
    /// Not kept in the database as it is.
    is_changed: bool,
    waiting: u32,
}

impl Bucket {
    pub fn new(state: TargetState) -> Self {
        Self { inner: Mutex::new(Inner { state, ..Inner::default() }), freed: Notify::new() }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut TargetState) -> T) -> T {
        self.with(|inner| {
            inner.is_changed = true;
            change(&mut inner.state)
        })
    }

    pub fn ask(&self, limit: TargetLimit, place_ms: Option<i64>, now_ms: i64) -> Answer {
        self.change(|state| state.ask(limit, place_ms, now_ms))
    }

    pub fn turn_away(&self, limit: TargetLimit, now_ms: i64) -> i64 {
        self.change(|state| state.turn_away(limit, now_ms))
    }

    pub fn note_answer(&self, status: u16, silence_ms: Option<i64>, now_ms: i64) {
        self.change(|state| state.note_answer(status, silence_ms, now_ms));
    }

    /// Resolves when somebody has left, or may have.
    pub fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Wakes the next one who waits for a place.
    pub fn pass_on(&self) {
        self.freed.notify_one();
    }

    fn left(&self, held: Duration) {
        self.change(|state| state.left(i64::try_from(held.as_millis()).unwrap_or(i64::MAX)));
        self.freed.notify_one();
    }

    /// Leave to wait within the call, unless too many do already and this one need not.
    pub fn wait(&self, can_suspend: bool) -> Option<Waiting<'_>> {
        self.with(|inner| {
            let may_wait = !can_suspend || inner.waiting < WAITING_MAX;
            inner.waiting += u32::from(may_wait);
            may_wait.then_some(Waiting(self))
        })
    }

    pub fn state(&self) -> TargetState {
        self.with(|inner| inner.state.clone())
    }

    pub fn is_at_rest(&self, now_ms: i64) -> bool {
        self.with(|inner| inner.waiting == 0 && inner.state.is_at_rest(now_ms))
    }

    /// The state, if it was changed since the last time.
    pub fn take_changed(&self) -> Option<TargetState> {
        self.with(|inner| std::mem::take(&mut inner.is_changed).then(|| inner.state.clone()))
    }

    pub fn keep_later(&self) {
        self.with(|inner| inner.is_changed = true);
    }
}

/// Somebody who waits within a call. Dropped, he does not any more.
pub(super) struct Waiting<'b>(&'b Bucket);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.with(|inner| inner.waiting -= 1);
    }
}

/// The place of one request that was let go. Dropped, it is free.
pub(super) struct Place {
    pub bucket: std::sync::Arc<Bucket>,
    pub began: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bucket.left(self.began.elapsed());
    }
}
