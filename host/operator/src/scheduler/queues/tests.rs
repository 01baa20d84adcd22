//! The turns of queues, played without a database.

use super::{ends::ASIDE_MAX, *};

const CLAIM: ClaimId = ClaimId(9);

fn plenty(_: Queue) -> Allowance {
    Allowance { permit: Permit::Granted, permits: 1_000, runs_max: 100, weight: 1 }
}

fn queue(account: i64) -> Queue {
    Queue::home(AccountId(account))
}

fn run(id: i64) -> InFlight {
    InFlight { run: RunId(id), lane: Lane::Normal, claim: CLAIM, key: None, payload_bytes: 10 }
}

fn runs(ids: impl IntoIterator<Item = i64>) -> Vec<InFlight> {
    ids.into_iter().map(run).collect()
}

fn counts(turn: &Turn) -> Vec<(i64, usize)> {
    turn.asked.iter().map(|one| (one.queue.account.0, one.count)).collect()
}

fn woken(accounts: impl IntoIterator<Item = i64>) -> (Queues, Instant) {
    let mut queues = Queues::default();
    accounts.into_iter().for_each(|account| queues.wake(queue(account), Lane::Normal, RunId(0)));
    (queues, Instant::now())
}

/// Starts `total` runs on a host that is always full: whenever a run ends, there is room for one. Every queue that is asked
/// gives what it is asked for. Answers with how many each has started.
fn saturated(queues: &mut Queues, total: usize, allowance: impl Fn(Queue) -> Allowance) -> HashMap<i64, usize> {
    let (mut started, now) = (HashMap::new(), Instant::now());
    for id in 0..total as i64 {
        let turn = queues.turn(1, now, &allowance);
        let asked = turn.asked[0];
        queues.fetched(&asked, &runs([id]), false, now);
        *started.entry(asked.queue.account.0).or_default() += 1;
        assert!(queues.ended(asked.queue, RunId(id), CLAIM));
    }
    started
}

fn weighted(queue: Queue) -> Allowance {
    Allowance { weight: if queue.account == AccountId(3) { 3 } else { 1 }, ..plenty(queue) }
}

#[test]
fn room_is_shared_evenly_and_queues_with_more_come_round_again() {
    let (mut queues, now) = woken(1..=2);
    let turn = queues.turn(10, now, plenty);
    assert_eq!(counts(&turn), [(1, 5), (2, 5)]);
    queues.fetched(&turn.asked[0], &runs(1..=5), false, now);
    queues.fetched(&turn.asked[1], &runs([6]), false, now);
    assert_eq!(counts(&queues.turn(4, now, plenty)), [(1, 4)]);
    assert_eq!(queues.queues[&queue(1)].in_flight.len(), 5);
}

#[test]
fn weights_of_one_and_three_share_a_full_host_one_to_three() {
    let (mut queues, now) = woken([1, 3]);
    assert_eq!(counts(&queues.turn(8, now, weighted)), [(1, 2), (3, 6)]);
    let (mut queues, _) = woken([1, 3]);
    let started = saturated(&mut queues, 400, weighted);
    assert_eq!((started[&1], started[&3]), (100, 300));
}

#[test]
fn who_was_idle_has_saved_up_nothing() {
    let (mut queues, _) = woken([1]);
    saturated(&mut queues, 500, weighted);
    queues.wake(queue(3), Lane::Normal, RunId(0));
    let started = saturated(&mut queues, 40, weighted);
    assert_eq!((started[&1], started[&3]), (10, 30), "no more than the weights say, however long it was idle");
    // Nor does an account keep what it could not use.
    let (mut queues, now) = woken([3]);
    let turn = queues.turn(1, now, weighted);
    assert_eq!(queues.queues[&queue(3)].deficit, 2, "the host's room kept it from these");
    queues.fetched(&turn.asked[0], &[], false, now);
    queues.wake(queue(3), Lane::Normal, RunId(0));
    assert_eq!(queues.queues.get(&queue(3)).map(|state| state.deficit), Some(0));
}

#[test]
fn what_did_not_fit_is_started_before_the_next_one_has_its_turn() {
    let (mut queues, now) = woken([3, 1]);
    let turn = queues.turn(2, now, weighted);
    assert_eq!(counts(&turn), [(3, 2)]);
    queues.fetched(&turn.asked[0], &runs([1, 2]), false, now);
    assert_eq!(counts(&queues.turn(2, now, weighted)), [(3, 1), (1, 1)]);
}

#[test]
fn a_throttled_account_is_not_fetched_before_its_time() {
    let (mut queues, now) = woken([1]);
    let none_left = |queue| Allowance { permit: Permit::Wait(Duration::from_secs(5)), permits: 0, ..plenty(queue) };
    assert!(queues.turn(10, now, none_left).asked.is_empty());
    queues.wake(queue(1), Lane::Normal, RunId(3));
    assert!(!queues.has_ready(), "waking does not lift the throttle");
    queues.unthrottle(now + Duration::from_secs(4));
    assert!(!queues.has_ready());
    queues.unthrottle(now + Duration::from_secs(5));
    assert_eq!(counts(&queues.turn(10, now, plenty)), [(1, 10)]);
}

#[test]
fn who_has_no_permit_left_that_is_not_spoken_for_is_asked_again_soon_or_when_a_run_ends() {
    let left = |permits| move |queue| Allowance { permits, ..plenty(queue) };
    let (mut queues, now) = woken([1]);
    let turn = queues.turn(10, now, left(2));
    assert_eq!(counts(&turn), [(1, 2)]);
    queues.fetched(&turn.asked[0], &runs([1, 2]), false, now);
    assert!(queues.turn(10, now, left(0)).asked.is_empty());
    assert!(!queues.has_ready());
    assert!(queues.ended(queue(1), RunId(1), CLAIM));
    assert!(queues.turn(10, now, left(0)).asked.is_empty());
    assert_eq!(queues.next_unthrottle(), Some(now + LOOK_AGAIN));
    queues.unthrottle(now + LOOK_AGAIN);
    assert_eq!(counts(&queues.turn(10, now, left(1))), [(1, 1)], "the window has turned, and no run has ended");
}

#[test]
fn permits_that_runs_in_flight_have_taken_do_not_count_against_those_left() {
    let (mut queues, now) = woken([1]);
    let turn = queues.turn(60, now, plenty);
    queues.fetched(&turn.asked[0], &runs(1..=60), false, now);
    let left = |queue| Allowance { permits: 40, ..plenty(queue) };
    assert_eq!(counts(&queues.turn(100, now, left)), [(1, 40)]);
}

#[test]
fn a_late_commit_with_a_lower_id_is_fetched_and_runs_in_flight_are_not() {
    let (mut queues, now) = woken([1]);
    let turn = queues.turn(10, now, plenty);
    queues.fetched(&turn.asked[0], &runs([5]), false, now);
    queues.wake(queue(1), Lane::Normal, RunId(2));
    let turn = queues.turn(10, now, plenty);
    assert_eq!((turn.asked[0].cursor, turn.in_flight), (RunId(2), vec![RunId(5)]));
}

#[test]
fn a_run_that_was_given_back_is_fetched_again_after_the_wait() {
    let (mut queues, now) = woken([1]);
    let turn = queues.turn(10, now, plenty);
    queues.fetched(&turn.asked[0], &runs([5, 6]), false, now);
    queues.released(queue(1), RunId(5), CLAIM, now + Duration::from_secs(1));
    assert!(!queues.has_ready());
    queues.unthrottle(now + Duration::from_secs(1));
    let turn = queues.turn(10, now, plenty);
    assert_eq!((turn.asked[0].cursor, turn.in_flight), (RunId(4), vec![RunId(6)]));
}

#[test]
fn a_run_that_was_put_aside_is_passed_over_for_a_while_and_its_account_goes_on() {
    let (mut queues, now) = woken([1]);
    let until = now + Duration::from_secs(1);
    let turn = queues.turn(2, now, plenty);
    queues.fetched(&turn.asked[0], &runs([5, 6]), false, now);
    queues.put_aside(queue(1), RunId(5), CLAIM, until);
    assert_eq!((queues.bytes_in_flight(), queues.queues[&queue(1)].in_flight.len()), (10, 1), "it takes no room");
    queues.wake(queue(1), Lane::Normal, RunId(0));
    let turn = queues.turn(2, now, plenty);
    let mut passed_over = turn.in_flight.clone();
    passed_over.sort_unstable();
    assert_eq!(passed_over, [RunId(5), RunId(6)]);
    queues.fetched(&turn.asked[0], &[], false, now);
    assert!(queues.ended(queue(1), RunId(6), CLAIM));
    assert_eq!(queues.next_unthrottle(), Some(until));
    queues.unthrottle(until);
    let turn = queues.turn(2, now, plenty);
    assert!(turn.asked[0].cursor < RunId(5) && turn.in_flight.is_empty(), "it is to be had again: {turn:?}");
    queues.fetched(&turn.asked[0], &[], false, now);
    assert!(queues.queues.is_empty(), "nothing is kept of it");
}

/// A queue that has put aside as many runs as it may, and two more, which are the last ones of their lane so far.
fn with_too_many_aside(lane: Lane) -> (Queues, Instant) {
    let (mut queues, now) = (Queues::default(), Instant::now());
    queues.wake(queue(1), lane, RunId(0));
    let (until, many) = (now + Duration::from_secs(1), ASIDE_MAX as i64);
    let turn = queues.turn(10, now, plenty);
    let keyed = |id| InFlight { lane, key: Some(ConcurrencyKey { hash: id, runs_max: None }), ..run(id) };
    let fetched: Vec<InFlight> =
        (1..=many + 2).map(|id| if lane == Lane::Keyed { keyed(id) } else { InFlight { lane, ..run(id) } }).collect();
    queues.fetched(&turn.asked[0], &fetched, true, now);
    (1..=many + 2).for_each(|id| queues.put_aside(queue(1), RunId(id), CLAIM, until));
    (queues, until)
}

#[test]
fn a_queue_with_too_many_runs_aside_goes_on_behind_them() {
    let (mut queues, until) = with_too_many_aside(Lane::Normal);
    let (last, before) = (RunId(ASIDE_MAX as i64 + 2), until - Duration::from_millis(1));
    for _ in 0..2 {
        // As when all shards are looked through: whatever wakes the lane, nothing is fetched that was passed over.
        queues.wake(queue(1), Lane::Normal, RunId(0));
        let turn = queues.turn(10, before, plenty);
        assert_eq!(turn.asked[0].cursor, last);
        assert!(turn.in_flight.is_empty(), "what stands before the cursor need not be named");
        queues.fetched(&turn.asked[0], &[], false, before);
        assert!(!queues.queues.is_empty(), "what is passed over is not forgotten");
    }
    assert_eq!(queues.next_unthrottle(), Some(until));
    queues.unthrottle(until);
    let turn = queues.turn(10, until, plenty);
    assert_eq!((turn.asked[0].cursor, turn.in_flight.len()), (RunId(0), 0), "all are to be had again");
    queues.fetched(&turn.asked[0], &[], false, until);
    assert!(queues.queues.is_empty() && queues.next_unthrottle().is_none(), "nothing is kept of them");
}

#[test]
fn too_many_keyed_runs_aside_leave_the_other_lanes_to_go_on() {
    let (mut queues, until) = with_too_many_aside(Lane::Keyed);
    let before = until - Duration::from_millis(1);
    for lane in [Lane::Keyed, Lane::Normal] {
        queues.wake(queue(1), lane, RunId(0));
    }
    let turn = queues.turn(10, before, plenty);
    assert_eq!(turn.asked[0].lane, Lane::Normal);
    queues.fetched(&turn.asked[0], &[], false, before);
    assert!(!queues.has_ready(), "the lane rests as a whole");
    queues.unthrottle(until);
    assert_eq!(queues.turn(10, until, plenty).asked[0].lane, Lane::Keyed);
    assert!(queues.queues[&queue(1)].lanes.keys.look(0).1 < ASIDE_MAX, "all keys were given up");
}

#[test]
fn what_was_passed_over_in_a_shard_that_has_gone_is_forgotten() {
    let (mut queues, until) = with_too_many_aside(Lane::Normal);
    queues.stop_shards(|_| true);
    queues.wake(queue(1), Lane::Normal, RunId(0));
    assert_eq!(queues.turn(10, until, plenty).asked[0].cursor, RunId(0), "it came back, and begins anew");
    queues.forget_shards(|_| true);
    assert!(queues.queues.is_empty() && queues.next_unthrottle().is_none());
}

#[test]
fn a_run_that_is_barred_from_its_start_leaves_those_behind_its_key_asleep() {
    let (mut queues, now) = (Queues::default(), Instant::now());
    queues.wake(queue(1), Lane::Keyed, RunId(0));
    let key = ConcurrencyKey { hash: 7, runs_max: None };
    let turn = queues.turn(10, now, plenty);
    let looked = queues.keys_to_find(&turn);
    queues.choose_keys(&turn, &looked, &[FoundKey { queue: queue(1), key, is_held: false }]);
    let first = InFlight { lane: Lane::Keyed, key: Some(key), ..run(1) };
    queues.fetched(&turn.asked[0], &[first], false, now);
    queues.barred(queue(1), RunId(1), CLAIM);
    assert!(!queues.has_ready(), "it would be fetched again and again until its canceller has ended it");
    assert!(queues.queues.is_empty());
}

#[test]
fn an_idle_account_takes_no_memory() {
    let (mut queues, now) = woken([1]);
    let turn = queues.turn(10, now, plenty);
    queues.fetched(&turn.asked[0], &runs([5]), false, now);
    assert_eq!(queues.bytes_in_flight(), 10);
    assert!(queues.ended(queue(1), RunId(5), CLAIM));
    assert!(queues.queues.is_empty() && queues.in_flight.is_empty());
    assert_eq!(queues.bytes_in_flight(), 0);
}

#[test]
fn a_former_start_of_a_run_does_not_end_the_present_one() {
    let (mut queues, now) = woken([1]);
    let turn = queues.turn(10, now, plenty);
    queues.fetched(&turn.asked[0], &runs([5]), false, now);
    assert!(!queues.ended(queue(1), RunId(5), ClaimId(8)));
    assert!(queues.has_in_flight(queue(1).shard));
}

#[test]
fn slow_runs_of_one_account_do_not_fill_the_host() {
    let (mut queues, now) = woken([1]);
    let two = |queue| Allowance { runs_max: 2, ..plenty(queue) };
    let turn = queues.turn(10, now, two);
    assert_eq!(counts(&turn), [(1, 2)]);
    queues.fetched(&turn.asked[0], &runs([1, 2]), false, now);
    assert!(queues.turn(10, now, two).asked.is_empty());
}

#[test]
fn a_lane_that_was_cut_short_may_have_more() {
    let (mut queues, now) = woken([1, 2]);
    let turn = queues.turn(10, now, plenty);
    queues.fetched(&turn.asked[0], &runs([1]), true, now);
    queues.fetched(&turn.asked[1], &[], true, now);
    assert_eq!(queues.turn(10, now, plenty).asked.len(), 2);
}

#[test]
fn a_lane_with_less_than_asked_leaves_the_rest_to_the_next_lane() {
    let (mut queues, now) = woken([1]);
    queues.wake(queue(1), Lane::High, RunId(0));
    let turn = queues.turn(6, now, plenty);
    assert_eq!((turn.asked[0].lane, turn.asked[0].count), (Lane::High, 6));
    queues.fetched(&turn.asked[0], &[InFlight { lane: Lane::High, ..run(1) }], false, now);
    let turn = queues.turn(6, now, plenty);
    assert_eq!((turn.asked[0].lane, turn.asked[0].count), (Lane::Normal, 5));
}

#[test]
fn the_end_of_a_run_with_a_key_wakes_those_that_wait_for_it() {
    let (mut queues, now) = (Queues::default(), Instant::now());
    queues.wake(queue(1), Lane::Keyed, RunId(0));
    let key = ConcurrencyKey { hash: 7, runs_max: None };
    let found = [FoundKey { queue: queue(1), key, is_held: false }];
    let take = |queues: &mut Queues, run: Option<InFlight>| {
        let turn = queues.turn(10, now, plenty);
        let looked = queues.keys_to_find(&turn);
        let chosen = queues.choose_keys(&turn, &looked, &found);
        queues.fetched(&turn.asked[0], run.as_slice(), false, now);
        chosen
    };
    let first = InFlight { lane: Lane::Keyed, key: Some(key), ..run(1) };
    assert_eq!(take(&mut queues, Some(first)), [FetchKey { queue: queue(1), hash: 7, count: 1 }]);
    assert!(!queues.has_ready(), "what could be started was");
    queues.wake(queue(1), Lane::Keyed, RunId(1));
    assert!(take(&mut queues, None).is_empty(), "the key is held");
    assert!(!queues.has_ready());
    assert!(queues.ended(queue(1), RunId(1), CLAIM));
    assert_eq!(take(&mut queues, None).len(), 1);
}

#[test]
fn a_queue_whose_next_keys_are_all_held_rests_a_moment_and_then_looks_on() {
    let (mut queues, now) = (Queues::default(), Instant::now());
    queues.wake(queue(1), Lane::Keyed, RunId(0));
    let key = |hash| ConcurrencyKey { hash, runs_max: None };
    let turn = queues.turn(1, now, plenty);
    let looked = queues.keys_to_find(&turn);
    let found: Vec<FoundKey> =
        (0..looked[0].count).map(|hash| FoundKey { queue: queue(1), key: key(hash), is_held: true }).collect();
    assert!(queues.choose_keys(&turn, &looked, &found).is_empty());
    queues.fetched(&turn.asked[0], &[], false, now);
    assert!(!queues.has_ready());
    queues.unthrottle(now + LOOK_AGAIN);
    let turn = queues.turn(1, now, plenty);
    assert_eq!(queues.keys_to_find(&turn)[0].cursor, looked[0].count - 1);
}

#[test]
fn a_lost_shard_leaves_nothing_behind_and_the_others_alone() {
    let (mut queues, now) = woken(1..=2);
    let turn = queues.turn(10, now, plenty);
    queues.fetched(&turn.asked[0], &runs(1..=5), false, now);
    queues.fetched(&turn.asked[1], &runs([6]), false, now);
    queues.put_aside(queue(1), RunId(1), CLAIM, now + Duration::from_secs(1));
    let lost = queue(1).shard;
    assert_ne!(lost, queue(2).shard);
    queues.forget_shards(|shard| shard == lost);
    assert!(!queues.has_in_flight(lost) && queues.has_in_flight(queue(2).shard));
    assert_eq!((queues.bytes_in_flight(), queues.aside.len(), queues.queues.len()), (10, 0, 1));
    assert!(!queues.ended(queue(1), RunId(2), CLAIM), "its end comes too late");
}
