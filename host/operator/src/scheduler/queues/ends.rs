//! How runs leave the queues: for good, for a while, or back to where they were fetched from.

use std::{cmp::Reverse, time::Instant};

use trellis_model::{ClaimId, Lane, Queue, RunId};

use super::{InFlight, Queues, State};

/// Runs of a queue that are aside at most: a fetch names them all. Of a queue with more, all that stand before the last one of
/// these in its lane are passed over without being named; of keyed runs, which have no order, all of them. What stands behind
/// goes on.
pub(super) const ASIDE_MAX: usize = 500;

impl Queues {
    /// A run has ended, for good or for now. False: it is none of those in flight, but a former start of one of them.
    pub fn ended(&mut self, queue: Queue, run: RunId, claim: ClaimId) -> bool {
        let Some(ended) = self.landed(queue, run, claim) else { return false };
        let state = self.queues.get_mut(&queue);
        if state.is_some_and(|state| state.lanes.keys.release(ended.key) && !state.is_stopped()) {
            // Somebody may have waited for the key.
            self.wake(queue, Lane::Keyed, RunId(0));
        }
        self.forget_if_idle(queue);
        true
    }

    /// A run was not begun, because it is being cancelled. Nobody is woken for its key: the next one is the same run, until
    /// it is gone.
    pub fn barred(&mut self, queue: Queue, run: RunId, claim: ClaimId) {
        let Some(barred) = self.landed(queue, run, claim) else { return };
        if let Some(state) = self.queues.get_mut(&queue) {
            state.lanes.keys.release(barred.key);
        }
        self.forget_if_idle(queue);
    }

    /// A run was given back that is not to be fetched before then. Its account goes on meanwhile.
    pub fn put_aside(&mut self, queue: Queue, run: RunId, claim: ClaimId, until: Instant) {
        let Some(given_back) = self.landed(queue, run, claim) else { return };
        let Some(state) = self.queues.get_mut(&queue) else { return };
        if state.aside.len() < ASIDE_MAX {
            state.aside.insert(run, given_back);
            self.aside.push(Reverse((until, queue, run)));
            return;
        }
        state.lanes.keys.release(given_back.key);
        if state.lanes.pass_over(given_back.lane, run, until) {
            self.passed_over.push(Reverse((until, queue, given_back.lane)));
        }
    }

    /// Takes a run out of those in flight, and leaves its key.
    fn landed(&mut self, queue: Queue, run: RunId, claim: ClaimId) -> Option<InFlight> {
        let state = self.queues.get_mut(&queue)?;
        if state.in_flight.get(&run)?.claim != claim {
            return None;
        }
        let ended = state.in_flight.remove(&run)?;
        self.bytes_in_flight -= ended.payload_bytes;
        if let Some(count) = self.in_flight.get_mut(&queue.shard) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&queue.shard);
            }
        }
        if matches!(state.state, State::Saturated(_)) {
            state.state = State::Ready;
            self.ready.push_back(queue);
        }
        Some(ended)
    }

    /// A run was given back untouched; its account must wait.
    pub fn released(&mut self, queue: Queue, run: RunId, claim: ClaimId, until: Instant) {
        let in_flight = self.queues.get(&queue).and_then(|state| state.in_flight.get(&run));
        let Some(own) = in_flight.filter(|own| own.claim == claim).copied() else { return };
        self.wake(queue, own.lane, RunId(run.0 - 1));
        self.ended(queue, run, claim);
        let Some(state) = self.queues.get_mut(&queue) else { return };
        state.state = State::Throttled(until);
        state.deficit = 0;
        self.ready.retain(|ready| *ready != queue);
        self.throttled.push(Reverse((until, queue)));
    }

    /// Looks again at what was passed over until now.
    pub(super) fn take_up(&mut self, now: Instant) {
        while let Some(Reverse((until, queue, lane))) = self.passed_over.peek().copied() {
            if until > now {
                return;
            }
            self.passed_over.pop();
            if self.queues.get_mut(&queue).is_some_and(|state| state.lanes.take_up(lane, until)) {
                self.wake(queue, lane, RunId(0));
            }
        }
    }

    /// Makes runs fit to be fetched again that were put aside until now.
    pub(super) fn take_back(&mut self, now: Instant) {
        while let Some(Reverse((until, queue, run))) = self.aside.peek().copied() {
            if until > now {
                return;
            }
            self.aside.pop();
            // Its shard may be another host's by now.
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            let Some(aside) = state.aside.remove(&run) else { continue };
            state.lanes.keys.release(aside.key);
            self.wake(queue, aside.lane, RunId(run.0 - 1));
        }
    }
}
