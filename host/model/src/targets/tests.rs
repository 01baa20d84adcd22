//! Target limits as a crowd meets them: nobody goes who should not, everybody goes in the end, in order.

use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::prelude::*;

use super::*;

const BEGIN_MS: i64 = 1_800_000_000_000;

fn window(max: u32, period_ms: i64) -> TargetLimit {
    TargetLimit { rate: Some(RateLimit::Window { max, period_ms }), concurrency: None }
}

fn bucket(size: u32, interval_ms: i64) -> TargetLimit {
    TargetLimit { rate: Some(RateLimit::Bucket { size, interval_us: interval_ms * 1_000 }), concurrency: None }
}

/// Everybody asks when he comes, and again at the time that he was told, or a little later. Answers with who went when.
fn play(
    state: &mut TargetState,
    limit: TargetLimit,
    comers: &[i64],
    lateness: impl Fn(usize) -> i64,
) -> Vec<(i64, usize)> {
    let mut asking: BinaryHeap<_> = comers.iter().enumerate().map(|(who, at)| Reverse((*at, who, None))).collect();
    let mut went = Vec::new();
    while let Some(Reverse((now, who, place))) = asking.pop() {
        match state.ask(limit, place, now) {
            Answer::Go => {
                state.left(1);
                went.push((now, who));
            }
            Answer::Wait { until_ms } => asking.push(Reverse((until_ms + lateness(who), who, Some(until_ms)))),
            Answer::Crowded => panic!("there is no limit of places"),
        }
    }
    went
}

/// The most requests in any stretch of `period_ms`.
fn most_in(period_ms: i64, went: &[(i64, usize)]) -> usize {
    let count = |from: i64| went.iter().filter(|(at, _)| (from..from + period_ms).contains(at)).count();
    went.iter().map(|(at, _)| count(*at)).max().unwrap_or(0)
}

fn comers(gaps: &[i64]) -> Vec<i64> {
    gaps.iter()
        .scan(BEGIN_MS, |at, gap| {
            Some({
                *at += gap;
                *at
            })
        })
        .collect()
}

#[test]
fn a_thousand_at_once_are_told_a_thousand_times_and_go_in_their_order() {
    let (mut state, limit) = (TargetState::default(), window(10, 1_000));
    let went = play(&mut state, limit, &vec![BEGIN_MS; 1_000], |_| 0);
    let order: Vec<usize> = went.iter().map(|(_, who)| *who).collect();
    assert_eq!(order, (0..1_000).collect::<Vec<_>>());
    assert_eq!(most_in(1_000, &went), 10);
    assert_eq!(went.last().map(|(at, _)| *at), Some(BEGIN_MS + 99_000), "no window is left unused");
}

#[test]
fn a_bucket_takes_a_burst_and_then_as_much_as_it_leaks() {
    let (mut state, limit) = (TargetState::default(), bucket(40, 500));
    let went = play(&mut state, limit, &[BEGIN_MS; 60], |_| 0);
    assert!(went[..40].iter().all(|(at, _)| *at == BEGIN_MS));
    let later: Vec<i64> = went[40..].iter().map(|(at, _)| *at - BEGIN_MS).collect();
    assert_eq!(later, (1..=20).map(|step| step * 500).collect::<Vec<_>>());
}

#[test]
fn who_has_waited_is_before_who_comes_later() {
    let (mut state, limit) = (TargetState::default(), window(1, 1_000));
    assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Go);
    assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Wait { until_ms: BEGIN_MS + 1_000 });
    // There would be room, but it is spoken for.
    assert_eq!(state.ask(limit, None, BEGIN_MS + 1_000), Answer::Wait { until_ms: BEGIN_MS + 2_000 });
    assert_eq!(state.ask(limit, Some(BEGIN_MS + 1_000), BEGIN_MS + 1_400), Answer::Go, "late, and still before");
    assert_eq!(state.ask(limit, Some(BEGIN_MS + 2_000), BEGIN_MS + 2_000), Answer::Wait { until_ms: BEGIN_MS + 2_400 });
}

#[test]
fn a_target_that_asks_for_silence_gets_it_and_the_line_moves_back() {
    let (mut state, limit) = (TargetState::default(), window(1, 1_000));
    assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Go);
    let told: Vec<_> = (0..3).map(|_| state.ask(limit, None, BEGIN_MS)).collect();
    assert_eq!(told, [1, 2, 3].map(|step| Answer::Wait { until_ms: BEGIN_MS + step * 1_000 }));
    state.note_answer(429, Some(5_000), BEGIN_MS + 100);
    for (step, until) in [(1, 5_100), (2, 6_100), (3, 7_100)] {
        let place = BEGIN_MS + step * 1_000;
        assert_eq!(state.ask(limit, Some(place), place), Answer::Wait { until_ms: BEGIN_MS + until });
    }
    let Answer::Wait { until_ms } = state.ask(limit, None, BEGIN_MS + 3_000) else { panic!("it is closed") };
    assert!(until_ms > BEGIN_MS + 7_100, "{until_ms}");
    assert_eq!(state.ask(limit, Some(BEGIN_MS + 5_100), BEGIN_MS + 5_100), Answer::Go);
}

#[test]
fn who_was_held_up_is_still_before_who_comes_later() {
    let (mut state, limit) = (TargetState::default(), window(1, 1_000));
    assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Go);
    for step in 1..=2 {
        assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Wait { until_ms: BEGIN_MS + step * 1_000 });
    }
    state.note_answer(429, Some(5_000), BEGIN_MS + 2_001);
    for (step, until) in [(1, 7_001), (2, 8_001)] {
        let place = Some(BEGIN_MS + step * 1_000);
        assert_eq!(state.ask(limit, place, BEGIN_MS + 2_002), Answer::Wait { until_ms: BEGIN_MS + until });
    }
    assert_eq!(state.ask(limit, None, BEGIN_MS + 7_001), Answer::Wait { until_ms: BEGIN_MS + 9_001 });
    assert_eq!(state.ask(limit, Some(BEGIN_MS + 7_001), BEGIN_MS + 7_001), Answer::Go);
}

#[test]
fn refusals_without_a_time_are_answered_with_longer_and_longer_silence() {
    let (mut state, limit) = (TargetState::default(), window(1_000, 1_000));
    let mut silence = |status| {
        state.note_answer(status, None, BEGIN_MS);
        match state.ask(limit, None, BEGIN_MS) {
            Answer::Wait { until_ms } => until_ms - BEGIN_MS,
            _ => 0,
        }
    };
    assert_eq!([silence(429), silence(429), silence(429)], [1_000, 2_000, 4_000]);
    for _ in 0..20 {
        silence(429);
    }
    assert_eq!(silence(429), REFUSED_LONGEST_MS);
    let mut state = TargetState::default();
    state.note_answer(500, None, BEGIN_MS);
    assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Go, "an error is no word about the rate");
}

#[test]
fn places_are_given_back_and_who_cannot_stay_is_told_a_time_of_its_own() {
    let limit = TargetLimit { rate: None, concurrency: Some(2) };
    let mut state = TargetState::default();
    assert_eq!([state.ask(limit, None, BEGIN_MS), state.ask(limit, None, BEGIN_MS)], [Answer::Go, Answer::Go]);
    assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Crowded);
    let times = [state.turn_away(limit, BEGIN_MS), state.turn_away(limit, BEGIN_MS)];
    assert!(BEGIN_MS < times[0] && times[0] < times[1], "{times:?}");
    state.left(50);
    assert_eq!(state.ask(limit, None, BEGIN_MS), Answer::Go);
}

#[test]
fn what_nobody_knows_is_taken_for_used_up_unless_that_would_last_for_ever() {
    for (limit, until_ms) in [(window(5, 60_000), 60_000), (bucket(10, 200), 200)] {
        let mut state = TargetState::default().in_doubt(BEGIN_MS);
        assert!(!state.is_at_rest(BEGIN_MS + 100));
        assert_eq!(state.ask(limit, None, BEGIN_MS + 100), Answer::Wait { until_ms: BEGIN_MS + until_ms });
    }
    assert!(TargetState::default().in_doubt(BEGIN_MS).is_at_rest(BEGIN_MS + DOUBT_MAX_MS), "it has passed by itself");
    let mut state = TargetState::default().in_doubt(BEGIN_MS);
    assert_eq!(state.ask(window(5_000, 3_600_000), None, BEGIN_MS), Answer::Go);
}

#[test]
fn a_state_at_rest_is_as_good_as_a_new_one() {
    let (mut state, limit) = (TargetState::default(), window(3, 1_000));
    play(&mut state, limit, &[BEGIN_MS; 5], |_| 0);
    assert!(!state.is_at_rest(BEGIN_MS + 1_999));
    assert!(state.is_at_rest(BEGIN_MS + 2_000));
    assert_eq!(state.ask(limit, None, BEGIN_MS + 2_000), Answer::Go);
    assert!(!state.is_at_rest(BEGIN_MS + 10_000), "a request is under way");
}

#[test]
fn a_limit_that_changes_its_kind_gives_no_burst_away() {
    let mut state = TargetState::default();
    play(&mut state, window(10, 10_000), &[BEGIN_MS; 10], |_| 0);
    let now = BEGIN_MS + 100;
    assert_eq!(state.ask(bucket(2, 1_000), None, now), Answer::Wait { until_ms: BEGIN_MS + 2_001 });
}

#[test]
fn a_new_rate_holds_at_once_for_whoever_comes_new() {
    let mut state = TargetState::default();
    let before = window(1, 60_000);
    assert_eq!(state.ask(before, None, BEGIN_MS), Answer::Go);
    for step in 1..=5 {
        assert_eq!(state.ask(before, None, BEGIN_MS), Answer::Wait { until_ms: BEGIN_MS + step * 60_000 });
    }
    let after = window(3, 60_000);
    let answers: Vec<_> = (0..3).map(|_| state.ask(after, None, BEGIN_MS + 2_000)).collect();
    assert_eq!(answers, [Answer::Go, Answer::Go, Answer::Wait { until_ms: BEGIN_MS + 60_000 }]);
    assert_eq!(state.ask(after, Some(BEGIN_MS + 60_000), BEGIN_MS + 60_000), Answer::Go);
}

#[test]
fn a_stored_state_is_read_back_as_it_was() {
    let limit = bucket(2, 1_000);
    let mut state = TargetState::default();
    play(&mut state, limit, &[BEGIN_MS; 7], |_| 0);
    state.note_answer(429, Some(700), BEGIN_MS + 10_000);
    let stored = serde_json::to_string(&state).expect("plain data");
    let mut read: TargetState = serde_json::from_str(&stored).expect("reads back");
    let at = BEGIN_MS + 10_100;
    assert_eq!(read.ask(limit, None, at), state.ask(limit, None, at));
}

#[test]
fn the_parts_of_a_limit_are_together_no_more_than_the_whole() {
    for parts in 1..=16 {
        let whole = TargetLimit { concurrency: Some(40), ..window(100, 60_000) };
        let part = whole.divided(parts);
        let Some(RateLimit::Window { max, period_ms }) = part.rate else { panic!("it is a window") };
        assert!(max * parts <= 100 && period_ms == 60_000);
        assert!(part.concurrency.is_some_and(|places| places * parts <= 40));
        let Some(RateLimit::Window { max, period_ms }) = window(3, 1_000).divided(parts).rate else { panic!() };
        assert!(max >= 1 && i64::from(max * parts) * 1_000 <= 3 * period_ms, "{parts} parts: {max} per {period_ms} ms");
        let Some(RateLimit::Bucket { size, interval_us }) = bucket(4, 500).divided(parts).rate else { panic!() };
        assert!(size >= 1 && interval_us == 500_000 * i64::from(parts));
    }
}

proptest! {
    /// Whoever comes when, and however late they return: no stretch of the period has more than the window allows.
    #[test]
    fn no_stretch_has_more_than_its_window_allows(
        max in 1_u32..20,
        period_ms in 100_i64..5_000,
        gaps in prop::collection::vec(0_i64..300, 1..200),
        lateness in prop::collection::vec(0_i64..2_000, 1..10),
    ) {
        let mut state = TargetState::default();
        let went = play(&mut state, window(max, period_ms), &comers(&gaps), |who| lateness[who % lateness.len()]);
        prop_assert_eq!(went.len(), gaps.len(), "everybody goes in the end");
        prop_assert!(most_in(period_ms, &went) <= max as usize);
    }

    /// In any span: the burst, and what leaks meanwhile.
    #[test]
    fn no_span_has_more_than_the_burst_and_the_leak(
        size in 1_u32..20,
        interval_ms in 1_i64..1_000,
        gaps in prop::collection::vec(0_i64..300, 1..150),
        lateness in prop::collection::vec(0_i64..2_000, 1..10),
    ) {
        let mut state = TargetState::default();
        let went = play(&mut state, bucket(size, interval_ms), &comers(&gaps), |who| lateness[who % lateness.len()]);
        prop_assert_eq!(went.len(), gaps.len());
        for (first, (from, _)) in went.iter().enumerate() {
            for (last, (to, _)) in went.iter().enumerate().skip(first) {
                let allowed = i64::from(size) + (to - from) / interval_ms;
                prop_assert!(i64::try_from(last - first + 1).expect("few") <= allowed);
            }
        }
    }

    /// Who comes back in time goes: nobody is told twice. And a busy target is kept busy.
    #[test]
    fn a_promise_is_kept_and_no_capacity_is_lost(max in 1_u32..20, period_ms in 100_i64..5_000, count in 1_usize..300) {
        let (mut state, limit) = (TargetState::default(), window(max, period_ms));
        let mut asked_again = 0;
        let mut last_ms = BEGIN_MS;
        let told: Vec<_> = (0..count).filter_map(|_| match state.ask(limit, None, BEGIN_MS) {
            Answer::Wait { until_ms } => Some(until_ms),
            _ => None,
        }).collect();
        for until_ms in told {
            asked_again += i32::from(state.ask(limit, Some(until_ms), until_ms) != Answer::Go);
            last_ms = until_ms;
        }
        prop_assert_eq!(asked_again, 0);
        let periods = i64::try_from(count - 1).expect("few") / i64::from(max);
        prop_assert!(last_ms <= BEGIN_MS + periods * period_ms);
    }

    /// Silence is silence, whoever asks with whatever place.
    #[test]
    fn nobody_goes_while_the_target_asks_for_silence(
        silence_ms in 1_i64..20_000,
        comers in prop::collection::vec((0_i64..30_000, prop::option::of(0_i64..30_000)), 1..50),
    ) {
        let (mut state, limit) = (TargetState::default(), window(1_000, 100));
        state.note_answer(503, Some(silence_ms), BEGIN_MS);
        let mut comers = comers;
        comers.sort_unstable();
        for (after, place) in comers {
            let place = place.map(|place| BEGIN_MS + place);
            if state.ask(limit, place, BEGIN_MS + after) == Answer::Go {
                prop_assert!(after >= silence_ms);
            }
        }
    }

    /// The limit holds in true time, however a clock jumps back; and nobody waits longer than a period for that.
    #[test]
    fn a_clock_that_goes_back_lets_nobody_through_and_shuts_nobody_out(
        max in 1_u32..10,
        steps in prop::collection::vec((0_i64..400, prop::option::weighted(0.1, 0_i64..100_000)), 1..200),
    ) {
        const PERIOD_MS: i64 = 1_000;
        let (mut state, limit) = (TargetState::default(), window(max, PERIOD_MS));
        let (mut true_ms, mut behind_ms, mut went) = (BEGIN_MS, 0, Vec::new());
        for (pause, back) in steps {
            true_ms += pause;
            behind_ms += back.unwrap_or(0);
            let now = true_ms - behind_ms;
            // Asks as one whose time has come: only the window can hold it up.
            match state.ask(limit, Some(0), now) {
                Answer::Go => {
                    state.left(1);
                    went.push((true_ms, 0));
                }
                Answer::Wait { until_ms } => prop_assert!(until_ms - now <= PERIOD_MS * 400, "{} ms", until_ms - now),
                Answer::Crowded => prop_assert!(false),
            }
        }
        prop_assert!(most_in(PERIOD_MS, &went) <= max as usize);
        let much_later = true_ms - behind_ms + PERIOD_MS * 200;
        prop_assert_eq!(state.ask(limit, Some(0), much_later), Answer::Go);
    }
}
