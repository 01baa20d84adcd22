//! The queues that have work, as the scheduler turns them over. Pure: time and permits are arguments.
//!
//! ```text
//!             wake                    no permit left
//!   EMPTY ───────────► READY ───────────────────────► THROTTLED until t
//!     ▲                 │ ▲                               │
//!     └─ all lanes ─────┘ └────────── t has come ─────────┘
//!        asleep
//! ```
//!
//! READY becomes SATURATED while its runs in flight take all that it may have, and READY again when one of them ends, or
//! soon if it was permits that they were about to take.
//!
//! Queues, not jobs, are what it turns over: a throttled account is not fetched, however many jobs it has, and an account
//! without work takes no memory. An account has one queue; one that is spread has one for each part, each with a place of
//! its own in the ring.
//!
//! Who is next is said by deficit round robin (Shreedhar and Varghese, 1995): whoever comes to the front of the ring may
//! start as many runs as its weight says, times the same for all; what did not fit into the host's room it may start when
//! there is room again, before the next one's turn. Runs are what is counted, not the calls that they make. Whoever has
//! nothing to run, or may not, gives up what it had left: nobody saves up for later.

mod ends;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use trellis_model::{AccountId, ClaimId, ConcurrencyKey, Lane, Queue, RunId, Shard, ids::SPREAD_MAX};
use trellis_store::{
    fail_point,
    fetch::{FetchKey, FetchLane, FindKeys, FoundKey},
};

use super::lanes::Lanes;
use crate::limiter::Permit;

/// Jobs of one fetch at most.
const FETCH_JOBS_MAX: usize = 500;
/// Before an account is looked at again whose permits were all about to be taken, or whose next keys were all held.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub struct Queues {
    queues: HashMap<Queue, QueueState>,
    ready: VecDeque<Queue>,
    throttled: BinaryHeap<Reverse<(Instant, Queue)>>,
    /// Runs that were put aside, and until when.
    aside: BinaryHeap<Reverse<(Instant, Queue, RunId)>>,
    /// Lanes of which the beginning is passed over, and until when.
    passed_over: BinaryHeap<Reverse<(Instant, Queue, Lane)>>,
    /// Runs in flight of each shard that has any.
    in_flight: HashMap<Shard, usize>,
    /// Payloads of all runs in flight.
    bytes_in_flight: usize,
}

#[derive(Debug)]
struct QueueState {
    state: State,
    lanes: Lanes,
    in_flight: HashMap<RunId, InFlight>,
    /// Runs that are not in flight and not to be fetched for a while. They go on holding their keys.
    aside: HashMap<RunId, InFlight>,
    /// Runs that it may still start in its turn.
    deficit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Throttled(Instant),
    /// Every permit left, or the account's share of the host, is spoken for by runs in flight: ready again when one ends. At
    /// the latest at this time, if it was the permits: whether they were taken and when the window turns is seen then.
    Saturated(Option<Instant>),
    Empty,
}

impl State {
    /// When it becomes ready by itself.
    fn due(self) -> Option<Instant> {
        match self {
            Self::Throttled(until) => Some(until),
            Self::Saturated(until) => until,
            Self::Ready | Self::Empty => None,
        }
    }
}

/// A run that was started and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub run: RunId,
    pub lane: Lane,
    /// The claim it was fetched under: the same run may be fetched again under another one.
    pub claim: ClaimId,
    pub key: Option<ConcurrencyKey>,
    pub payload_bytes: usize,
}

/// What a queue may have.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub permit: Permit,
    /// Modules that may be instantiated in the present window, besides the first ones of runs in flight.
    pub permits: u32,
    /// Runs in flight at most.
    pub runs_max: usize,
    pub weight: u32,
}

/// What to fetch next.
#[derive(Debug, Default)]
pub struct Turn {
    pub asked: Vec<Asked>,
    /// Runs in flight or aside that would be found again.
    pub in_flight: Vec<RunId>,
}

/// What one queue is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub queue: Queue,
    pub lane: Lane,
    pub cursor: RunId,
    pub count: usize,
}

impl Turn {
    /// What to fetch by cursor.
    pub fn lanes(&self) -> Vec<FetchLane> {
        let by_cursor = self.asked.iter().filter(|asked| asked.lane != Lane::Keyed);
        let lane = |asked: &Asked| FetchLane {
            queue: asked.queue,
            lane: asked.lane,
            cursor: asked.cursor,
            count: i64::try_from(asked.count).expect("at most FETCH_JOBS_MAX"),
        };
        by_cursor.map(lane).collect()
    }
}

impl Queues {
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn ready_queues(&self) -> impl Iterator<Item = Queue> + '_ {
        self.ready.iter().copied()
    }

    /// Payloads of all runs in flight, in bytes.
    pub fn bytes_in_flight(&self) -> usize {
        self.bytes_in_flight
    }

    /// A lane has jobs, the first of them behind `cursor` as far as is known.
    pub fn wake(&mut self, queue: Queue, lane: Lane, cursor: RunId) {
        let state = self.queues.entry(queue).or_insert_with(|| QueueState {
            state: State::Empty,
            lanes: Lanes::default(),
            in_flight: HashMap::new(),
            aside: HashMap::new(),
            deficit: 0,
        });
        state.lanes.wake(lane, cursor);
        if state.state == State::Empty {
            state.state = State::Ready;
            self.ready.push_back(queue);
        }
    }

    /// Shares `room` out among the queues at the front of the ring, each within its allowance.
    pub fn turn(&mut self, room: usize, now: Instant, allowance: impl Fn(Queue) -> Allowance) -> Turn {
        let mut room = room.min(FETCH_JOBS_MAX);
        let chosen: Vec<(Queue, Allowance)> =
            self.ready.iter().take(room).map(|queue| (*queue, allowance(*queue))).collect();
        let weights: usize = chosen.iter().map(|(_, allowance)| allowance.weight as usize).sum();
        let quantum = quantum(room, weights);
        let mut turn = Turn::default();
        for (queue, allowance) in chosen {
            if room == 0 {
                break;
            }
            self.ready.pop_front();
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            match state.ask(queue, allowance, quantum, room, now) {
                Ok(asked) => {
                    room -= asked.count;
                    turn.in_flight.extend(state.found_again(asked));
                    turn.asked.push(asked);
                }
                Err(rest) => {
                    state.deficit = 0;
                    state.state = rest;
                    self.throttled.extend(rest.due().map(|due| Reverse((due, queue))));
                }
            }
        }
        turn
    }

    /// Which keys to look at for what was asked of keyed lanes.
    pub fn keys_to_find(&self, turn: &Turn) -> Vec<FindKeys> {
        let keyed = turn.asked.iter().filter(|asked| asked.lane == Lane::Keyed);
        let find = |asked: &Asked| {
            let (cursor, count) = self.queues.get(&asked.queue)?.lanes.keys.look(asked.count);
            Some(FindKeys { queue: asked.queue, cursor, count: i64::try_from(count).expect("far fewer") })
        };
        keyed.filter_map(find).collect()
    }

    /// How many jobs of which keys to fetch: as many as were asked for, and of each key as many as may hold it.
    pub fn choose_keys(&mut self, turn: &Turn, looked: &[FindKeys], found: &[FoundKey]) -> Vec<FetchKey> {
        let mut wanted = Vec::new();
        for find in looked {
            let asked = turn.asked.iter().find(|asked| asked.queue == find.queue && asked.lane == Lane::Keyed);
            let (Some(asked), Some(state)) = (asked, self.queues.get_mut(&find.queue)) else { continue };
            let found: Vec<FoundKey> = found.iter().filter(|key| key.queue == find.queue).copied().collect();
            let is_end = (found.len() as i64) < find.count;
            for (hash, count) in state.lanes.keys.choose(asked.count, &found, is_end) {
                let count = i64::try_from(count).expect("at most FETCH_JOBS_MAX");
                wanted.push(FetchKey { queue: find.queue, hash, count });
            }
        }
        wanted
    }

    /// Notes what came of a turn: the runs now in flight. A lane that gave all it was asked for may have more; `is_cut`
    /// says that others may have more, too, because there was too much to be taken at once.
    pub fn fetched(&mut self, asked: &Asked, runs: &[InFlight], is_cut: bool, now: Instant) {
        let Some(state) = self.queues.get_mut(&asked.queue) else { return };
        for run in runs {
            state.lanes.keys.hold(run.key);
            state.in_flight.insert(run.run, *run);
            self.bytes_in_flight += run.payload_bytes;
        }
        if !runs.is_empty() {
            *self.in_flight.entry(asked.queue.shard).or_default() += runs.len();
        }
        let last = runs.iter().map(|run| run.run).max();
        state.lanes.fetched(asked.lane, last, runs.len() < asked.count && !is_cut, runs.is_empty());
        if !state.lanes.is_any_awake() {
            state.state = State::Empty;
            state.deficit = 0;
            return self.forget_if_idle(asked.queue);
        }
        if runs.is_empty() && state.lanes.is_in_vain(asked.lane) {
            state.deficit = 0;
            state.state = State::Throttled(now + LOOK_AGAIN);
            self.throttled.push(Reverse((now + LOOK_AGAIN, asked.queue)));
            return;
        }
        // What this lane had not may come from another.
        state.deficit += asked.count - runs.len().min(asked.count);
        state.state = State::Ready;
        if state.keeps_its_turn() { self.ready.push_front(asked.queue) } else { self.ready.push_back(asked.queue) }
    }

    /// A turn that failed: the queues keep it.
    pub fn not_fetched(&mut self, turn: &Turn) {
        for asked in turn.asked.iter().rev() {
            if let Some(state) = self.queues.get_mut(&asked.queue) {
                state.deficit += asked.count;
                // What was chosen may never have come.
                state.lanes.wake(asked.lane, asked.cursor);
                self.ready.push_front(asked.queue);
            }
        }
    }

    /// Makes throttled queues ready whose time has come, and runs that were put aside fit to be fetched again.
    pub fn unthrottle(&mut self, now: Instant) {
        self.take_back(now);
        self.take_up(now);
        while let Some(Reverse((until, queue))) = self.throttled.peek().copied() {
            if until > now {
                return;
            }
            self.throttled.pop();
            // Older entries of a queue that was throttled again are passed over.
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            if state.state.due() == Some(until) {
                state.state = State::Ready;
                self.ready.push_back(queue);
            }
        }
    }

    /// When the next throttled queue becomes ready, or the next run is aside no more.
    pub fn next_unthrottle(&self) -> Option<Instant> {
        let queue = self.throttled.peek().map(|Reverse((until, _))| *until);
        let run = self.aside.peek().map(|Reverse((until, ..))| *until);
        let lane = self.passed_over.peek().map(|Reverse((until, ..))| *until);
        queue.into_iter().chain(run).chain(lane).min()
    }

    /// Makes throttled queues of an account be looked at again: its limits changed.
    pub fn reconsider(&mut self, account: AccountId) {
        for queue in Queue::parts(account, SPREAD_MAX) {
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            if matches!(state.state, State::Throttled(_) | State::Saturated(_)) {
                state.state = State::Ready;
                self.ready.push_back(queue);
            }
        }
    }

    /// Stops fetching from some shards. Queues with runs in flight stay until these have ended.
    pub fn stop_shards(&mut self, is_stopped: impl Fn(Shard) -> bool) {
        self.ready.retain(|queue| !is_stopped(queue.shard));
        for (_, state) in self.queues.iter_mut().filter(|(queue, _)| is_stopped(queue.shard)) {
            state.state = State::Empty;
            state.lanes.stop();
            state.aside.clear();
        }
        self.queues.retain(|queue, state| !state.in_flight.is_empty() || !is_stopped(queue.shard));
    }

    pub fn has_in_flight(&self, shard: Shard) -> bool {
        self.in_flight.contains_key(&shard)
    }

    /// Forgets some shards, and what is in flight there: they were lost.
    pub fn forget_shards(&mut self, is_lost: impl Fn(Shard) -> bool) {
        self.ready.retain(|queue| !is_lost(queue.shard));
        self.throttled.retain(|Reverse((_, queue))| !is_lost(queue.shard));
        self.aside.retain(|Reverse((_, queue, _))| !is_lost(queue.shard));
        self.passed_over.retain(|Reverse((_, queue, _))| !is_lost(queue.shard));
        self.in_flight.retain(|shard, _| !is_lost(*shard));
        let lost = self.queues.extract_if(|queue, _| is_lost(queue.shard));
        self.bytes_in_flight -=
            lost.flat_map(|(_, state)| state.in_flight.into_values()).map(|run| run.payload_bytes).sum::<usize>();
    }

    /// Forgets everything: the lease was lost.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_if_idle(&mut self, queue: Queue) {
        if self.queues.get(&queue).is_some_and(QueueState::is_idle) {
            self.queues.remove(&queue);
        }
    }
}

impl QueueState {
    /// What the queue is asked for now, or how it rests.
    fn ask(
        &mut self,
        queue: Queue,
        allowance: Allowance,
        quantum: usize,
        room: usize,
        now: Instant,
    ) -> Result<Asked, State> {
        if let Permit::Wait(wait) = allowance.permit {
            return Err(State::Throttled(now + wait));
        }
        // Permits that runs in flight have taken are not among those left; they do not count against them a second time.
        let permits = allowance.permits as usize;
        let unspoken = permits.min(allowance.runs_max.saturating_sub(self.in_flight.len()));
        if unspoken == 0 {
            let is_for_a_moment = permits == 0 || self.in_flight.is_empty();
            return Err(State::Saturated(is_for_a_moment.then(|| now + LOOK_AGAIN)));
        }
        if self.deficit == 0 {
            self.deficit = quantum * allowance.weight as usize;
        }
        let count = self.deficit.min(unspoken).min(room);
        // What its own limits keep it from is nothing that it could make up for.
        self.deficit = self.deficit.min(unspoken) - count;
        let (lane, cursor) = self.lanes.next();
        Ok(Asked { queue, lane, cursor, count })
    }

    /// Runs in flight or aside that a fetch would find again.
    fn found_again(&self, asked: Asked) -> impl Iterator<Item = RunId> + '_ {
        let is_found =
            move |run: &&InFlight| run.lane == asked.lane && (asked.lane == Lane::Keyed || run.run > asked.cursor);
        self.in_flight.values().chain(self.aside.values()).filter(is_found).map(|run| run.run)
    }

    /// Whether it goes on before the next one's turn.
    fn keeps_its_turn(&self) -> bool {
        fail_point!("fair-turns-off", true);
        self.deficit > 0
    }

    fn is_idle(&self) -> bool {
        let has_runs = !self.in_flight.is_empty() || !self.aside.is_empty() || self.lanes.is_any_passed_over();
        self.state == State::Empty && !has_runs
    }

    fn is_stopped(&self) -> bool {
        self.lanes.is_stopped()
    }
}

/// Runs that a queue of weight 1 may start in its turn, when `room` is shared out among queues of these weights.
fn quantum(room: usize, weights: usize) -> usize {
    fail_point!("fair-turns-off", room);
    room.checked_div(weights).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests;
