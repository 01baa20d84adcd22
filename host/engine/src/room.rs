//! Room for running guests: instances, and memory for as much as each may use, shared out to accounts in turn.
//!
//! ```text
//!   enter ──► its account's line ──turn, and room for it──► Place ──dropped──► room for the next
//! ```
//!
//! A call reserves the memory that it was promised before it begins, so that no guest is refused memory because of others:
//! who finds too little waits. The first in turn that does not fit holds up those behind it, or a large call would never
//! find room; an account that holds its share is passed over. Knows nothing of what guests do with the room.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use trellis_model::AccountId;

/// Cheap to clone; all clones are the same room.
#[derive(Clone)]
pub(crate) struct Room(Arc<Mutex<State>>);

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomSize {
    pub instances: u32,
    pub bytes: u64,
    /// The most of both that one account may hold, in percent.
    pub account_percent: u32,
}

struct State {
    size: RoomSize,
    instances_left: u32,
    bytes_left: u64,
    /// Those that hold or want something.
    accounts: HashMap<AccountId, Lane>,
    /// Those that want something, the next one first.
    turns: VecDeque<AccountId>,
}

#[derive(Default)]
struct Lane {
    instances: u32,
    bytes: u64,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    bytes: u64,
    told: oneshot::Sender<Place>,
}

/// What one call holds; dropped, it is given to the next in turn.
pub(crate) struct Place {
    room: Room,
    account: AccountId,
    bytes: u64,
    is_held: bool,
}

impl Room {
    pub fn new(size: RoomSize) -> Self {
        Self(Arc::new(Mutex::new(State {
            size,
            instances_left: size.instances,
            bytes_left: size.bytes,
            accounts: HashMap::new(),
            turns: VecDeque::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an instance with so many bytes of memory. A call that may use more than there is gets all there is.
    pub async fn enter(&self, account: AccountId, bytes: u64) -> Place {
        let turn = {
            let mut state = self.lock();
            let bytes = bytes.min(state.size.bytes);
            if state.turns.is_empty() && state.has_room(account, bytes) {
                state.take(account, bytes);
                return self.place(account, bytes);
            }
            let (told, turn) = oneshot::channel();
            let lane = state.accounts.entry(account).or_default();
            lane.waiting.push_back(Waiter { bytes, told });
            if lane.waiting.len() == 1 {
                state.turns.push_back(account);
            }
            // Those before it may all be of accounts that hold their share.
            self.hand_out(&mut state);
            turn
        };
        turn.await.expect("who waits is told, and kept by this very room until then")
    }

    fn place(&self, account: AccountId, bytes: u64) -> Place {
        Place { room: self.clone(), account, bytes, is_held: true }
    }

    /// Gives what is free to those who wait, in turn.
    fn hand_out(&self, state: &mut State) {
        let mut passed_over = 0;
        while passed_over < state.turns.len() {
            let Some(account) = state.turns.pop_front() else { return };
            let Some(bytes) = state.next_of(account) else {
                // All who waited have given up.
                state.forget_if_empty(account);
                continue;
            };
            if state.holds_its_share(account, bytes) {
                state.turns.push_back(account);
                passed_over += 1;
            } else if state.fits(bytes) {
                self.admit(state, account, bytes);
                passed_over = 0;
            } else {
                state.turns.push_front(account);
                return;
            }
        }
    }

    fn admit(&self, state: &mut State, account: AccountId, bytes: u64) {
        let Some(lane) = state.accounts.get_mut(&account) else { return };
        let waiter = lane.waiting.pop_front();
        if !lane.waiting.is_empty() {
            state.turns.push_back(account);
        }
        state.take(account, bytes);
        let told = waiter.map(|waiter| waiter.told.send(self.place(account, bytes)));
        if let Some(Err(mut place)) = told {
            // It gave up at this very moment. The lock is held: its drop must not take it again.
            place.is_held = false;
            state.give_back(account, bytes);
        }
    }
}

impl State {
    fn has_room(&self, account: AccountId, bytes: u64) -> bool {
        self.fits(bytes) && !self.holds_its_share(account, bytes)
    }

    fn fits(&self, bytes: u64) -> bool {
        self.instances_left > 0 && self.bytes_left >= bytes
    }

    /// Whether so much more would be over the account's share. One call is never too much.
    fn holds_its_share(&self, account: AccountId, bytes: u64) -> bool {
        let Some(lane) = self.accounts.get(&account).filter(|lane| lane.instances > 0) else { return false };
        let percent = u64::from(self.size.account_percent);
        let part = |all: u64| all / 100 * percent + all % 100 * percent / 100;
        u64::from(lane.instances) + 1 > part(self.size.instances.into()) || lane.bytes + bytes > part(self.size.bytes)
    }

    /// What the first of an account wants that still waits.
    fn next_of(&mut self, account: AccountId) -> Option<u64> {
        let lane = self.accounts.get_mut(&account)?;
        while lane.waiting.front().is_some_and(|waiter| waiter.told.is_closed()) {
            lane.waiting.pop_front();
        }
        lane.waiting.front().map(|waiter| waiter.bytes)
    }

    fn take(&mut self, account: AccountId, bytes: u64) {
        self.instances_left -= 1;
        self.bytes_left -= bytes;
        let lane = self.accounts.entry(account).or_default();
        lane.instances += 1;
        lane.bytes += bytes;
    }

    fn give_back(&mut self, account: AccountId, bytes: u64) {
        self.instances_left += 1;
        self.bytes_left += bytes;
        if let Some(lane) = self.accounts.get_mut(&account) {
            lane.instances -= 1;
            lane.bytes -= bytes;
        }
        self.forget_if_empty(account);
    }

    fn forget_if_empty(&mut self, account: AccountId) {
        if self.accounts.get(&account).is_some_and(|lane| lane.instances == 0 && lane.waiting.is_empty()) {
            self.accounts.remove(&account);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_held {
            return;
        }
        let mut state = self.room.lock();
        state.give_back(self.account, self.bytes);
        self.room.hand_out(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::Pin};

    use futures_util::FutureExt;

    use super::*;

    const HOG: AccountId = AccountId(1);
    const NEIGHBOUR: AccountId = AccountId(2);

    type Entering<'r> = Pin<Box<dyn Future<Output = Place> + 'r>>;

    fn room(instances: u32, bytes: u64, account_percent: u32) -> Room {
        Room::new(RoomSize { instances, bytes, account_percent })
    }

    fn enter(room: &Room, account: AccountId, bytes: u64) -> Place {
        room.enter(account, bytes).now_or_never().expect("there is room")
    }

    /// Somebody who has to wait.
    fn wait(room: &Room, account: AccountId, bytes: u64) -> Entering<'_> {
        let mut waiting: Entering<'_> = Box::pin(room.enter(account, bytes));
        assert!(waiting.as_mut().now_or_never().is_none(), "it has to wait");
        waiting
    }

    fn is_empty(room: &Room) -> bool {
        let state = room.lock();
        let is_whole = state.instances_left == state.size.instances && state.bytes_left == state.size.bytes;
        is_whole && state.accounts.is_empty() && state.turns.is_empty()
    }

    #[test]
    fn one_account_never_holds_everything() {
        let room = room(4, 1_000, 75);
        let held: Vec<Place> = (0..3).map(|_| enter(&room, HOG, 10)).collect();
        let fourth = wait(&room, HOG, 10);
        let neighbour = enter(&room, NEIGHBOUR, 10);
        drop(neighbour);
        drop(held);
        assert!(fourth.now_or_never().is_some());
        assert!(is_empty(&room), "nothing is kept of those that are gone");
    }

    #[test]
    fn memory_is_shared_as_instances_are() {
        let room = room(100, 1_000, 50);
        let held = enter(&room, HOG, 400);
        let more = wait(&room, HOG, 200);
        let neighbour = enter(&room, NEIGHBOUR, 500);
        drop((held, neighbour));
        assert!(more.now_or_never().is_some());
    }

    #[test]
    fn accounts_take_turns_however_many_calls_one_has_waiting() {
        let room = room(1, 1_000, 100);
        let held = enter(&room, AccountId(3), 10);
        let mut hogs: Vec<_> = (0..5).map(|_| wait(&room, HOG, 10)).collect();
        let mut neighbours: Vec<_> = (0..2).map(|_| wait(&room, NEIGHBOUR, 10)).collect();
        drop(held);
        for is_hog in [true, false, true, false, true, true] {
            let waiting = if is_hog { &mut hogs } else { &mut neighbours };
            drop(waiting.remove(0).now_or_never().expect("it is its turn"));
        }
    }

    #[test]
    fn a_large_call_is_not_passed_by_small_ones_for_ever() {
        let room = room(10, 1_000, 100);
        let held = enter(&room, HOG, 600);
        let large = wait(&room, NEIGHBOUR, 800);
        let small = wait(&room, AccountId(3), 10);
        drop(held);
        let large = large.now_or_never().expect("now it fits");
        assert!(small.now_or_never().is_some());
        drop(large);
    }

    #[test]
    fn who_wants_more_than_there_is_gets_all_of_it() {
        let room = room(10, 1_000, 50);
        let all = enter(&room, HOG, u64::MAX);
        let other = wait(&room, NEIGHBOUR, 1);
        drop(all);
        assert!(other.now_or_never().is_some());
    }

    #[test]
    fn who_gives_up_keeps_nobody_from_a_place() {
        let room = room(1, 1_000, 100);
        let held = enter(&room, HOG, 10);
        drop(wait(&room, NEIGHBOUR, 10));
        let next = wait(&room, AccountId(3), 10);
        drop(held);
        drop(next.now_or_never().expect("the one before it has given up"));
        let held = enter(&room, HOG, 10);
        let given = wait(&room, NEIGHBOUR, 10);
        // It is told, and gives up before it looks.
        drop(held);
        drop(given);
        assert!(is_empty(&room));
    }
}
