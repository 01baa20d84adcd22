//! The lanes of one queue: which of them may have jobs, up to where they were fetched, and which keys are held.
//!
//! Knows nothing of other queues, and not how many runs may be started.

use std::{collections::HashMap, time::Instant};

use trellis_model::{ConcurrencyKey, Lane, RunId, place::LANE_COUNT};
use trellis_store::fetch::FoundKey;

/// Keys looked at besides those that are asked for or held: some of those found may be held by runs that wait. Twice as many
/// after every look in vain, up to the second number.
const SPARE_KEYS: usize = 16;
const SPARE_KEYS_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Lanes {
    lines: [Line; LANE_COUNT],
    pub(super) keys: Keys,
    /// NORMAL and KEYED take turns.
    is_keyed_next: bool,
    is_stopped: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// There may be jobs behind the cursor.
    is_awake: bool,
    /// Runs up to here were fetched.
    cursor: Option<RunId>,
    /// Runs up to here are passed over until then. Of KEYED, which has no order, all of them.
    passed_over: Option<(RunId, Instant)>,
}

impl Lanes {
    fn line(&mut self, lane: Lane) -> &mut Line {
        &mut self.lines[lane as usize]
    }

    fn is_awake(&self, lane: Lane) -> bool {
        let line = self.lines[lane as usize];
        line.is_awake && (lane != Lane::Keyed || line.passed_over.is_none())
    }

    pub(super) fn is_any_awake(&self) -> bool {
        Lane::ALL.into_iter().any(|lane| self.is_awake(lane))
    }

    /// Passes over the runs of a lane up to this one, however it is woken. True: until then; false: until somebody said
    /// before, that is, sooner.
    pub(super) fn pass_over(&mut self, lane: Lane, run: RunId, until: Instant) -> bool {
        let line = self.line(lane);
        let before = line.passed_over;
        line.passed_over = Some(before.map_or((run, until), |(last, until)| (last.max(run), until)));
        before.is_none()
    }

    /// Passes over nothing any more, if it was to be until then.
    pub(super) fn take_up(&mut self, lane: Lane, until: Instant) -> bool {
        self.line(lane).passed_over.take_if(|(_, time)| *time == until).is_some()
    }

    pub(super) fn is_any_passed_over(&self) -> bool {
        self.lines.iter().any(|line| line.passed_over.is_some())
    }

    pub(super) fn wake(&mut self, lane: Lane, cursor: RunId) {
        if lane == Lane::Keyed {
            self.keys.is_worth_another_round = true;
        }
        self.is_stopped = false;
        let line = self.line(lane);
        line.is_awake = true;
        line.cursor = Some(line.cursor.map_or(cursor, |before| before.min(cursor)));
    }

    /// The lane whose turn it is, and its cursor.
    pub(super) fn next(&mut self) -> (Lane, RunId) {
        let lane = match (self.is_awake(Lane::Normal), self.is_awake(Lane::Keyed)) {
            _ if self.is_awake(Lane::High) => Lane::High,
            (true, true) => {
                self.is_keyed_next = !self.is_keyed_next;
                if self.is_keyed_next { Lane::Keyed } else { Lane::Normal }
            }
            (true, false) => Lane::Normal,
            (false, true) => Lane::Keyed,
            (false, false) => Lane::Low,
        };
        let line = self.line(lane);
        let passed_over = line.passed_over.map(|(run, _)| run).filter(|_| lane != Lane::Keyed);
        (lane, line.cursor.max(passed_over).unwrap_or(RunId(0)))
    }

    /// Notes the end of a fetch: the last run of it, whether the lane had less than was asked of it, and whether nothing.
    pub(super) fn fetched(&mut self, lane: Lane, last: Option<RunId>, had_less: bool, had_nothing: bool) {
        let is_asleep = if lane == Lane::Keyed { self.keys.is_asleep(had_less, had_nothing) } else { had_less };
        let line = self.line(lane);
        line.cursor = line.cursor.max(last);
        line.is_awake = !is_asleep;
    }

    /// Whether this lane, the only one that is awake, has just been looked at in vain.
    pub(super) fn is_in_vain(&self, lane: Lane) -> bool {
        let others = Lane::ALL.into_iter().any(|other| other != lane && self.is_awake(other));
        lane == Lane::Keyed && self.keys.is_in_vain() && !others
    }

    /// Puts all lanes to sleep: their shard goes to another host.
    pub(super) fn stop(&mut self) {
        self.lines = Default::default();
        self.is_stopped = true;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }
}

/// The keys of a queue, looked through in rounds.
#[derive(Debug)]
pub(super) struct Keys {
    /// Runs in flight of each key that has any.
    held: HashMap<i64, usize>,
    /// Keys up to here were looked at in this round.
    cursor: i64,
    /// The last look came to the end of the round.
    is_end: bool,
    /// The last look was a whole round by itself, and took all that it could.
    is_whole: bool,
    /// See [`SPARE_KEYS`].
    spare: usize,
    /// The last look found keys that are held, and more behind them.
    is_in_vain: bool,
    /// Something was started in this round, or has come or been freed meanwhile.
    is_worth_another_round: bool,
}

/// Before the first key: hashes are never negative.
const BEGINNING: i64 = -1;

impl Default for Keys {
    fn default() -> Self {
        Self {
            held: HashMap::new(),
            cursor: BEGINNING,
            is_end: false,
            is_whole: false,
            spare: SPARE_KEYS,
            is_in_vain: false,
            is_worth_another_round: false,
        }
    }
}

impl Keys {
    /// Behind which key to look for jobs to start, and at how many.
    pub(super) fn look(&self, count: usize) -> (i64, usize) {
        (self.cursor, count + self.held.len() + self.spare)
    }

    /// How many jobs to take of which of the keys that were found; `is_end` says that there are none behind them.
    pub(super) fn choose(&mut self, count: usize, found: &[FoundKey], is_end: bool) -> Vec<(i64, usize)> {
        let is_beginning = self.cursor == BEGINNING;
        let (mut left, mut chosen) = (count, Vec::new());
        for found in found {
            if left == 0 {
                break;
            }
            self.cursor = found.key.hash;
            let held = self.held.get(&found.key.hash).copied().unwrap_or(0) + usize::from(found.is_held);
            let room = found.key.holders_max().saturating_sub(held).min(left);
            if room > 0 {
                chosen.push((found.key.hash, room));
                left -= room;
            }
        }
        self.is_end = is_end && left > 0;
        self.is_whole = self.is_end && is_beginning;
        if self.is_end {
            self.cursor = BEGINNING;
        }
        self.is_in_vain = chosen.is_empty() && !self.is_end;
        self.spare = if self.is_in_vain { (self.spare * 2).min(SPARE_KEYS_MAX) } else { SPARE_KEYS };
        chosen
    }

    /// Whether to rest before the next look: one that holds a hundred thousand keys must not keep the scheduler busy.
    pub(super) fn is_in_vain(&self) -> bool {
        self.is_in_vain
    }

    /// Whether nothing can be started before somebody comes or frees a key.
    fn is_asleep(&mut self, had_less: bool, had_nothing: bool) -> bool {
        self.is_worth_another_round |= !had_nothing;
        if !self.is_end || !had_less {
            return false;
        }
        let was_worth_it = std::mem::take(&mut self.is_worth_another_round);
        self.is_whole || !was_worth_it
    }

    pub(super) fn hold(&mut self, key: Option<ConcurrencyKey>) {
        if let Some(key) = key {
            *self.held.entry(key.hash).or_default() += 1;
        }
    }

    /// Whether there was a key to give up.
    pub(super) fn release(&mut self, key: Option<ConcurrencyKey>) -> bool {
        let Some(key) = key else { return false };
        if let Some(count) = self.held.get_mut(&key.hash) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&key.hash);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use trellis_model::{AccountId, Queue};

    use super::*;

    fn found(hash: i64) -> FoundKey {
        let key = ConcurrencyKey { hash, runs_max: None };
        FoundKey { queue: Queue::home(AccountId(1)), key, is_held: false }
    }

    #[test]
    fn high_goes_first_low_goes_last_and_normal_and_keyed_take_turns() {
        let mut lanes = Lanes::default();
        Lane::ALL.iter().for_each(|lane| lanes.wake(*lane, RunId(0)));
        assert_eq!(lanes.next().0, Lane::High);
        lanes.fetched(Lane::High, None, true, true);
        let four: Vec<Lane> = (0..4).map(|_| lanes.next().0).collect();
        assert_eq!(four, [Lane::Keyed, Lane::Normal, Lane::Keyed, Lane::Normal]);
        lanes.fetched(Lane::Normal, None, true, true);
        assert_eq!(lanes.next().0, Lane::Keyed);
        lanes.keys.choose(1, &[], true);
        lanes.fetched(Lane::Keyed, None, true, true);
        assert_eq!(lanes.next().0, Lane::Low);
    }

    #[test]
    fn a_held_key_is_passed_over_and_others_are_taken() {
        let mut keys = Keys::default();
        keys.hold(Some(found(5).key));
        let waiting = FoundKey { is_held: true, ..found(6) };
        assert_eq!(keys.choose(10, &[found(5), waiting, found(7)], true), [(7, 1)]);
        assert!(keys.release(Some(found(5).key)));
        assert_eq!(keys.choose(10, &[found(5)], true), [(5, 1)]);
    }

    #[test]
    fn a_key_that_several_may_hold_is_given_to_so_many() {
        let key = ConcurrencyKey { hash: 5, runs_max: Some(3) };
        let mut keys = Keys::default();
        keys.hold(Some(key));
        assert_eq!(keys.choose(10, &[FoundKey { key, ..found(5) }], true), [(5, 2)]);
        assert_eq!(keys.choose(1, &[FoundKey { key, ..found(5) }], true), [(5, 1)]);
    }

    #[test]
    fn a_look_at_nothing_but_held_keys_is_followed_by_a_wider_one() {
        let mut keys = Keys::default();
        let waiting: Vec<FoundKey> = (0..20).map(|hash| FoundKey { is_held: true, ..found(hash) }).collect();
        assert_eq!(keys.look(4), (BEGINNING, 4 + SPARE_KEYS));
        assert!(keys.choose(4, &waiting, false).is_empty() && keys.is_in_vain());
        assert_eq!(keys.look(4), (19, 4 + 2 * SPARE_KEYS));
        assert_eq!(keys.choose(4, &[found(30)], false), [(30, 1)]);
        assert!(!keys.is_in_vain());
        assert_eq!(keys.look(4), (30, 4 + SPARE_KEYS));
    }

    #[test]
    fn keys_are_looked_through_in_rounds_until_a_round_has_brought_nothing() {
        let mut lanes = Lanes::default();
        lanes.wake(Lane::Keyed, RunId(0));
        // The first look is full: the round goes on behind the last key.
        assert_eq!(lanes.keys.choose(2, &[found(3), found(4), found(9)], false), [(3, 1), (4, 1)]);
        lanes.fetched(Lane::Keyed, Some(RunId(2)), false, false);
        assert_eq!(lanes.keys.look(2).0, 4);
        lanes.keys.hold(Some(found(3).key));
        // The second comes to the end, but something was started in this round.
        assert!(lanes.keys.choose(2, &[], true).is_empty());
        lanes.fetched(Lane::Keyed, None, true, true);
        assert!(lanes.is_any_awake());
        assert_eq!(lanes.keys.look(2).0, BEGINNING);
        // The third is a whole round, and what it could take it has taken.
        assert_eq!(lanes.keys.choose(2, &[found(3), found(9)], true), [(9, 1)]);
        lanes.fetched(Lane::Keyed, Some(RunId(3)), true, false);
        assert!(!lanes.is_any_awake());
    }
}
