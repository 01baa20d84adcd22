//! What the windows promise, over any order of events and any behaviour of the clock.

use proptest::prelude::*;

use super::*;

const LIMIT: WindowLimit = WindowLimit { max: 10, period_ms: 1_000 };
const FIXED: Rule = Rule { limit: LIMIT, smoothing: Smoothing::Fixed };
const SLIDING: Rule = Rule { limit: LIMIT, smoothing: Smoothing::Sliding };

fn ms(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).expect("short")
}

#[test]
fn a_full_window_waits_until_it_turns() {
    let window = Window::default().with_taken(LIMIT, 10, 5_000);
    assert_eq!(window.permits(FIXED, 5_400), 0);
    assert_eq!(window.wait(FIXED, 5_400), Duration::from_millis(600));
    assert_eq!(window.turns_in(LIMIT, 5_400), Duration::from_millis(600));
    assert_eq!(window.permits(FIXED, 6_000), 10);
}

#[test]
fn overshoot_is_carried_into_the_windows_to_come() {
    let window = Window::default().with_taken(LIMIT, 25, 5_000);
    assert_eq!(window.wait(FIXED, 5_000), Duration::from_secs(2));
    assert_eq!(window.permits(FIXED, 6_000), 0);
    assert_eq!(window.permits(FIXED, 7_000), 5);
    assert_eq!(window.permits(FIXED, 8_000), 10);
}

#[test]
fn a_sliding_window_gives_back_what_leaves_the_last_period() {
    let window = Window::default().with_taken(LIMIT, 10, 5_000);
    assert_eq!(window.permits(SLIDING, 6_000), 0, "a fixed window would admit ten more");
    assert_eq!(window.permits(SLIDING, 6_500), 5);
    assert_eq!(window.permits(SLIDING, 6_999), 10);
    assert_eq!(window.permits(SLIDING, 7_000), 10);
    assert_eq!(window.wait(SLIDING, 5_500), Duration::from_millis(501));
}

#[test]
fn a_sliding_window_of_one_admits_one_per_period() {
    let rule = Rule { limit: WindowLimit { max: 1, period_ms: 1_000 }, smoothing: Smoothing::Sliding };
    let (mut window, mut now, mut admitted) = (Window::default(), 1_000_000, 0);
    while now < 1_020_000 {
        now += ms(window.wait(rule, now));
        window = window.with_taken(rule.limit, 1, now);
        admitted += 1;
    }
    assert!((19..=21).contains(&admitted), "{admitted} in 20 periods");
}

#[test]
fn a_clock_set_far_back_does_not_shut_an_account_out() {
    let window = Window::default().with_taken(LIMIT, 10, 1_000_000);
    assert_eq!(window.wait(FIXED, 5_000), Duration::from_secs(1));
}

#[test]
fn a_lower_limit_does_not_turn_what_was_allowed_into_an_overshoot() {
    let former = WindowLimit { max: 500, period_ms: 1_000 };
    let window = Window::default().with_taken(former, 400, 5_000);
    assert_eq!(window.under(former, LIMIT, 5_100).wait(FIXED, 5_100), Duration::from_millis(900));
    let overshot = Window::default().with_taken(former, 515, 5_000);
    assert_eq!(overshot.under(former, LIMIT, 5_100).wait(FIXED, 5_100), Duration::from_millis(1_900));
    assert_eq!(
        window.under(former, WindowLimit { max: 600, ..former }, 5_100).used,
        400,
        "a higher one gives the rest"
    );
}

#[test]
fn limits_without_a_smoothing_are_fixed() {
    let stored = r#"{"burst":{"max":1,"period_ms":2},"long":{"max":3,"period_ms":4}}"#;
    let own: OwnLimits = serde_json::from_str(stored).expect("limits of an earlier version");
    let defaults = AccountLimits { smoothing: Smoothing::Sliding, exact: true, ..AccountLimits::default() };
    let limits = own.over(defaults);
    assert_eq!((limits.burst.max, limits.smoothing, limits.exact), (1, Smoothing::Fixed, false));
    let window: Window = serde_json::from_str(r#"{"start_ms":5,"used":6}"#).expect("a window of an earlier version");
    assert_eq!(window, Window { start_ms: 5, used: 6, previous: 0 });
}

#[test]
fn what_was_not_set_is_as_the_host_has_it() {
    let own: OwnLimits = serde_json::from_str(r#"{"weight":3}"#).expect("a part of the limits");
    for max in [10, 20] {
        let burst = WindowLimit { max, period_ms: 1_000 };
        let defaults = AccountLimits { burst, smoothing: Smoothing::Sliding, ..AccountLimits::default() };
        assert_eq!(own.over(defaults), AccountLimits { weight: 3, ..defaults });
    }
    let whole = AccountLimits { exact: true, weight: 7, running_max: Some(2), ..AccountLimits::default() };
    let stored = serde_json::to_value(whole).expect("serializes");
    let own: OwnLimits = serde_json::from_value(stored).expect("reads back");
    let defaults = AccountLimits { burst: WindowLimit::per_minute(1), ..AccountLimits::default() };
    assert_eq!((own.over(defaults), own.has_windows()), (whole, true));
}

#[test]
fn one_window_of_its_own_leaves_the_other_to_the_host() {
    let long = WindowLimit::per_day(7);
    let own = OwnLimits { long: Some(long), ..OwnLimits::default() };
    let defaults = AccountLimits { smoothing: Smoothing::Sliding, exact: true, ..AccountLimits::default() };
    let expected = AccountLimits { long, ..AccountLimits::default() };
    assert_eq!((own.over(defaults), own.has_windows()), (expected, true));
    let exact = OwnLimits { exact: Some(true), ..OwnLimits::default() };
    let limits = exact.over(AccountLimits::default());
    assert_eq!((limits.exact, exact.has_windows()), (true, false), "how the host's windows are read can be set alone");
}

/// Admissions by one who checks before each: when, and in the window that began when.
fn admitted_one_by_one(rule: Rule, steps: &[(i64, u32)]) -> Vec<(i64, i64)> {
    let (mut now, mut window, mut admitted) = (10_000, Window::default(), Vec::new());
    for (pause, wanted) in steps {
        now += pause;
        for _ in 0..*wanted {
            if window.permits(rule, now) > 0 {
                window = window.with_taken(rule.limit, 1, now);
                admitted.push((now, window.start_ms));
            }
        }
    }
    admitted
}

fn steps() -> impl Strategy<Value = Vec<(i64, u32)>> {
    prop::collection::vec((0_i64..700, 1_u32..16), 1..200)
}

fn smoothing() -> impl Strategy<Value = Smoothing> {
    prop_oneof![Just(Smoothing::Fixed), Just(Smoothing::Sliding)]
}

proptest! {
    /// Over any span: admitted ≤ max × windows touched + one overshoot.
    #[test]
    fn the_long_run_rate_holds(steps in prop::collection::vec((0_i64..700, 1_u32..25), 1..400), smoothing in smoothing()) {
        let rule = Rule { limit: LIMIT, smoothing };
        let (mut now, mut window, mut admitted, mut overshoot_max) = (10_000, Window::default(), 0_u64, 0_u64);
        for (pause, batch) in steps {
            now += pause;
            // A batch read the table before its writes landed: admitted whole while one permit was left.
            if window.wait(rule, now).is_zero() {
                window = window.with_taken(LIMIT, batch, now);
                admitted += u64::from(batch);
                overshoot_max = overshoot_max.max(u64::from(batch));
            }
        }
        let windows = ((now - 10_000) / LIMIT.period_ms + 1).cast_unsigned();
        prop_assert!(admitted <= windows * u64::from(LIMIT.max) + overshoot_max);
    }

    /// What was taken too much is taken off the windows that follow, to the last one.
    #[test]
    fn an_overshoot_is_paid_back_in_full(used in 0_u32..500, turns in 1_i64..60, smoothing in smoothing()) {
        let rule = Rule { limit: LIMIT, smoothing };
        let window = Window::default().with_taken(LIMIT, used, 1_000_000);
        let carried = i64::from(used) - i64::from(LIMIT.max) * turns;
        let turned = window.turned(LIMIT, 1_000_000 + turns * LIMIT.period_ms);
        prop_assert_eq!(i64::from(turned.used), carried.max(0));
        // At the last instant of that window nothing of the one before counts any more.
        let last = 1_000_000 + (turns + 1) * LIMIT.period_ms - 1;
        prop_assert_eq!(i64::from(window.permits(rule, last)), (10 - carried.max(0)).max(0));
    }

    /// With check and take in one step no window admits more than its maximum.
    #[test]
    fn exact_is_never_above_the_maximum_in_any_window(steps in steps(), smoothing in smoothing()) {
        let admitted = admitted_one_by_one(Rule { limit: LIMIT, smoothing }, &steps);
        for (_, start) in &admitted {
            let count = admitted.iter().filter(|(_, other)| other == start).count();
            prop_assert!(count <= LIMIT.max as usize, "{} in the window of {}", count, start);
        }
    }

    /// In a span of the length d up to one period: max × (1 + d / period) + 1. A fixed window breaks this.
    #[test]
    fn sliding_stays_within_its_error_in_any_rolling_span(steps in steps()) {
        let admitted = admitted_one_by_one(SLIDING, &steps);
        for (index, (from, _)) in admitted.iter().enumerate() {
            for (count, (to, _)) in (1_i64..).zip(&admitted[index..]) {
                let span = to - from;
                if span > LIMIT.period_ms {
                    break;
                }
                // Times the period, to stay with whole numbers.
                let most = i64::from(LIMIT.max) * (LIMIT.period_ms + span) + LIMIT.period_ms;
                prop_assert!(count * LIMIT.period_ms <= most, "{} within {} ms", count, span);
            }
        }
    }

    /// The first millisecond with a permit: not one earlier, not one later.
    #[test]
    fn waiting_as_long_as_told_is_enough_and_needed(
        used in 0_u32..200, previous in 0_u32..=10, at in 0_i64..5_000, max in 1_u32..30, period in 1_i64..2_000,
        smoothing in smoothing(),
    ) {
        let rule = Rule { limit: WindowLimit { max, period_ms: period }, smoothing };
        let window = Window { start_ms: 1_000_000, used, previous };
        let now = 1_000_000 + at;
        let wait = ms(window.wait(rule, now));
        prop_assert!(window.permits(rule, now + wait) > 0, "{} ms are not enough", wait);
        if wait > 0 {
            prop_assert_eq!(window.permits(rule, now + wait - 1), 0, "{} ms are more than is needed", wait);
        }
    }

    /// However the clock jumps: nobody gets more than a window's maximum, and nobody waits longer than one period more
    /// than what was taken is worth.
    #[test]
    fn a_clock_that_goes_back_neither_gives_permits_nor_takes_them_for_long(
        jumps in prop::collection::vec((-5_000_i64..5_000, 1_u32..16), 1..100), smoothing in smoothing(),
    ) {
        let rule = Rule { limit: LIMIT, smoothing };
        let (mut now, mut window) = (1_000_000, Window::default());
        for (jump, wanted) in jumps {
            let before = window.turned(LIMIT, now);
            now += jump;
            let after = window.turned(LIMIT, now);
            if jump < 0 {
                prop_assert!(after.used >= before.used.min(window.used), "going back has given permits");
            }
            let worth = i64::from(after.used / LIMIT.max) + if smoothing == Smoothing::Sliding { 1 } else { 0 };
            prop_assert!(ms(window.wait(rule, now)) <= (worth + 1) * LIMIT.period_ms);
            for _ in 0..wanted {
                if window.permits(rule, now) > 0 {
                    window = window.with_taken(LIMIT, 1, now);
                }
            }
            prop_assert!(window.used <= LIMIT.max);
        }
    }

    /// Every part has permits; their long-run rates make up the whole, and their maxima do where they can.
    #[test]
    fn the_parts_of_a_limit_make_up_the_whole(max in 1_u32..10_000, period in 1_i64..1_000_000, parts in 1_u8..=255) {
        let whole = AccountLimits { burst: WindowLimit { max, period_ms: period }, ..AccountLimits::default() };
        let shares: Vec<WindowLimit> = (0..parts).map(|part| whole.divided(parts, part).burst).collect();
        prop_assert!(shares.iter().all(|share| share.max >= 1));
        if max >= u32::from(parts) {
            prop_assert_eq!(shares.iter().map(|share| share.max).sum::<u32>(), max);
            prop_assert!(shares.iter().all(|share| share.period_ms == period));
        } else {
            // Permits in the time in which the whole would give `parts × max`; rounded up windows give a little less.
            let rate: f64 = shares.iter().map(|share| f64::from(share.max) / share.period_ms as f64).sum();
            let whole_rate = f64::from(max) / period as f64;
            prop_assert!(rate <= whole_rate * 1.000_001, "{} > {}", rate, whole_rate);
            prop_assert!(shares.iter().all(|share| share.period_ms <= period * i64::from(parts) / i64::from(max) + 1));
        }
    }
}
