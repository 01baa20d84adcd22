//! The accounts that have work, as the scheduler turns them over. Pure: time and permits are arguments.
//!
//! ```text
//!             wake                    no permit left
//!   EMPTY ───────────► READY ───────────────────────► THROTTLED until t
//!     ▲                 │ ▲                               │
//!     └── fetched less ─┘ └────────── t has come ─────────┘
//!         than asked
//! ```
//!
//! READY becomes SATURATED while its runs in flight take all that it may have, and READY again when one of them ends.
//!
//! Accounts, not jobs, are what it turns over: a throttled account is not fetched, however many jobs it has, and an
//! account without work takes no memory.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use trellis_model::{AccountId, ClaimId, RunId, Shard};
use trellis_store::jobs::FetchAccount;

use crate::limiter::Permit;

/// Jobs of one fetch at most.
const FETCH_JOBS_MAX: usize = 500;
/// Before an account is looked at again whose permits went in the same moment.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct Queues {
    accounts: HashMap<AccountId, AccountQueue>,
    ready: VecDeque<AccountId>,
    throttled: BinaryHeap<Reverse<(Instant, AccountId)>>,
}

#[derive(Debug)]
struct AccountQueue {
    state: State,
    /// Runs up to here were fetched.
    cursor: RunId,
    /// With the claim that each was fetched under: the same run may be fetched again under another one.
    in_flight: HashMap<RunId, ClaimId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Throttled(Instant),
    /// Every permit left, or the account's share of the host, is spoken for by runs in flight: ready again when one ends.
    Saturated,
    Empty,
}

/// What the limiter says of an account.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub permit: Permit,
    pub permits: u32,
}

/// What to fetch next.
#[derive(Debug, Default)]
pub struct Turn {
    pub accounts: Vec<FetchAccount>,
    /// Runs in flight of these accounts that lie behind their cursor.
    pub in_flight: Vec<RunId>,
}

impl Queues {
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn ready_accounts(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.ready.iter().copied()
    }

    /// An account has jobs, the first of them behind `cursor` as far as is known.
    pub fn wake(&mut self, account: AccountId, cursor: RunId) {
        let queue = self.accounts.entry(account).or_insert_with(|| AccountQueue {
            state: State::Empty,
            cursor,
            in_flight: HashMap::new(),
        });
        queue.cursor = queue.cursor.min(cursor);
        if queue.state == State::Empty {
            queue.state = State::Ready;
            self.ready.push_back(account);
        }
    }

    /// Chooses accounts in turn, with an even share of `room` for each, within their allowances, and each with no more than
    /// `runs_max` runs in flight: slow runs of one account must not fill the host.
    pub fn turn(
        &mut self,
        room: usize,
        runs_max: usize,
        now: Instant,
        allowance: impl Fn(AccountId) -> Allowance,
    ) -> Turn {
        let room = room.min(FETCH_JOBS_MAX);
        let candidates = self.ready.len().min(room);
        let share = room.checked_div(candidates).unwrap_or(0);
        let mut turn = Turn::default();
        for account in self.ready.drain(..candidates).collect::<Vec<_>>() {
            let allowance = allowance(account);
            let Some(queue) = self.accounts.get_mut(&account) else { continue };
            if let Permit::Wait(wait) = allowance.permit {
                let until = now + wait;
                queue.state = State::Throttled(until);
                self.throttled.push(Reverse((until, account)));
                continue;
            }
            let unspoken = (allowance.permits as usize).min(runs_max).saturating_sub(queue.in_flight.len());
            let count = share.min(unspoken);
            if count == 0 && queue.in_flight.is_empty() {
                // Permits went between two looks; look again soon.
                let until = now + LOOK_AGAIN;
                queue.state = State::Throttled(until);
                self.throttled.push(Reverse((until, account)));
                continue;
            }
            if count == 0 {
                queue.state = State::Saturated;
                continue;
            }
            turn.in_flight.extend(queue.in_flight.keys().filter(|run| **run > queue.cursor));
            turn.accounts.push(FetchAccount {
                shard: Shard::of(account),
                account,
                cursor: queue.cursor,
                count: i64::try_from(count).expect("a share of at most FETCH_JOBS_MAX"),
            });
        }
        turn
    }

    /// Notes what came of a fetch: the runs now in flight. An account that gave all it was asked for may have more.
    pub fn fetched(&mut self, asked: &FetchAccount, runs: &[(RunId, ClaimId)]) {
        let Some(queue) = self.accounts.get_mut(&asked.account) else { return };
        queue.in_flight.extend(runs.iter().copied());
        if let Some((last, _)) = runs.iter().max() {
            queue.cursor = queue.cursor.max(*last);
        }
        if runs.len() as i64 >= asked.count {
            queue.state = State::Ready;
            self.ready.push_back(asked.account);
        } else {
            queue.state = State::Empty;
            self.forget_if_idle(asked.account);
        }
    }

    /// A fetch that failed: the accounts keep their turn.
    pub fn not_fetched(&mut self, turn: &Turn) {
        self.ready.extend(turn.accounts.iter().map(|asked| asked.account));
    }

    /// A run has ended, for good or for now. False: it is none of those in flight, but a former start of one of them.
    pub fn ended(&mut self, account: AccountId, run: RunId, claim: ClaimId) -> bool {
        let Some(queue) = self.accounts.get_mut(&account) else { return false };
        if queue.in_flight.get(&run) != Some(&claim) {
            return false;
        }
        queue.in_flight.remove(&run);
        if queue.state == State::Saturated {
            queue.state = State::Ready;
            self.ready.push_back(account);
        }
        self.forget_if_idle(account);
        true
    }

    /// A run was given back untouched; its account must wait.
    pub fn released(&mut self, account: AccountId, run: RunId, claim: ClaimId, until: Instant) {
        if self.accounts.get(&account).is_none_or(|queue| queue.in_flight.get(&run) != Some(&claim)) {
            return;
        }
        self.wake(account, RunId(run.0 - 1));
        self.ended(account, run, claim);
        let Some(queue) = self.accounts.get_mut(&account) else { return };
        queue.state = State::Throttled(until);
        self.ready.retain(|ready| *ready != account);
        self.throttled.push(Reverse((until, account)));
    }

    /// Makes throttled accounts ready whose time has come.
    pub fn unthrottle(&mut self, now: Instant) {
        while let Some(Reverse((until, account))) = self.throttled.peek().copied() {
            if until > now {
                return;
            }
            self.throttled.pop();
            // Older entries of an account that was throttled again are passed over.
            let Some(queue) = self.accounts.get_mut(&account) else { continue };
            if queue.state == State::Throttled(until) {
                queue.state = State::Ready;
                self.ready.push_back(account);
            }
        }
    }

    /// When the next throttled account becomes ready.
    pub fn next_unthrottle(&self) -> Option<Instant> {
        self.throttled.peek().map(|Reverse((until, _))| *until)
    }

    /// Makes throttled accounts be looked at again: their limits changed.
    pub fn reconsider(&mut self, account: AccountId) {
        let Some(queue) = self.accounts.get_mut(&account) else { return };
        if matches!(queue.state, State::Throttled(_) | State::Saturated) {
            queue.state = State::Ready;
            self.ready.push_back(account);
        }
    }

    /// Stops fetching for the accounts of some shards. Those with runs in flight stay until these have ended.
    pub fn stop_shards(&mut self, is_stopped: impl Fn(Shard) -> bool) {
        self.ready.retain(|account| !is_stopped(Shard::of(*account)));
        for (account, queue) in &mut self.accounts {
            if is_stopped(Shard::of(*account)) {
                queue.state = State::Empty;
            }
        }
        self.accounts.retain(|account, queue| !queue.in_flight.is_empty() || !is_stopped(Shard::of(*account)));
    }

    pub fn has_in_flight(&self, shard: Shard) -> bool {
        self.accounts.iter().any(|(account, queue)| Shard::of(*account) == shard && !queue.in_flight.is_empty())
    }

    /// Forgets everything: the lease was lost.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_if_idle(&mut self, account: AccountId) {
        if self.accounts.get(&account).is_some_and(|queue| queue.state == State::Empty && queue.in_flight.is_empty()) {
            self.accounts.remove(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plenty(_: AccountId) -> Allowance {
        Allowance { permit: Permit::Granted, permits: 1_000 }
    }

    const CLAIM: ClaimId = ClaimId(9);

    fn claimed(runs: &[RunId]) -> Vec<(RunId, ClaimId)> {
        runs.iter().map(|run| (*run, CLAIM)).collect()
    }

    fn counts(turn: &Turn) -> Vec<(i64, i64)> {
        turn.accounts.iter().map(|one| (one.account.0, one.count)).collect()
    }

    #[test]
    fn room_is_shared_evenly_and_accounts_with_more_come_round_again() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        (1..=2).for_each(|account| queues.wake(AccountId(account), RunId(0)));
        let turn = queues.turn(10, 100, now, plenty);
        assert_eq!(counts(&turn), [(1, 5), (2, 5)]);
        queues.fetched(&turn.accounts[0], &claimed(&[RunId(1), RunId(2), RunId(3), RunId(4), RunId(5)]));
        queues.fetched(&turn.accounts[1], &claimed(&[RunId(6)]));
        assert_eq!(counts(&queues.turn(4, 100, now, plenty)), [(1, 4)]);
        assert_eq!(queues.accounts[&AccountId(1)].in_flight.len(), 5);
    }

    #[test]
    fn a_throttled_account_is_not_fetched_before_its_time() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        queues.wake(AccountId(1), RunId(0));
        let none_left = |_| Allowance { permit: Permit::Wait(Duration::from_secs(5)), permits: 0 };
        assert!(queues.turn(10, 100, now, none_left).accounts.is_empty());
        queues.wake(AccountId(1), RunId(3));
        assert!(!queues.has_ready(), "waking does not lift the throttle");
        queues.unthrottle(now + Duration::from_secs(4));
        assert!(!queues.has_ready());
        queues.unthrottle(now + Duration::from_secs(5));
        assert_eq!(counts(&queues.turn(10, 100, now, plenty)), [(1, 10)]);
    }

    #[test]
    fn permits_spoken_for_by_runs_in_flight_are_not_given_twice() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        let two = |_| Allowance { permit: Permit::Granted, permits: 2 };
        queues.wake(AccountId(1), RunId(0));
        let turn = queues.turn(10, 100, now, two);
        queues.fetched(&turn.accounts[0], &claimed(&[RunId(1), RunId(2)]));
        assert!(queues.turn(10, 100, now, two).accounts.is_empty());
        assert!(!queues.has_ready());
        assert!(queues.ended(AccountId(1), RunId(1), CLAIM));
        assert_eq!(counts(&queues.turn(10, 100, now, two)), [(1, 1)]);
    }

    #[test]
    fn a_late_commit_with_a_lower_id_is_fetched_and_runs_in_flight_are_not() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        queues.wake(AccountId(1), RunId(0));
        let turn = queues.turn(10, 100, now, plenty);
        queues.fetched(&turn.accounts[0], &claimed(&[RunId(5)]));
        queues.wake(AccountId(1), RunId(2));
        let turn = queues.turn(10, 100, now, plenty);
        assert_eq!((turn.accounts[0].cursor, turn.in_flight), (RunId(2), vec![RunId(5)]));
    }

    #[test]
    fn a_run_that_was_given_back_is_fetched_again_after_the_wait() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        queues.wake(AccountId(1), RunId(0));
        let turn = queues.turn(10, 100, now, plenty);
        queues.fetched(&turn.accounts[0], &claimed(&[RunId(5), RunId(6)]));
        queues.released(AccountId(1), RunId(5), CLAIM, now + Duration::from_secs(1));
        assert!(!queues.has_ready());
        queues.unthrottle(now + Duration::from_secs(1));
        let turn = queues.turn(10, 100, now, plenty);
        assert_eq!((turn.accounts[0].cursor, turn.in_flight), (RunId(4), vec![RunId(6)]));
    }

    #[test]
    fn an_idle_account_takes_no_memory() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        queues.wake(AccountId(1), RunId(0));
        let turn = queues.turn(10, 100, now, plenty);
        queues.fetched(&turn.accounts[0], &claimed(&[RunId(5)]));
        assert!(queues.ended(AccountId(1), RunId(5), CLAIM));
        assert!(queues.accounts.is_empty());
    }

    #[test]
    fn a_former_start_of_a_run_does_not_end_the_present_one() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        queues.wake(AccountId(1), RunId(0));
        let turn = queues.turn(10, 100, now, plenty);
        queues.fetched(&turn.accounts[0], &claimed(&[RunId(5)]));
        assert!(!queues.ended(AccountId(1), RunId(5), ClaimId(8)));
        assert!(queues.has_in_flight(Shard::of(AccountId(1))));
    }

    #[test]
    fn slow_runs_of_one_account_do_not_fill_the_host() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        queues.wake(AccountId(1), RunId(0));
        let turn = queues.turn(10, 2, now, plenty);
        assert_eq!(counts(&turn), [(1, 2)]);
        queues.fetched(&turn.accounts[0], &claimed(&[RunId(1), RunId(2)]));
        assert!(queues.turn(10, 2, now, plenty).accounts.is_empty());
    }
}
